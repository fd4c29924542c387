package tunnel

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"vpnd/compress"
)

// scripts show what an actor can do, and are where FuzzFrames begins.
var scripts = []struct {
	name     string
	client   bool // to a client
	maxDelay bool
	steps    [][]byte
	packets  int    // that reach the device
	rekeys   uint64 // that the end has made
	err      string // how it ends
}{
	{"packets", false, false, [][]byte{step(frameConfirm), step(frameBatch, stored(udp(50, 1), ipv6(17, nil))...)}, 2, 0, lineEnds},
	{"segments", false, false, [][]byte{step(frameConfirm), step(frameSegments, together(4)...), step(frameSegments, together(6)...), step(frameBatch, stored(udp(50, 1))...)}, 3, 0, lineEnds},
	{"segments that are none", true, false, [][]byte{step(frameSegments, stored(udp(50, 1))...), step(frameSegments, 0)}, 0, 0, lineEnds},
	{"empty segments", true, false, [][]byte{step(frameSegments)}, 0, 0, "empty batch"},
	{"packets to a client", true, false, [][]byte{step(frameBatch, stored(udp(50, 1), udp(20, 1))...)}, 2, 0, lineEnds},
	{"nothing is confirmed", false, false, [][]byte{step(frameBatch)}, 0, 0, "before the new keys are confirmed"},
	{"packets before that", false, false, [][]byte{step(frameBatch, stored(udp(50, 1))...)}, 0, 0, "length out of bounds"},
	{"confirmed twice", false, false, [][]byte{step(frameConfirm), step(frameConfirm)}, 0, 0, "keys that are in use"},
	{"confirmed to a client", true, false, [][]byte{step(frameConfirm)}, 0, 0, "keys that are in use"},
	{"each compression", true, false, [][]byte{packed("s2"), packed("deflate"), packed("zstd"), packed("off")}, 4 * 20, 0, lineEnds},
	{"history is lost", true, false, [][]byte{
		step(frameBatch, append([]byte{0x2a}, udp(40, 1)...)...), step(stepWork),
		step(frameBatch, append([]byte{0x2e}, udp(40, 1)...)...), step(frameBatch, append([]byte{0x2a}, udp(40, 1)...)...),
	}, 2, 0, lineEnds},
	{"no packet", true, false, [][]byte{step(frameBatch, stored(udp(40, 1), []byte{1}, udp(40, 1))...), step(frameBatch, 0), step(framePing, stamped(0)...)}, 1, 0, lineEnds},
	{"damaged block", true, false, [][]byte{step(frameBatch, 0x2c, 7, 7, 7)}, 0, 0, "expand deflate"},
	{"all that is harmless", true, false, [][]byte{step(framePing, stamped(1)...), step(framePong, stamped(1, 1)...), step(frameTime, stamped(1)...), step(frameReset, 0, 0, 0, 1), step(stepWork)}, 0, 0, lineEnds},
	{"questions, nothing read", true, false, append(slices.Repeat([][]byte{step(framePing, stamped(0)...)}, controlRoom+1), step(frameBatch, stored(udp(40, 1))...)), 1, 0, lineEnds},
	{"short", true, false, [][]byte{step(framePing, 1, 2, 3)}, 0, 0, "frame of type 2 with 3 bytes"},
	{"long", true, false, [][]byte{step(framePing, make([]byte, 9)...)}, 0, 0, "frame of type 2 with 9 bytes"},
	{"empty batch", true, false, [][]byte{step(frameBatch)}, 0, 0, "empty batch"},
	{"unknown", true, false, [][]byte{step(12)}, 0, 0, "unknown type 12"},
	{"good-bye", true, false, [][]byte{step(frameClose, byte(closeDisplaced))}, 0, 0, "peer closed the link: displaced"},
	{"epochs", true, false, [][]byte{step(frameRatchet, nextEpoch), step(framePing, stamped(0)...), step(frameRatchet, nextEpoch), step(frameRatchet, nextEpoch), packed("s2")}, 20, 0, lineEnds},
	{"more epochs than there is use for", true, false, slices.Repeat([][]byte{step(frameRatchet, nextEpoch)}, maxEarly+1), 0, 0, "changed too often"},
	{"epoch that is none", true, false, [][]byte{step(frameRatchet, 2)}, 0, 0, "ratchet to 2"},
	{"generation out of the blue", true, false, [][]byte{step(frameRatchet, nextGeneration)}, 0, 0, "without a rekey"},
	{"rekey", false, false, [][]byte{
		step(frameConfirm), step(stepRekey), step(stepWork), step(frameRatchet, nextEpoch), step(frameRatchet, nextGeneration),
		step(frameConfirm), packed("s2"), step(stepRekey), step(stepWork), step(frameRatchet, nextGeneration), step(frameConfirm), packed("zstd"),
	}, 40, 2, lineEnds},
	{"rekey of a client", true, false, [][]byte{
		step(stepWait, 60), step(stepWork), step(stepRekey), packed("s2"), step(frameRatchet, nextGeneration), packed("zstd"), step(stepWait, 60),
	}, 40, 1, lineEnds},
	{"rekey twice", false, false, [][]byte{step(frameConfirm), step(stepRekey), step(stepRekey)}, 0, 0, "rekey out of turn"},
	{"rekey of a server", true, false, [][]byte{step(stepRekey)}, 0, 0, "rekey out of turn"},
	{"generation twice", false, false, [][]byte{
		step(frameConfirm), step(stepRekey), step(stepWork), step(frameRatchet, nextGeneration), step(frameConfirm), step(frameRatchet, nextGeneration),
	}, 0, 1, "without a rekey"},
	{"rekey that is not confirmed", false, false, [][]byte{
		step(frameConfirm), step(stepRekey), step(stepWork), step(frameRatchet, nextGeneration), step(framePing, stamped(0)...),
	}, 0, 0, "before the new keys are confirmed"},
	{"rekey without its keys", false, false, [][]byte{step(frameConfirm), step(stepRekey), step(frameRatchet, nextGeneration), step(frameConfirm)}, 0, 0, "not authentic"},
	{"rekey, nothing read", false, false, append(slices.Concat([][]byte{step(frameConfirm)}, slices.Repeat([][]byte{step(framePing, stamped(0)...)}, controlRoom)), step(stepRekey)), 0, 0, "does not read"},
	{"rekey of a stranger", false, false, [][]byte{step(frameConfirm), step(frameRekey1, make([]byte, 48)...)}, 0, 0, "rekey: not authentic"},
	{"answer of a stranger", true, false, [][]byte{step(stepWait, 60), step(frameRekey2, make([]byte, 48)...)}, 0, 0, "rekey: not authentic"},
	{"answer to nothing", true, false, [][]byte{step(frameRekey2, make([]byte, 48)...)}, 0, 0, "answer to no rekey"},
	{"keys too old", false, false, [][]byte{step(frameConfirm), step(stepWait, 120), step(11)}, 0, 0, lineEnds},
	{"held back", true, true, [][]byte{
		step(frameTime, stamped(time.Hour)...), packed("off"), step(stepWait, 31), packed("off"), step(stepWait, 64), packed("off"),
	}, 20, 0, "data held back"},
	{"no time", true, true, [][]byte{packed("off")}, 0, 0, "packets before the first time stamp"},
}

