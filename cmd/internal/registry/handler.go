package registry

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
	"vpnd/tunnel/loglimit"
)

// updateTimeout bounds the wait for the state.
const updateTimeout = 10 * time.Second

// contentType is that of letters.
const contentType = "application/octet-stream"

// Handler answers gateways.
type Handler struct {
	own      *crypto.Identity
	password crypto.Password
	networks func() ([]settings.Network, error)
	store    *Store
	log      *slog.Logger
	mail     mail
	// What callers can bring about as often as they like.
	callers, twins, failures loglimit.Limit
}

// logBurst is how many messages of a kind are logged at once. A CGI program has a Handler
// for its only request, so there it bounds nothing.
const logBurst = 20

// NewHandler returns a handler. networks returns what stands in the network file at
// that time; several goroutines call it at once.
func NewHandler(own *crypto.Identity, password string, networks func() ([]settings.Network, error), store *Store, log *slog.Logger) *Handler {
	return &Handler{own: own, password: crypto.NewPassword(password), networks: networks, store: store, log: log,
		mail:    mail{wake: make(chan struct{}, 1)},
		callers: loglimit.Limit{Burst: logBurst}, twins: loglimit.Limit{Burst: logBurst}, failures: loglimit.Limit{Burst: logBurst}}
}

// refusal is what somebody hears who has not shown the key.
type refusal struct {
	status int
	text   string
}

var (
	refuseMethod = &refusal{http.StatusMethodNotAllowed, "This is a nexus: gateways register here with POST."}
	refuseLength = &refusal{http.StatusLengthRequired, "length is missing"}
	refuseSize   = &refusal{http.StatusRequestEntityTooLarge, "not a registration"}
	refuseForm   = &refusal{http.StatusBadRequest, "not a registration"}
	refuseKey    = &refusal{http.StatusForbidden, "refused"}
	failed       = &refusal{http.StatusServiceUnavailable, "nexus cannot answer now: its log says why"}
)

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	letter, refused := h.serve(r)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	if refused != nil {
		header.Set("Connection", "close") // what was not read is not read
		http.Error(w, refused.text, refused.status)
		return
	}
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(letter)))
	w.Write(letter) // who is gone asks again
}

func (h *Handler) serve(r *http.Request) (letter []byte, refused *refusal) {
	question, refused := readQuestion(r)
	if refused != nil {
		return nil, refused
	}
	asked, err := crypto.OpenQuestion(rand.Reader, h.own, h.password, question)
	if err != nil {
		return nil, refuseKey
	}
	q, err := parseRequest(asked.Text)
	if err != nil {
		h.callers.Warn(h.log, "registration is malformed", "key", asked.From, "from", r.RemoteAddr, "error", err)
		return nil, refuseForm
	}
	a, err := h.answer(r, asked.From, q)
	if err == nil {
		letter, err = asked.Answer(a.encode())
	}
	if err != nil {
		h.failures.Log(h.log, slog.LevelError, "registration failed", "name", q.name, "from", r.RemoteAddr, "error", err)
		return nil, failed
	}
	return letter, nil
}

// readQuestion reads a body that has the length of a letter.
func readQuestion(r *http.Request) ([]byte, *refusal) {
	switch {
	case r.Method != http.MethodPost:
		return nil, refuseMethod
	case r.ContentLength < 0:
		return nil, refuseLength
	case r.ContentLength > RequestSize:
		return nil, refuseSize
	}
	question := make([]byte, RequestSize)
	if _, err := io.ReadFull(r.Body, question); err != nil {
		return nil, refuseForm
	}
	return question, nil
}

var errNoAddress = errors.New("the web server does not tell the caller's address (REMOTE_ADDR)")

// answer does what a gateway asks for.
func (h *Handler) answer(r *http.Request, from crypto.PublicKey, q *request) (*answer, error) {
	seen, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return nil, errNoAddress
	}
	networks, err := h.networks()
	if err != nil {
		return nil, err
	}
	v := &visit{h: h, q: q, from: from, seen: seen.Addr().Unmap().WithZone("")}
	if !v.belongs(networks) {
		return &v.answer, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), updateTimeout)
	defer cancel()
	if err := h.store.update(ctx, v.update); err != nil {
		return nil, err
	}
	v.report()
	return &v.answer, nil
}

// visit is one question of a gateway that the network file has.
type visit struct {
	h        *Handler
	q        *request
	from     crypto.PublicKey
	seen     netip.Addr
	networks []settings.Network
	network  *settings.Network

	answer   answer
	gateways []Gateway // as nexus reaches them
	tell     bool      // the others of what has changed
	moved    bool      // to another endpoint, or it is back
	late     bool      // the number was taken already
}

