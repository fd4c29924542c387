package tunnel

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
)

// TestHourOfOutage sends a packet every second while there is no way to the
// server for an hour. None is delivered late, none vanishes without a name.
func TestHourOfOutage(t *testing.T) {
	for name, state := range map[string]int{"refused": roadRefused, "dead": roadDead} {
		sim(t, name, func(t *testing.T) {
			c := testConfig(t)
			server, client, r := simPair(t, c, c)
			time.Sleep(goodSession)
			r.become(state)
			r.pipe(0).reset()
			await(t, client.down, "end of the link")
			await(t, server.down, "end of the server's link")
			const packets = 60 * 60
			for range packets {
				client.device.in <- udp(100, 1)
				server.device.in <- udp(100, 1)
				time.Sleep(time.Second)
			}
			r.become(roadOpen)
			await(t, client.up, "new link")
			await(t, server.up, "new link of the server")
			want := udp(100, 2)
			client.device.in <- want
			if got := server.device.take(t); !bytes.Equal(got, want) {
				t.Errorf("after the outage %x arrives, want %x", got, want)
			}
			for _, e := range []*end{client, server} {
				conserved(t, e)
				if n := e.Stats().DropsOut["no_link"]; n != packets {
					t.Errorf("%d packets dropped for lack of a link, want %d", n, packets)
				}
			}
		})
	}
}

// TestCutWrite ends a server in the middle of a write, at each part of a frame:
// what the connection had taken whole arrives and counts as sent, the rest was
// lost with the link.
func TestCutWrite(t *testing.T) {
	const packets, length = 200, 1400
	for shift := ipv4Header; shift < 1500; shift += crypto.TagSize - 2 {
		sim(t, "", func(t *testing.T) {
			c := testConfig(t)
			c.Ciphers = []crypto.Cipher{crypto.AES256GCM}     // the fastest
			c.Tuning.Compress, c.Tuning.SendBuf = "off", 1024 // each packet has a frame of its own
			server, client, r := simPair(t, c, c)
			r.pipe(0).client.hold(true)
			server.device.in <- udp(shift, 1)
			for range packets - 1 {
				server.device.in <- udp(length, 1)
			}
			synctest.Wait()
			if err := server.stop(t); err != nil {
				t.Error(err)
			}
			conserved(t, server)
			sent, lost := server.Stats().Wire.PacketsOut, server.Stats().DropsOut["link_lost"]
			if sent == 0 || lost == 0 || sent+lost != packets {
				t.Errorf("%d packets sent, %d lost with the link, of %d", sent, lost, packets)
			}
			r.pipe(0).client.hold(false)
			await(t, client.down, "end of the link")
			if got := client.Stats().Wire.PacketsIn; got != sent {
				t.Errorf("%d packets arrived, %d count as sent", got, sent)
			}
			conserved(t, client)
		})
	}
}
