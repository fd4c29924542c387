package tunnel

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"

	"vpnd/crypto"
)

// Hub is what makes a server one for many clients.
type Hub struct {
	// ClientToClient lets packets pass from one client to another.
	ClientToClient bool
	// Guest returns what a client with a shared key is called and its addresses. wish
	// are the ones that it says it has, if it does; busy tells which names are taken
	// by a client that is there. It is nil when all clients have keys of their own.
	// Who calls may have recorded the flight of another one: nothing may change yet.
	Guest func(id crypto.ClientID, wish []netip.Addr, busy func(name string) bool) (HubPeer, error)
	// Settle is called when such a client has proved itself: from now on the addresses
	// are its own. After an error it has to call again. It may be nil.
	Settle func(c HubPeer, busy func(name string) bool) error
	// Mesh has the hub call its peers; nil: it is called only.
	Mesh *Mesh
}

// HubPeer is what a hub knows of a client.
type HubPeer struct {
	Name string
	Key  crypto.KeyID // of a key of its own
	// Proof is that key together with its secret. Without it the secret follows from the
	// key, as in a mesh.
	Proof *crypto.Peer
	// Addrs are its inner addresses, one of a family at most.
	Addrs []netip.Addr
	// Subnets are the networks behind it.
	Subnets []netip.Prefix
	// Rate is how many bytes may go each way in a second; 0 is any number.
	Rate int

	// Of a peer of a mesh: what to call it with, nil if it is not to be called; where, the
	// zero AddrPort if that is not known; and whether, of two links, the one that this
	// end has called for stays.
	Call     Key
	Endpoint netip.AddrPort
	Ours     bool
}