// belongs looks for the gateway in the network file. If it is not there, or disabled,
// the answer says so.
func (v *visit) belongs(networks []settings.Network) bool {
	v.networks = networks
	i := slices.IndexFunc(networks, func(n settings.Network) bool { return n.Name == v.q.name && n.Key == v.from })
	switch {
	case i < 0:
		v.h.callers.Warn(v.h.log, "no network has this name and this key", "name", v.q.name, "key", v.from, "from", v.seen)
		v.answer = answer{status: unknown, Table: Table{Seen: v.seen}}
		return false
	case networks[i].Disabled:
		v.answer = answer{status: disabled, Table: Table{Seen: v.seen}}
		return false
	}
	v.network = &networks[i]
	return true
}

// update is what happens under the lock. The network file is read once more: while the
// lock was waited for it may have changed, and others have registered by what it says now.
func (v *visit) update(s *state) (store bool) {
	if networks, err := v.h.networks(); err == nil && !v.belongs(networks) {
		return false
	}
	s.retain(v.networks)
	v.answer = answer{status: again, signKey: signOf(v.h.own, v.network.Key, s.epoch).Key(),
		Table: Table{Epoch: s.epoch, Number: s.last(v.q.name), Seen: v.seen}}
	if !s.isNew(v.q) {
		v.late = v.q.epoch == s.epoch && v.q.number <= s.last(v.q.name) && s.isLive(v.q.name)
		return false
	}
	endpoint := v.endpoint(s.epoch)
	i, known := s.find(v.q.name)
	v.moved = !known || s.entries[i].endpoint != endpoint || s.entries[i].until <= s.saved
	others := s.settle(published(s.gateways(v.networks))) // leases that ended, the network file
	e := s.take(v.q, v.network, endpoint)
	v.gateways = s.gateways(v.networks)
	list := published(v.gateways)
	own := s.settle(list) && e.mayTell(s.saved)
	v.tell = others || own
	v.answer.status, v.answer.Number, v.answer.Serial, v.answer.Gateways = done, v.q.number, s.serial, list
	return true
}

// endpoint returns what is published: the address that the network file has, a declared
// one that was proved, or the one that was seen.
func (v *visit) endpoint(epoch Epoch) netip.AddrPort {
	port, declared := v.port(), v.declared()
	switch {
	case v.network.Address.IsValid():
		return netip.AddrPortFrom(v.network.Address, port)
	case declared.IsValid() && v.q.proof == v.proof(epoch):
		return declared
	case (reachable(v.seen) || v.seen.IsLoopback()) && !v.isInside():
		return netip.AddrPortFrom(v.seen, port)
	}
	return netip.AddrPort{}
}

// isInside reports whether the address that was seen leads into a network of the mesh, so
// that it is of no use outside. A public one may be the outer address of a gateway that has
// its whole public network in the mesh.
func (v *visit) isInside() bool {
	for _, n := range v.networks {
		if n.Disabled || n.Name == v.q.name && !v.seen.IsPrivate() {
			continue
		}
		if slices.ContainsFunc(n.Subnets, func(p netip.Prefix) bool { return p.Contains(v.seen) }) {
			return true
		}
	}
	return false
}

// port returns the port that is published.
func (v *visit) port() uint16 { return cmp.Or(v.network.Port, v.q.port) }

// declared returns the endpoint that the gateway declares, if it does and that matters.
func (v *visit) declared() netip.AddrPort {
	if v.network.Address.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(v.q.declared, v.port())
}

// proof returns what makes the declared endpoint count.
func (v *visit) proof(epoch Epoch) [proofSize]byte {
	return proofOf(v.h.own, v.network.Key, epoch, v.declared())
}

// report logs what changed, and says what is to be sent after the answer.
func (v *visit) report() {
	a := &v.answer
	if v.late {
		v.h.twins.Warn(v.h.log, "registration has an old number: another gateway has this key, too, or a recorded one was sent again",
			"name", v.q.name, "from", v.seen)
	}
	if a.status != done {
		return
	}
	switch own := a.Gateway(v.q.name); {
	case !v.tell: // nothing new, or too often: it would fill the log, too
	case own.State != Live:
		v.h.log.Info("gateway left", "name", v.q.name, "from", v.seen)
	case v.moved:
		v.h.log.Info("gateway registered", "name", v.q.name, "endpoint", own.Endpoint, "from", v.seen)
	}
	if v.tell {
		v.h.mail.nudge(a.Epoch, a.Serial, v.q.name, v.gateways)
	}
	if declared := v.declared(); declared.IsValid() && v.q.kind == register {
		if a.Gateway(v.q.name).Endpoint != declared {
			v.h.mail.add(parcel{declared, check(crypto.NewSign(a.signKey), v.proof(a.Epoch))})
		}
	}
}
