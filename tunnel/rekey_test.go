package tunnel

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// TestDayOfRekeys runs a link for a simulated day, with traffic.
func TestDayOfRekeys(t *testing.T) {
	sim(t, "a day", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Keepalive = time.Minute
		server, client, _ := simPair(t, c, c)
		const packets = 24 * 60
		for n := range packets {
			time.Sleep(time.Minute)
			for _, way := range [][2]*end{{client, server}, {server, client}} {
				want := udp(100, byte(n))
				way[0].device.in <- want
				if got := way[1].device.take(t); !bytes.Equal(got, want) {
					t.Fatalf("packet %d is %x, want %x", n, got, want)
				}
			}
		}
		synctest.Wait()
		for _, e := range []*end{server, client} {
			// A rekey starts at the check after keyttl, at most a second late.
			if s := e.Stats(); s.Links != 1 || s.Link.Rekeys < 143 || s.Link.Rekeys > 144 || s.Link.Epoch != 0 {
				t.Errorf("%d links, link is %+v", s.Links, s.Link)
			}
			conserved(t, e)
		}
	})
}

// TestRekeyUnderLoad keeps one direction full, so that epochs and generations
// change between any two packets, while the other one has little to say.
func TestRekeyUnderLoad(t *testing.T) {
	sim(t, "4 MB", func(t *testing.T) {
		c := testConfig(t)
		c.KeyTTL, c.Tuning.Compress = 10*time.Second, "off"
		server, client, _ := simPair(t, c, c)
		const rounds, each = 60, 45
		source := rand.NewChaCha8([32]byte{})
		for round := range rounds {
			time.Sleep(500 * time.Millisecond)
			var sent [each][]byte
			for i := range sent {
				sent[i] = udp(1400, 0)
				source.Read(sent[i][ipv4Header+8:]) // behind the ports: all are of one flow
				client.device.in <- sent[i]
			}
			server.device.in <- sent[0]
			for i, want := range sent {
				if got := server.device.take(t); !bytes.Equal(got, want) {
					t.Fatalf("packet %d of round %d to the server differs", i, round)
				}
			}
			if got := client.device.take(t); !bytes.Equal(got, sent[0]) {
				t.Fatalf("packet of round %d to the client differs", round)
			}
		}
		for _, e := range []*end{server, client} {
			conserved(t, e)
			if s := e.Stats(); s.Links != 1 || s.Link.Rekeys < 2 || s.Link.Rekeys > 3 {
				t.Errorf("%d links, link is %+v", s.Links, s.Link)
			}
		}
		if n := client.Stats().Link.Ratchets; n < 2 {
			t.Errorf("%d ratchets", n)
		}
	})
}

// TestRatchets counts the epochs that a direction goes through.
func TestRatchets(t *testing.T) {
	for _, test := range []struct {
		cipher crypto.Cipher
		want   uint64
	}{{crypto.Blowfish, 2}, {crypto.AES256GCM, 0}} {
		sim(t, test.cipher.String(), func(t *testing.T) {
			c := testConfig(t)
			c.Ciphers, c.Tuning.Compress = []crypto.Cipher{test.cipher}, "off"
			server, client, _ := simPair(t, c, c)
			for n := range 1700 {
				client.device.in <- udp(1400, byte(n))
				server.device.take(t)
			}
			synctest.Wait()
			if l := client.Stats().Link; l.Ratchets != test.want || l.Epoch != test.want {
				t.Errorf("%d ratchets, epoch %d, want %d", l.Ratchets, l.Epoch, test.want)
			}
			if l := server.Stats().Link; l.Ratchets != 0 {
				t.Errorf("%d ratchets in the direction without traffic", l.Ratchets)
			}
		})
	}
}

