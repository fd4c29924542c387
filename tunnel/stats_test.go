package tunnel

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// TestNames sees that every drop and refusal has a name of its own, and that the
// names, which scripts read, stay.
func TestNames(t *testing.T) {
	for _, test := range []struct {
		what  string
		names []string
		want  string
	}{
		{"out", outNames[:], "no_link queue_full too_long malformed link_lost device_read unwanted waited no_peer"},
		{"in", inNames[:], "malformed too_old device_write discovery spoofed client_to_client multicast outer_address source_route copy"},
		{"refused", refusedNames[:], "address door replay silent terms no_confirm crowd number"},
	} {
		if got := strings.Join(test.names, " "); got != test.want {
			t.Errorf("%s: names are %q, want %q", test.what, got, test.want)
		}
		if n := len(slices.Compact(slices.Sorted(slices.Values(test.names)))); n != len(test.names) {
			t.Errorf("%s: %d names for %d causes", test.what, n, len(test.names))
		}
	}
}

// TestCounters counts each cause a different number of times.
func TestCounters(t *testing.T) {
	var c counters
	for why := range outCount {
		c.dropOut(why, int(why)+1)
	}
	for why := range inCount {
		c.dropIn(why, 10*(int(why)+1))
	}
	for why := range refusedCount {
		for range 2 * (why + 1) {
			c.refuse(why)
		}
	}
	s := c.snapshot()
	if want := map[string]uint64{"no_link": 1, "queue_full": 2, "too_long": 3, "malformed": 4, "link_lost": 5, "device_read": 6, "unwanted": 7, "waited": 8, "no_peer": 9}; !maps.Equal(s.DropsOut, want) {
		t.Errorf("drops out are %v", s.DropsOut)
	}
	if want := map[string]uint64{
		"malformed": 10, "too_old": 20, "device_write": 30, "discovery": 40, "spoofed": 50, "client_to_client": 60,
		"multicast": 70, "outer_address": 80, "source_route": 90, "copy": 100,
	}; !maps.Equal(s.DropsIn, want) {
		t.Errorf("drops in are %v", s.DropsIn)
	}
	if want := map[string]uint64{"address": 2, "door": 4, "replay": 6, "silent": 8, "terms": 10, "no_confirm": 12, "crowd": 14, "number": 16}; !maps.Equal(s.Refused, want) {
		t.Errorf("refused are %v", s.Refused)
	}
	if s.CompressionIn != 1 || s.CompressionOut != 1 {
		t.Errorf("compression of nothing is %v and %v", s.CompressionIn, s.CompressionOut)
	}
	c.plainOut.Add(300)
	c.packedOut.Add(100)
	c.plainIn.Add(100)
	c.packedIn.Add(200)
	if s := c.snapshot(); s.CompressionOut != 3 || s.CompressionIn != 0.5 {
		t.Errorf("compression is %v out, %v in", s.CompressionOut, s.CompressionIn)
	}
}

// TestStats looks at every figure of a link that has carried three packets one
// way and one the other, as a program sees them.
func TestStats(t *testing.T) {
	sim(t, "json", func(t *testing.T) {
		c := testConfig(t)
		c.Tuning.Compress = "off"
		c.Client = c.Keys[0].ClientID("machine", "instance")
		lonely, _ := simServer(t, c)
		if s := lonely.Stats(); s.State != "down" || s.Reason != "nobody has called yet" {
			t.Errorf("state is %+v", s)
		}
		server, client, r := simPair(t, c, c)
		for range 3 {
			client.device.in <- udp(100, 1)
			server.device.take(t)
		}
		server.device.in <- udp(70, 1)
		client.device.take(t)
		synctest.Wait()
		s := server.Stats()
		if s.Inside != (Traffic{PacketsIn: 1, PacketsOut: 3, BytesIn: 70, BytesOut: 300}) {
			t.Errorf("inside is %+v", s.Inside)
		}
		wrote, read := r.pipe(0).server.written()-128, r.pipe(0).client.written()-192
		if s.Wire != (Traffic{PacketsIn: 3, PacketsOut: 1, BytesIn: uint64(read), BytesOut: uint64(wrote)}) {
			t.Errorf("wire is %+v, want %d bytes in, %d out", s.Wire, read, wrote)
		}
		if l := s.Link; l.BytesIn != uint64(read) || l.BytesOut != uint64(wrote) || l.Client != c.Client.String() ||
			l.Peer != "192.0.2.1:1025" || l.Transport != "tcp" || l.Cipher != "blowfish" {
			t.Errorf("link is %+v", l)
		}
		if l := client.Stats().Link; l.Client != "" || l.Peer != "198.51.100.1:379" {
			t.Errorf("link of the client is %+v", l)
		}
		if s.State != "up" || s.Reason != "" || s.Links != 1 || s.Waiting != 0 {
			t.Errorf("state is %+v", s)
		}
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			`"state":"up"`, `"since":"2000-01-01T00:00:00Z"`, `"link":{"peer":"192.0.2.1:1025"`, `"cipher":"blowfish"`,
			`"epoch":0`, `"rekeys":0`, `"round_trip_ns":0`, `"last_packet":"2000-01-01T00:00:00Z"`, `"packets_in":3`, `"drops_out":{`, `"drops_in":{`,
			`"refused":{`, `"compression_out":0.98`, `"waiting":0`, `"links":1`,
		} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s is not in %s", want, text)
			}
		}
	})
}
