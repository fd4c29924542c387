package tunnel

import (
	"sync/atomic"
	"time"
)

// Stats is what a tunnel has seen and done since it started, and the state of
// its link. Packets are conserved:
//
//	Inside.PacketsIn   = Wire.PacketsOut + Waiting + the drops on the way out
//	Wire.PacketsIn     = Inside.PacketsOut + the drops on the way in
//
// What was under way when a connection broke counts as sent: neither end alone
// can know how much of it arrived.
type Stats struct {
	State string    `json:"state"` // "up" or "down"
	Since time.Time `json:"since"` // of that state
	// Reason is why the link is down, empty before the first attempt failed.
	Reason string `json:"reason,omitempty"`
	Link   *Link  `json:"link,omitempty"`
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

	Established time.Time     `json:"established"`
	Epoch       uint64        `json:"epoch"` // of the sending direction
	Ratchets    uint64        `json:"ratchets"`
	Rekeys      uint64        `json:"rekeys"`
	LastPacket  time.Time     `json:"last_packet"` // last authentic frame
	RoundTrip   time.Duration `json:"round_trip_ns"`
	BytesOut    uint64        `json:"bytes_out"` // on the wire
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
	outCount
)

const (
	inMalformed dropIn = iota // no IP packet, after a right MAC
	inTooOld                  // held back longer than maxdelay
	inWrite                   // the device did not take it
	inLocal                   // would change this host's routes or addresses
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
	outNames     = [outCount]string{"no_link", "queue_full", "too_long", "malformed", "link_lost", "device_read", "unwanted", "waited"}
	inNames      = [inCount]string{"malformed", "too_old", "device_write", "discovery"}
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
