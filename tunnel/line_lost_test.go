package tunnel

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/serial/serialtest"
)

// TestLineLostFlights loses some of the first writes of either end. The link comes
// up all the same, by the same flights as long as they may have arrived.
func TestLineLostFlights(t *testing.T) {
	for _, test := range []struct {
		name           string
		server, client int // writes that are lost
		flights        int // first flights that differ
	}{
		{"none", 0, 0, 1},
		{"the second flight", 1, 0, 1},
		{"the first flight", 0, 1, 1},
		{"both", 1, 1, 1},
		{"the second flight twice", 2, 0, 1},
		{"three times each", 3, 3, 2},
	} {
		sim(t, test.name, func(t *testing.T) {
			l := newTappedLine(t, serialtest.Wire{Rate: 9600}, nil)
			l.server = start(t, l.config[0])
			settled(time.Second) // it has hailed nobody
			l.toServer.lose, l.toClient.lose = test.server, test.client
			l.client = start(t, l.config[1])
			await(t, l.server.up, "link of the server")
			await(t, l.client.up, "link of the client")
			said := l.toClient.heard()
			var last []byte
			flights := 0
			for _, f := range only(said, lineF1) {
				if !bytes.Equal(f, last) {
					flights++
				}
				last = f
			}
			if flights > test.flights {
				t.Errorf("%d first flights, want %d", flights, test.flights)
			}
			passes(t, l.server, l.client)
		})
	}
}

// TestLineRefused counts what comes of callers that get nothing.
func TestLineRefused(t *testing.T) {
	sim(t, "", func(t *testing.T) {
		l := newTappedLine(t, serialtest.Wire{Rate: 9600}, nil)
		l.server = start(t, l.config[0])
		_, wordless, err := crypto.Initiate(l.config[1].Keys[0], l.config[1].Random, nil)
		if err != nil {
			t.Fatal(err)
		}
		other := l.config[1]
		other.Ciphers = []crypto.Cipher{crypto.AES256GCM}
		_, strange := flight(t, other)
		type call struct {
			name    string
			f1      []byte
			answers int
			cause   string // "": it is not counted
		}
		calls := []call{
			{"no key", make([]byte, crypto.F1Size), 0, "door"},
			{"no common version", wordless, 1, "terms"},
			{"the same again", wordless, 1, ""},
			{"no common cipher", strange, 1, "terms"},
		}
		for range maxCallers {
			_, f1 := flight(t, l.config[1])
			calls = append(calls, call{"one that says no more", f1, 1, ""})
		}
		for _, call := range append(calls, call{"one that is forgotten", wordless, 0, "replay"}) {
			settled(time.Second)
			before := l.server.Stats().Refused
			l.toServer.heard()
			l.toServer.play(handshakeFrame(lineF1, call.f1), make([]byte, shortest))
			settled(time.Second)
			if call.cause != "" {
				before[call.cause]++
			}
			if got := l.server.Stats().Refused; !maps.Equal(got, before) {
				t.Errorf("%s: counted %v, want %v", call.name, got, before)
			}
			if n := len(only(l.toServer.heard(), lineF2)); n != call.answers {
				t.Errorf("%s: %d answers, want %d", call.name, n, call.answers)
			}
		}
	})
}
