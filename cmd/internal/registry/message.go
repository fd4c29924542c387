package registry

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// Sizes of messages, in bytes.
const (
	requestText = 128
	RequestSize = requestText + crypto.QuestionOverhead
	answerHead  = 1 + 8 + 8 + 8 + crypto.SignKeySize + 16 + 2
	// MaxAnswer bounds an answer.
	MaxAnswer = answerHead + settings.MaxTable + crypto.AnswerOverhead
)

// Lease is how long a registration counts.
const Lease = 300 * time.Second

// Epoch is how long the numbers of gateways go on.
type Epoch [8]byte

// String returns the epoch in hexadecimal.
func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// proofSize is the length of what proves a declared address.
const proofSize = crypto.SignSize

type kind uint8

const (
	register kind = 1
	leave    kind = 2
)

// request is the text of a question.
type request struct {
	epoch    Epoch
	number   uint64
	kind     kind
	port     uint16
	declared netip.Addr
	proof    [proofSize]byte
	name     string
}

func (q *request) encode() []byte {
	w := writer{make([]byte, 0, requestText)}
	w.bytes(q.epoch[:])
	w.u64(q.number)
	w.u8(uint8(q.kind))
	w.u16(q.port)
	w.addr(q.declared)
	w.bytes(q.proof[:])
	w.text(q.name)
	return w.b[:requestText]
}

func parseRequest(text []byte) (*request, error) {
	r := reader{b: text}
	q := &request{
		epoch: Epoch(r.take(8)), number: r.u64(), kind: kind(r.u8()), port: r.u16(), declared: r.addr(),
		proof: [proofSize]byte(r.take(proofSize)), name: r.text(),
	}
	for _, b := range r.b {
		r.bad = r.bad || b != 0
	}
	switch {
	case r.bad || len(text) != requestText || q.kind != register && q.kind != leave || q.port == 0:
		return nil, fmt.Errorf("question: %w", errForm)
	case q.declared.IsValid() && !reachable(q.declared):
		return nil, fmt.Errorf("question: %v cannot be the address of a gateway", q.declared)
	}
	if err := settings.CheckName(q.name); err != nil {
		return nil, fmt.Errorf("question: %w", err)
	}
	return q, nil
}

// reachable reports whether an address can be that of a gateway.
func reachable(a netip.Addr) bool { return a.IsGlobalUnicast() }

type status uint8

const (
	done     status = 0
	again    status = 1
	unknown  status = 2
	disabled status = 3
)

// State is what nexus knows of a gateway.
type State uint8

// The states of a gateway.
const (
	// Gone has no lease: it left, or was not heard for too long.
	Gone State = iota
	// Live has a lease.
	Live
	// Unheard was not heard since nexus lost its memory, which is not long ago.
	Unheard
)

// String returns a word.
func (s State) String() string { return [...]string{"gone", "live", "unheard"}[s] }

// Gateway is one gateway of the mesh, as nexus tells it.
type Gateway struct {
	Name string
	Key  crypto.PublicKey
	// Inner is its own address in its first subnets.
	Inner netip.Addr
	// Endpoint is where it is reached: the zero AddrPort if that is not known.
	Endpoint netip.AddrPort
	State    State
	// Left is how long its lease lasts.
	Left time.Duration
	// Subnets are the networks behind it.
	Subnets []netip.Prefix
}

// Table is what nexus tells a gateway.
type Table struct {
	Epoch  Epoch
	Number uint64 // the last one of this gateway that nexus took
	Serial uint64
	// Seen is the address that this gateway's request came from.
	Seen netip.Addr
	// Gateways are all gateways in the order of their names, this one too.
	Gateways []Gateway
}

// Gateway returns the gateway with a name, or nil.
func (t *Table) Gateway(name string) *Gateway {
	i := slices.IndexFunc(t.Gateways, func(g Gateway) bool { return g.Name == name })
	if i < 0 {
		return nil
	}
	return &t.Gateways[i]
}

// answer is the text of an answer.
type answer struct {
	status  status
	signKey [crypto.SignKeySize]byte
	Table
}

func (a *answer) encode() []byte {
	w := writer{make([]byte, 0, answerHead+len(a.Gateways)*128)}
	w.u8(uint8(a.status))
	w.bytes(a.Epoch[:])
	w.u64(a.Number)
	w.u64(a.Serial)
	w.bytes(a.signKey[:])
	w.addr(a.Seen)
	w.u16(uint16(len(a.Gateways)))
	for i := range a.Gateways {
		w.gateway(&a.Gateways[i])
	}
	return w.b
}

func (w *writer) gateway(g *Gateway) {
	w.text(g.Name)
	w.bytes(g.Key[:])
	w.addr(g.Inner)
	w.addr(g.Endpoint.Addr())
	w.u16(g.Endpoint.Port())
	w.u8(uint8(g.State))
	w.u16(uint16(min((g.Left+time.Second-1)/time.Second, math.MaxUint16)))
	w.u8(uint8(len(g.Subnets)))
	for _, p := range g.Subnets {
		w.prefix(p)
	}
}

// parseAnswer reads an answer. Whatever nexus says, a table that it returns has the
// promises of Table and Gateway.
func parseAnswer(text []byte) (*answer, error) {
	r := reader{b: text}
	a := &answer{status: status(r.u8())}
	a.Epoch, a.Number, a.Serial = Epoch(r.take(8)), r.u64(), r.u64()
	a.signKey, a.Seen = [crypto.SignKeySize]byte(r.take(crypto.SignKeySize)), r.addr()
	count := int(r.u16())
	if count > settings.MaxNetworks || a.status > disabled || a.status != done && count > 0 {
		r.bad = true
	}
	for range count {
		if r.bad {
			break
		}
		a.Gateways = append(a.Gateways, r.gateway())
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	for i := range a.Gateways[min(1, len(a.Gateways)):] {
		if cmp.Compare(a.Gateways[i].Name, a.Gateways[i+1].Name) >= 0 {
			return nil, fmt.Errorf("answer: %w", errForm)
		}
	}
	return a, nil
}

func (r *reader) gateway() Gateway {
	g := Gateway{Name: r.text(), Key: crypto.PublicKey(r.take(32)), Inner: r.addr()}
	addr, port := r.addr(), r.u16()
	g.Endpoint = netip.AddrPortFrom(addr, port)
	if addr.IsValid() != (port != 0) || addr.IsValid() && !reachable(addr) {
		r.bad = true
	}
	g.State, g.Left = State(r.u8()), time.Duration(r.u16())*time.Second
	count := int(r.u8())
	for range count {
		p := r.prefix()
		r.bad = r.bad || settings.CheckSubnet(p) != nil
		g.Subnets = append(g.Subnets, p)
	}
	isIn := func(p netip.Prefix) bool { return p.Contains(g.Inner) }
	if settings.CheckName(g.Name) != nil || g.State > Unheard || !slices.ContainsFunc(g.Subnets, isIn) {
		r.bad = true
	}
	return g
}