const lineEnds = "connection lost"

// packed is a BATCH of 20 packets.
func packed(policy string) []byte {
	e, err := compress.NewEncoder(policy, compress.All)
	if err != nil {
		panic(err)
	}
	return step(frameBatch, packWith(e, bytes.Repeat(udp(60, 1), 20))...)
}

// packWith returns a block as it stands in a BATCH.
func packWith(e *compress.Encoder, block []byte) []byte {
	return e.Pack(append([]byte{0}, block...))
}

// together is the payload of SEGMENTS: two, of IP version 4 or 6.
func together(version int) []byte {
	o := offload{flagChecksum, kindTCPv4, 2, ipv4Header, tcpChecksum}
	p := ipv4(protocolTCP, 0, tcp(0x18, nil, "abc"))
	if version == 6 {
		o.kind, o.start, p = kindTCPv6, ipv6Header, ipv6(protocolTCP, tcp(0x18, nil, "abc"))
	}
	return stored(wired(o, p))
}

// delayOf is the maxdelay of a script.
func delayOf(on bool) time.Duration {
	if on {
		return 30 * time.Second
	}
	return 0
}

func TestScripts(t *testing.T) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) {
			a, err := newStudio(s.client).play(t, slices.Concat(s.steps...), delayOf(s.maxDelay))
			if a.device.packets != s.packets || a.r.session.rekeys.Load() != s.rekeys || !strings.Contains(err.Error(), s.err) {
				t.Errorf("%d packets, %d rekeys, %q; want %d, %d, %q", a.device.packets, a.r.session.rekeys.Load(), err, s.packets, s.rekeys, s.err)
			}
		})
	}
}

// FuzzFrames plays any script to a server or a client. Control frames and batches
// are both in it, since each changes what the others may do.
func FuzzFrames(f *testing.F) {
	for _, s := range scripts {
		f.Add(s.client, s.maxDelay, slices.Concat(s.steps...))
	}
	server, client := newStudio(false), newStudio(true)
	f.Fuzz(func(t *testing.T, toClient, maxDelay bool, script []byte) {
		s := server
		if toClient {
			s = client
		}
		s.play(t, script, delayOf(maxDelay))
	})
}
