package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"vpnd/cmd/internal/settings"
)

const (
	// window is how far a number may be ahead of the last one: a gateway cannot use up
	// all numbers.
	window = 1 << 20
	// maxGap is how much of a time in which nobody was heard counts. Gateways ask at
	// least every 60 s.
	maxGap = 90 * time.Second
	// tellBurst changes of one gateway in a row are told to the others at once, then one
	// each tellEvery: a single datagram may make all others ask.
	tellBurst = 4
	tellEvery = 30 * time.Second
)

// state is what nexus remembers. Times are of the clock of a boot.
type state struct {
	boot   string
	epoch  Epoch
	saved  time.Duration // when it was written last
	begun  time.Duration // since when everything that was heard is in it
	serial uint64        // of the table
	floor  uint64        // the greatest number of those that were forgotten
	digest digest        // of the table that has the serial
	// entries are in the order of their names.
	entries []entry
}

// digest tells tables apart.
type digest [8]byte

// entry is what a gateway may change.
type entry struct {
	name     string
	key      string // as it stands in the network file
	number   uint64
	endpoint netip.AddrPort
	until    time.Duration // the end of the lease
	told     time.Duration // when it has made up for the changes that the others were told
}

// newState begins a memory.
func newState(random io.Reader, now moment) (*state, error) {
	s := &state{boot: now.boot, saved: now.at, begun: now.at}
	return s, s.newEpoch(random)
}

func (s *state) newEpoch(random io.Reader) error {
	if _, err := io.ReadFull(random, s.epoch[:]); err != nil {
		return fmt.Errorf("read random bytes: %w", err)
	}
	return nil
}

// advance brings the state to another time. It reports whether it has to be stored:
// then a new epoch has begun.
func (s *state) advance(now moment, random io.Reader) (renewed bool, err error) {
	passed := min(now.at-s.saved, maxGap)
	if s.boot != now.boot || passed < 0 {
		passed, renewed = 0, true
		if err := s.newEpoch(random); err != nil {
			return false, err
		}
	}
	shift := now.at - s.saved - passed
	s.begun += shift
	for i := range s.entries {
		s.entries[i].until += shift
		s.entries[i].told += shift
	}
	s.boot, s.saved = now.boot, now.at
	return renewed, nil
}

// retain forgets who is not in the network file any more, or has another key there.
func (s *state) retain(networks []settings.Network) {
	keys := make(map[string]string, len(networks))
	for _, n := range networks {
		keys[n.Name] = n.Key.String()
		if n.Disabled {
			s.end(n.Name)
		}
	}
	s.entries = slices.DeleteFunc(s.entries, func(e entry) bool {
		if keys[e.name] == e.key {
			return false
		}
		s.floor = max(s.floor, e.number)
		return true
	})
}

// end ends a lease.
func (s *state) end(name string) {
	if i, ok := s.find(name); ok {
		s.entries[i].until = s.saved
	}
}

func (s *state) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.entries, name, func(e entry, name string) int { return strings.Compare(e.name, name) })
}

// last returns the last number of a gateway.
func (s *state) last(name string) uint64 {
	if i, ok := s.find(name); ok {
		return s.entries[i].number
	}
	return s.floor
}

// isNew reports whether a question was not asked before.
func (s *state) isNew(q *request) bool {
	last := s.last(q.name)
	return q.epoch == s.epoch && q.number > last && q.number-last <= window
}

// take does what a gateway of the network file asks for. Its entry is the state's.
func (s *state) take(q *request, n *settings.Network, endpoint netip.AddrPort) *entry {
	i, ok := s.find(n.Name)
	if !ok {
		s.entries = slices.Insert(s.entries, i, entry{name: n.Name, key: n.Key.String()})
	}
	e := &s.entries[i]
	e.number = q.number
	if q.kind == leave {
		e.until = s.saved
		return e
	}
	e.endpoint, e.until = endpoint, s.saved+Lease
	return e
}

// mayTell reports whether the others are told at once that this gateway has changed, and
// counts that. They find what they are not told when they ask.
func (e *entry) mayTell(now time.Duration) bool {
	next := max(e.told, now) + tellEvery
	if next > now+tellBurst*tellEvery {
		return false
	}
	e.told = next
	return true
}

// isLive reports whether a gateway has a lease.
func (s *state) isLive(name string) bool {
	i, ok := s.find(name)
	return ok && s.entries[i].until > s.saved
}

// gateways returns all gateways of the mesh, with the endpoints at which nexus reaches
// them.
func (s *state) gateways(networks []settings.Network) []Gateway {
	list := make([]Gateway, 0, len(networks))
	for _, n := range networks {
		if n.Disabled {
			continue
		}
		g := Gateway{Name: n.Name, Key: n.Key, Inner: n.Inner, Subnets: n.Subnets}
		if i, ok := s.find(n.Name); ok {
			e := &s.entries[i]
			g.Endpoint, g.Left = e.endpoint, max(0, e.until-s.saved)
		} else if s.saved-s.begun < Lease {
			g.State = Unheard
		}
		if g.Left > 0 {
			g.State = Live
		}
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Gateway) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// published returns gateways as the others are told them. One on nexus's own host has an
// address that means themselves to them.
func published(list []Gateway) []Gateway {
	list = slices.Clone(list)
	for i := range list {
		if g := &list[i]; !reachable(g.Endpoint.Addr()) {
			g.Endpoint = netip.AddrPort{}
		}
	}
	return list
}

// settle gives the table its serial, and reports whether it is a new one.
func (s *state) settle(list []Gateway) (changed bool) {
	w := writer{}
	for _, g := range list {
		g.Left = 0
		w.gateway(&g)
	}
	sum := sha256.Sum256(w.b)
	d := digest(sum[:])
	if d == s.digest {
		return false
	}
	s.digest = d
	s.serial++
	return true
}

const (
	stateTag = "vpnd-nexus-1"
	// maxState bounds a state file: each network of the largest network file has a line.
	maxState = (settings.MaxNetworks + 2) * 256
)

// format returns the text of the state file.
func (s *state) format() []byte {
	text := fmt.Appendf(nil, "%s %v %s %d %d %d %d %x\n",
		stateTag, s.epoch, s.boot, s.saved.Milliseconds(), s.begun.Milliseconds(), s.serial, s.floor, s.digest)
	for _, e := range s.entries {
		text = fmt.Appendf(text, "%s %s %d %s %d %d\n", e.name, e.key, e.number, endpointText(e.endpoint), e.until.Milliseconds(), e.told.Milliseconds())
	}
	return fmt.Appendf(text, "sum %s\n", sumOf(text))
}

// noEndpoint stands for an endpoint that is not known.
const noEndpoint = "-"

func endpointText(e netip.AddrPort) string {
	if !e.IsValid() {
		return noEndpoint
	}
	return e.String()
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
