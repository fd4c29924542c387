package tunnel

import (
	"maps"
	"net/netip"
	"sync/atomic"
	"time"
)

// Stats is what a tunnel has seen and done since it started, and the state of
// its link. Packets are conserved:
//
//	Inside.PacketsIn   = Wire.PacketsOut + Waiting + the drops on the way out
//	Wire.PacketsIn     = Inside.PacketsOut + the drops on the way in
//
// A packet that goes from one client of a hub to another counts as if the host had
// been between them.
//
// What was under way when a connection broke counts as sent: neither end alone
// can know how much of it arrived.
type Stats struct {
	State string    `json:"state"` // "up" or "down"
	Since time.Time `json:"since"` // of that state
	// Reason is why the link is down; a client has none before its first attempt has failed.
	Reason string `json:"reason,omitempty"`
	Link   *Link  `json:"link,omitempty"`
	// Peers are the clients of a hub, which is up as long as it runs.
	Peers []PeerStats `json:"peers,omitempty"`
	// Links counts how often the link came up.
	Links uint64 `json:"links"`

	Inside  Traffic `json:"inside"` // packets from and to the TUN device
	Wire    Traffic `json:"wire"`   // the same packets on the link; bytes are the wire's
	Waiting int     `json:"waiting"`

	DropsOut map[string]uint64 `json:"drops_out"`
	DropsIn  map[string]uint64 `json:"drops_in"`
	// Refused counts connections to a server that came to nothing, by cause.
	Refused map[string]uint64 `json:"refused"`
	// Damaged counts frames of a serial line that did not open: noise, as a rule.
	Damaged uint64 `json:"damaged"`
	// Compression is plain bytes by sent bytes of all batches sent and received, 1
	// when nothing was gained.
	CompressionOut float64 `json:"compression_out"`
	CompressionIn  float64 `json:"compression_in"`
}

// PeerStats is one client of a hub.
type PeerStats struct {
	Name   string    `json:"name"`
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
	Link   *Link     `json:"link,omitempty"`
	Links  uint64    `json:"links"`
	// Networks are its addresses and what is behind it.
	Networks []netip.Prefix `json:"networks"`
	Inside   Traffic        `json:"inside"`
	Wire     Traffic        `json:"wire"`
	Waiting  int            `json:"waiting"`
	// Drops are those that there were.
	DropsOut map[string]uint64 `json:"drops_out,omitempty"`
	DropsIn  map[string]uint64 `json:"drops_in,omitempty"`
}

// Stats returns the state and the counters.
func (t *Tunnel) Stats() Stats {
	if t.hub != nil {
		return t.hubStats()
	}
	st := t.count.snapshot()
	t.mu.Lock()
	st.Since, st.Reason = t.point.since, t.point.reason
	t.mu.Unlock()
	st.State, st.Waiting = "down", t.demand.waiting()
	if s := t.point.link.Load(); s != nil {
		st.State, st.Waiting = "up", s.queue.Len()
		l := s.snapshot()
		st.Link = &l
	}
	return st
}

// hubStats adds the counters of all clients.
func (t *Tunnel) hubStats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	var sum counters
	t.count.addTo(&sum)
	list := []PeerStats{}
	for _, p := range t.hub.list() {
		p.count.addTo(&sum)
		list = append(list, p.stats())
	}
	st := sum.snapshot()
	st.State, st.Since, st.Reason, st.Peers = "up", t.point.since, t.point.reason, list
	for _, p := range list {
		st.Waiting += p.Waiting
	}
	return st
}

// stats returns the state of a hub's client. Tunnel.mu is held.
func (p *peer) stats() PeerStats {
	s := p.count.snapshot()
	st := PeerStats{
		Name: p.name, State: "down", Since: p.since, Reason: p.reason, Links: s.Links,
		Networks: p.owns(),
		Inside:   s.Inside, Wire: s.Wire, DropsOut: s.DropsOut, DropsIn: s.DropsIn,
	}
	for _, drops := range []map[string]uint64{st.DropsOut, st.DropsIn} {
		maps.DeleteFunc(drops, func(_ string, n uint64) bool { return n == 0 })
	}
	if s := p.link.Load(); s != nil {
		l := s.snapshot()
		st.State, st.Waiting, st.Link = "up", s.queue.Len(), &l
	}
	return st
}

// Traffic counts packets and bytes. In is towards this process, out away from it.
type Traffic struct {
	PacketsIn  uint64 `json:"packets_in"`
	PacketsOut uint64 `json:"packets_out"`
	BytesIn    uint64 `json:"bytes_in"`
	BytesOut   uint64 `json:"bytes_out"`
}

// Link is one established link.
type Link struct {
	Peer      string `json:"peer"` // outer address and port
	Transport string `json:"transport"`
	Cipher    string `json:"cipher"`
	KeyID     string `json:"key_id"`
	Client    string `json:"client,omitempty"` // id of the client, on a server
	// Name is what a hub calls the client, and Remote its inner addresses. A client that
	// takes its address from the server has the inner addresses of both ends here.
	Name   string       `json:"name,omitempty"`
	Local  []netip.Addr `json:"local,omitempty"`
	Remote []netip.Addr `json:"remote,omitempty"`

	Established time.Time     `json:"established"`
	Epoch       uint64        `json:"epoch"` // of the sending direction
	Ratchets    uint64        `json:"ratchets"`
	Rekeys      uint64        `json:"rekeys"`
	LastPacket  time.Time     `json:"last_packet"` // last authentic frame
	RoundTrip   time.Duration `json:"round_trip_ns"`
	Through     string        `json:"through,omitempty"` // third peer of a mesh
	BytesOut    uint64        `json:"bytes_out"`         // on the wire
	BytesIn     uint64        `json:"bytes_in"`
}