// TestRatchetThenRekey brings the two changes of keys together: the frame that
// announces the next generation is the one that fills the epoch, and each of its
// neighbours.
func TestRatchetThenRekey(t *testing.T) {
	for short := range 3 {
		mine, peers := generations(t)
		suite := crypto.Suite{Cipher: crypto.Blowfish, KeyBits: 448}
		sealer, _, err := mine.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		_, opener, err := peers.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		w := &sender{session: &session{client: false}, wire: stream{}, sealer: sealer}
		// Fill the epoch up to a few blocks.
		for left := 1<<17 - short; left > 0; {
			n := min(left, 8000)
			if err := w.frame(framePong, make([]byte, 8*n-1)); err != nil {
				t.Fatal(err)
			}
			left -= n
		}
		mine2, peers2 := generations(t)
		next, _, err := mine2.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		_, opener2, err := peers2.Keys(suite)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.generation(next); err != nil {
			t.Fatal(err)
		}
		if err := w.frame(framePing, stamped(0)); err != nil {
			t.Fatal(err)
		}
		// What the peer makes of it.
		frames := frame.NewReader(bytes.NewReader(w.out), frame.MaxText)
		for opened := 0; ; opened++ {
			header, body, err := frames.Next()
			if err != nil {
				t.Fatalf("%d blocks short: no PING in the new generation: %v", short, err)
			}
			text, err := opener.Open(header, body)
			if err != nil {
				t.Fatalf("%d blocks short: frame %d: %v", short, opened, err)
			}
			if text[0] == framePing {
				break
			}
			if text[0] != frameRatchet {
				continue
			}
			if text[1] == nextGeneration {
				opener = opener2
			} else if err := opener.Ratchet(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// generations returns the two ends of a handshake.
func generations(t *testing.T) (client, server *crypto.Generation) {
	t.Helper()
	c := testConfig(t)
	i, f1 := flight(t, c)
	call, err := crypto.NewDoor(c.Random, c.Keys...).Open(f1)
	if err != nil {
		t.Fatal(err)
	}
	f2, server, err := call.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, client, err = i.Finish(f2); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// TestKeyAge has peers that answer pings but no rekey.
func TestKeyAge(t *testing.T) {
	for side, silent := range silences {
		sim(t, side, func(t *testing.T) {
			c := testConfig(t)
			e, p := silent(t, c)
			begin := time.Now()
			var requests []float64
			var reason closeReason
			for {
				a, err := p.next()
				if err != nil {
					break
				}
				switch a.kind {
				case framePing:
					p.send(framePong, append(a.payload, a.payload...)...)
				case frameRekey1:
					requests = append(requests, a.at.Sub(begin).Seconds())
				case frameClose:
					reason = closeReason(a.payload[0])
				}
			}
			// The client waits for the server's end of the connection.
			if took := time.Since(begin); took < 2*c.KeyTTL || took > 2*c.KeyTTL+closeTimeout {
				t.Errorf("closed after %v, want %v", took, 2*c.KeyTTL)
			}
			if reason != closeKeyAge {
				t.Errorf("reason is %v", reason)
			}
			if err := await(t, e.down, "end of the link"); err != errKeyAge {
				t.Errorf("cause is %v", err)
			}
			if side == "client" && (len(requests) != 1 || requests[0] != 600) {
				t.Errorf("rekeys asked for at %v, want once at 600", requests)
			}
			if side == "server" && len(requests) != 0 {
				t.Error("a server asked for a rekey")
			}
		})
	}
}

// TestKeyTTL sees that the smaller keyttl of both ends counts.
func TestKeyTTL(t *testing.T) {
	for name, ttl := range map[string][2]time.Duration{
		"server's": {100 * time.Second, 400 * time.Second},
		"client's": {400 * time.Second, 100 * time.Second},
	} {
		sim(t, name, func(t *testing.T) {
			cs, cc := testConfig(t), testConfig(t)
			cs.KeyTTL, cc.KeyTTL = ttl[0], ttl[1]
			server, client, _ := simPair(t, cs, cc)
			time.Sleep(350 * time.Second)
			for _, e := range []*end{server, client} {
				if n := e.Stats().Link.Rekeys; n != 3 {
					t.Errorf("%d rekeys, want 3", n)
				}
			}
		})
	}
}

// TestRekeyByHand goes through the steps of a rekey from the client's side and
// sees which keys the server uses at each.
func TestRekeyByHand(t *testing.T) {
	sim(t, "steps", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		e, p := silences["server"](t, c)
		next := p.rekey(c.Random)
		// The server holds both, and goes on with the old ones.
		e.device.in <- udp(30, 1)
		p.expect(frameBatch)
		p.send(frameBatch, stored(udp(31, 1))...)
		e.device.take(t)
		old := p.opener
		p.send(frameRatchet, nextGeneration)
		p.renew(next)
		renewed := p.opener
		p.opener = old
		e.device.in <- udp(32, 1)
		p.expect(frameBatch)
		synctest.Wait()
		if n := e.Stats().Link.Rekeys; n != 0 {
			t.Errorf("%d rekeys before CONFIRM", n)
		}
		p.send(frameConfirm)
		if to := p.expect(frameRatchet); to[0] != nextGeneration {
			t.Errorf("ratchet to %d", to[0])
		}
		p.opener = renewed
		e.device.in <- udp(33, 1)
		if got := p.expect(frameBatch); len(got) != 34 {
			t.Errorf("batch of %d bytes", len(got))
		}
		synctest.Wait()
		if n := e.Stats().Link.Rekeys; n != 1 {
			t.Errorf("%d rekeys after CONFIRM", n)
		}
		// And once more, on top of it.
		next = p.rekey(c.Random)
		p.send(frameRatchet, nextGeneration)
		old = p.opener
		p.renew(next)
		renewed, p.opener = p.opener, old
		p.send(frameConfirm)
		p.expect(frameRatchet)
		p.opener = renewed
		p.send(frameBatch, stored(udp(34, 1))...)
		e.device.take(t)
		p.drain()
	})
}
