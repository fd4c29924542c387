package tunnel

import (
	"bytes"
	"testing"
	"time"

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