// dropOut and dropIn name every way in which a packet ends before its time.
type (
	dropOut uint8
	dropIn  uint8
	refusal uint8
)

const (
	outNoLink    dropOut = iota // no link is up
	outQueueFull                // the link is slower than what comes
	outTooLong                  // longer than a frame of the peer
	outMalformed                // no IP packet
	outLinkLost                 // waiting, or handed to a connection that broke at once
	outRead                     // the device reported a bad packet
	outUnwanted                 // kept off the link by noipv6 or nomulticast
	outWaited                   // waited too long, or its sender has to slow down
	outNoPeer                   // no client of a hub has the address
	outCount
)

const (
	inMalformed dropIn = iota // no IP packet, after a right MAC
	inTooOld                  // held back longer than maxdelay
	inWrite                   // the device did not take it
	inLocal                   // would change this host's routes or addresses
	inSpoofed                 // from an address that is not the client's
	inClient                  // to another client, without clienttoclient
	inMulticast               // to a group, or broadcast
	inOuter                   // to an address that the tunnels themselves run between, or of the host alone
	inRouted                  // with a way of its own: source routing
	inCopy                    // of a call through third peers, of which one has come
	inCount
)

const (
	refusedAddress refusal = iota // not the configured client
	refusedDoor                   // no or wrong key, or no vpnd
	refusedReplay                 // first flight seen before
	refusedSilent                 // nothing, or too little, in time
	refusedTerms                  // authentic, but no common version or cipher
	refusedConfirm                // authentic first flight, but no proof of the session's keys
	refusedCrowd                  // gave way to others in a full lobby
	refusedNumber                 // authentic, but its transaction number cannot be stored
	refusedCount
)

var (
	outNames     = [outCount]string{"no_link", "queue_full", "too_long", "malformed", "link_lost", "device_read", "unwanted", "waited", "no_peer"}
	inNames      = [inCount]string{"malformed", "too_old", "device_write", "discovery", "spoofed", "client_to_client", "multicast", "outer_address", "source_route", "copy"}
	refusedNames = [refusedCount]string{"address", "door", "replay", "silent", "terms", "no_confirm", "crowd", "number"}
)

// counters are the running numbers behind Stats.
type counters struct {
	insideIn, insideOut           atomic.Uint64
	insideBytesIn, insideBytesOut atomic.Uint64
	wireIn, wireOut               atomic.Uint64
	wireBytesIn, wireBytesOut     atomic.Uint64
	plainOut, packedOut           atomic.Uint64 // bytes of batches before and after compression
	plainIn, packedIn             atomic.Uint64
	links                         atomic.Uint64
	waiting                       atomic.Int64
	damaged                       atomic.Uint64
	out                           [outCount]atomic.Uint64
	in                            [inCount]atomic.Uint64
	refused                       [refusedCount]atomic.Uint64
}

func (c *counters) dropOut(why dropOut, n int) { c.out[why].Add(uint64(n)) }
func (c *counters) dropIn(why dropIn, n int)   { c.in[why].Add(uint64(n)) }
func (c *counters) refuse(why refusal)         { c.refused[why].Add(1) }

// all returns every counter.
func (c *counters) all() []*atomic.Uint64 {
	list := []*atomic.Uint64{
		&c.insideIn, &c.insideOut, &c.insideBytesIn, &c.insideBytesOut, &c.wireIn, &c.wireOut, &c.wireBytesIn, &c.wireBytesOut,
		&c.plainOut, &c.packedOut, &c.plainIn, &c.packedIn, &c.links, &c.damaged,
	}
	for _, group := range [][]atomic.Uint64{c.out[:], c.in[:], c.refused[:]} {
		for i := range group {
			list = append(list, &group[i])
		}
	}
	return list
}

// addTo adds the counters to those of sum.
func (c *counters) addTo(sum *counters) {
	to := sum.all()
	for i, n := range c.all() {
		to[i].Add(n.Load())
	}
}

// moveTo adds the counters to those of sum, and begins anew.
func (c *counters) moveTo(sum *counters) {
	to := sum.all()
	for i, n := range c.all() {
		to[i].Add(n.Swap(0))
	}
}

func (c *counters) snapshot() Stats {
	return Stats{
		Inside: Traffic{
			PacketsIn: c.insideIn.Load(), PacketsOut: c.insideOut.Load(),
			BytesIn: c.insideBytesIn.Load(), BytesOut: c.insideBytesOut.Load(),
		},
		Wire: Traffic{
			PacketsIn: c.wireIn.Load(), PacketsOut: c.wireOut.Load(),
			BytesIn: c.wireBytesIn.Load(), BytesOut: c.wireBytesOut.Load(),
		},
		Links:          c.links.Load(),
		Damaged:        c.damaged.Load(),
		DropsOut:       named(outNames[:], c.out[:]),
		DropsIn:        named(inNames[:], c.in[:]),
		Refused:        named(refusedNames[:], c.refused[:]),
		CompressionOut: ratio(c.plainOut.Load(), c.packedOut.Load()),
		CompressionIn:  ratio(c.plainIn.Load(), c.packedIn.Load()),
	}
}

func named(names []string, values []atomic.Uint64) map[string]uint64 {
	m := make(map[string]uint64, len(names))
	for i, name := range names {
		m[name] = values[i].Load()
	}
	return m
}

func ratio(plain, packed uint64) float64 {
	if packed == 0 {
		return 1
	}
	return float64(plain) / float64(packed)
}
