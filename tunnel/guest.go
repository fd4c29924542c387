package tunnel

import "slices"

// settled makes a caller that has proved itself one of the hub's clients, if its key is
// a shared one; with a key of its own it is one already. It reports whether the addresses
// that it was offered are its own: another one may have come first. t.mu is held.
func (t *Tunnel) settled(p *peer) bool {
	if t.hub == nil {
		return true
	}
	known := t.hub.peers[p.name]
	if known != nil && known != p && slices.Equal(known.addrs, p.addrs) {
		return false // it called twice at a time, and this is the second
	}
	if settle := t.hub.config.Settle; settle != nil {
		if err := settle(HubPeer{Name: p.name, Addrs: p.addrs}, t.busy); err != nil {
			return false
		}
	}
	if known == p {
		return true
	}
	forget := func(old *peer) {
		if old != nil {
			t.remove(old)
			t.hub.withdraw(old)
		}
	}
	forget(known) // it had other addresses
	for _, prefix := range p.owns() {
		forget(t.hub.owner(prefix.Addr())) // was given up for lack of room, and is not there
	}
	t.hub.peers[p.name] = p
	t.hub.insert(p)
	return true
}