// owns returns all prefixes of a peer.
func (p HubPeer) owns() (all []netip.Prefix) {
	for _, a := range p.Addrs {
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	return append(all, p.Subnets...)
}

// hub is the clients of a server, and which of them has an address. A packet's
// way needs no lock: tables are replaced, not changed.
type hub struct {
	config *Hub
	byAddr atomic.Pointer[bart.Table[*peer]]
	outer  atomic.Pointer[bart.Table[int]] // outer addresses of the links, and how many have each

	guests guestNotes

	// slow has room for those whose few bytes make much work just now: it may take
	// milliseconds, and clients must not have the whole processor for that.
	slow chan struct{}

	// Of a mesh.
	inner    atomic.Pointer[netip.Addr]           // this end's own
	gateways atomic.Pointer[map[netip.Addr]*peer] // by their inner addresses
	calls    sync.WaitGroup                       // diallers, and the sessions that they made

	// Tunnel.mu guards the rest.
	peers map[string]*peer
	life  context.Context // of a mesh that calls, else nil
}

func newHub(c *Hub) *hub {
	h := &hub{config: c, peers: make(map[string]*peer), slow: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	h.guests.links.Burst = guestLines
	h.byAddr.Store(new(bart.Table[*peer]))
	h.outer.Store(new(bart.Table[int]))
	h.gateways.Store(&map[netip.Addr]*peer{})
	return h
}

// owner returns the client that has an address, nil for none.
func (h *hub) owner(a netip.Addr) *peer {
	p, _ := h.byAddr.Load().Lookup(a)
	return p
}

// list returns the clients in the order of their names. Tunnel.mu is held.
func (h *hub) list() []*peer {
	return slices.SortedFunc(maps.Values(h.peers), func(a, b *peer) int { return cmp.Compare(a.name, b.name) })
}

// meet notes the outer addresses of a link that comes or goes: no client may reach
// them through the tunnel. Tunnel.mu is held.
func (h *hub) meet(s *session, comes bool) {
	table := h.outer.Load()
	if comes {
		s.outer = s.outerAddrs()
	}
	for _, addr := range s.outer {
		table = table.ModifyPersist(netip.PrefixFrom(addr, addr.BitLen()), func(n int, _ bool) (int, bool) {
			if comes {
				return n + 1, false
			}
			return n - 1, n == 1
		})
	}
	h.outer.Store(table)
}

// outerAddrs returns the addresses that a link runs between, but for those that are
// inner ones: whoever calls the hub at its inner address, or through another link, would
// take an address away from all others.
func (s *session) outerAddrs() (all []netip.Addr) {
	for _, a := range []net.Addr{s.conn.RemoteAddr(), s.conn.LocalAddr()} {
		outer, _ := netip.ParseAddrPort(a.String()) // no address for others: no packet goes there
		addr := outer.Addr().Unmap().WithZone("")
		if s.t.hub.owner(addr) != nil {
			return all
		}
		if !slices.Contains(s.t.config.Local, addr) {
			all = append(all, addr)
		}
	}
	return all
}

// isOuter reports whether links run from or to an address. A gateway of a mesh with one
// interface has them run from its inner one, where others reach it all the same.
func (h *hub) isOuter(a netip.Addr) bool {
	return h.outer.Load().Contains(a) && !h.isInner(a)
}

// SetPeers makes these the clients of a hub that have keys of their own. Links of
// those that are not among them, or that have another key or secret now, end at once. An error,
// such as two that have the same address, changes nothing.
func (t *Tunnel) SetPeers(list []HubPeer) error {
	table, seen := new(bart.Table[HubPeer]), make(map[string]bool)
	for _, c := range list {
		if seen[c.Name] {
			return fmt.Errorf("two clients of the name %s", c.Name)
		}
		seen[c.Name] = true
		for _, prefix := range c.owns() {
			if table.OverlapsPrefix(prefix) {
				return fmt.Errorf("client %s: %v belongs to another client, in whole or in part", c.Name, prefix)
			}
		}
		for _, prefix := range c.owns() {
			table.Insert(prefix, c)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for name, p := range t.hub.peers {
		if !seen[name] {
			t.remove(p)
		}
	}
	for _, c := range list {
		t.enroll(c)
	}
	t.hub.rebuild()
	return nil
}

// watchLinks watches the time for all sessions, so that a client that is silent costs
// next to nothing.
func (t *Tunnel) watchLinks(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		t.lookAtLinks()
	}
}

func (t *Tunnel) lookAtLinks() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.hub.peers {
		s := p.link.Load()
		if s == nil {
			continue
		}
		if _, err := s.look(); err != nil {
			s.end(err)
		}
		t.settleTie(p)
	}
}

// enroll makes a client known, or changes what is known of it. A link that does not
// fit what is known now ends. t.mu is held.
func (t *Tunnel) enroll(c HubPeer) *peer {
	p := t.hub.peers[c.Name]
	if p != nil && !p.is(c.Key, c.Proof) {
		t.remove(p)
		p = nil
	}
	if p == nil {
		p = t.newPeer(c)
		t.hub.peers[c.Name] = p
	}
	if s := p.link.Load(); s != nil && !slices.Equal(p.addrs, c.Addrs) {
		s.end(errShutdown) // it calls again, and is given the new ones
	}
	p.become(c)
	t.enrollCalls(p, c)
	return p
}

// newPeer returns a client that the hub does not know yet.
func (t *Tunnel) newPeer(c HubPeer) *peer {
	p := &peer{name: c.Name, key: c.Key, proof: c.Proof, notes: new(notes), count: new(counters), since: time.Now()}
	p.inside = t.point.inside.behind(&gate{t: t, from: p})
	p.become(c)
	return p
}

// become changes what is known of a client.
func (p *peer) become(c HubPeer) {
	p.addrs, p.behind = slices.Clone(c.Addrs), slices.Clone(c.Subnets)
	p.rates.set(c.Rate)
}

// remove takes a client out of the hub, and ends its link. What was counted of it
// stays in the sum. t.mu is held.
func (t *Tunnel) remove(p *peer) {
	p.gone = true
	delete(t.hub.peers, p.name)
	if p.calls.stop != nil {
		p.calls.stop()
	}
	for s := p.link.Load(); s != nil; s = p.link.Load() { // a peer of a mesh may have two
		t.detachLocked(s, errRevoked)
		s.end(errRevoked)
	}
	p.count.moveTo(&t.count)
}

// settle sees to what a session counted after its client was removed.
func (t *Tunnel) settle(p *peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p.gone {
		p.count.moveTo(&t.count)
	}
}

// owns returns all prefixes of a client.
func (p *peer) owns() []netip.Prefix {
	return HubPeer{Addrs: p.addrs, Subnets: p.behind}.owns()
}

// rebuild makes the table of addresses. Tunnel.mu is held.
func (h *hub) rebuild() {
	table, gateways := new(bart.Table[*peer]), make(map[netip.Addr]*peer)
	for _, p := range h.peers {
		for _, prefix := range p.owns() {
			table.Insert(prefix, p)
		}
		for _, a := range p.addrs {
			gateways[a] = p
		}
	}
	h.byAddr.Store(table)
	h.gateways.Store(&gateways)
}

// insert adds a client to the table of addresses. Tunnel.mu is held.
func (h *hub) insert(p *peer) {
	table := h.byAddr.Load()
	for _, prefix := range p.owns() {
		table = table.InsertPersist(prefix, p)
	}
	h.byAddr.Store(table)
}

// withdraw takes a client out of the table of addresses. Tunnel.mu is held.
func (h *hub) withdraw(p *peer) {
	table := h.byAddr.Load()
	for _, prefix := range p.owns() {
		table = table.DeletePersist(prefix)
	}
	h.byAddr.Store(table)
}

// place finds out which client a caller is, and says in the answer which addresses it
// has, or that it has none here.
func (t *Tunnel) place(who Caller, h hello, a *answer) *peer {
	if t.hub == nil {
		return t.point
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.hub.peers[who.Name]
	if t.hub.config.Guest != nil {
		p = t.guest(h)
	} else if p != nil && !p.is(who.Key, who.Proof) {
		p = nil
	}
	if p == nil || !p.holds(h.inner) {
		a.reason = cmp.Or(a.reason, reasonAddress)
		return nil
	}
	a.yours = innerOf(p.addrs)
	a.rate = p.rates.in.most()
	a.terms.maxFrame = p.rates.in.longest(max(h.terms.mtu, t.config.MTU), a.terms.maxFrame)
	return p
}

// guest returns a caller with a shared key as a client, nil if there is no room. One
// that is new is not among the hub's clients before it has proved itself, see settled.
// t.mu is held.
func (t *Tunnel) guest(h hello) *peer {
	c, err := t.hub.config.Guest(h.client, h.inner.addrs(), t.busy)
	if err != nil {
		t.limits[refusedTerms].Warn(t.config.Log, "no address for a client", "client", h.client, "cause", err)
		return nil
	}
	p := t.hub.peers[c.Name]
	if p != nil && slices.Equal(p.addrs, c.Addrs) {
		return p
	}
	p = t.newPeer(c)
	p.flaps.all, p.notes = &t.hub.guests.links, &t.hub.guests.notes
	return p
}

// busy reports whether the client of a name is there. t.mu is held.
func (t *Tunnel) busy(name string) bool {
	p := t.hub.peers[name]
	return p != nil && p.link.Load() != nil
}
