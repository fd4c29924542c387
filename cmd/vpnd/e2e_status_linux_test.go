package main

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

// TestStatusFields looks at everything that --status tells.
func TestStatusFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("keyttl 5")
	began := time.Now().Add(-time.Second)
	w.up()
	_, err := lab.Ends{Client: w.client.ns, Server: w.server.ns, Dst: serverInner}.Transfer(t.Context(), lab.Load{Up: 3 << 20, Down: 3 << 20})
	must(t, err)
	for _, s := range []*site{w.server, w.client} {
		s.until("rekeyed", func(r report) bool { return r.Link != nil && r.Link.Rekeys >= 1 })
		e := s.run("--status", "--json", "-f", s.config())
		checkEnded(t, s.name, e, exit.OK, `^$`)
		var r report
		must(t, json.Unmarshal([]byte(e.stdout), &r))
		var names map[string]any
		must(t, json.Unmarshal([]byte(e.stdout), &names))
		link := "peer transport cipher key_id established epoch ratchets rekeys last_packet round_trip_ns bytes_out bytes_in"
		if s == w.server {
			link += " client"
		}
		for field, want := range map[string]string{
			"link":      link,
			"inside":    "packets_in packets_out bytes_in bytes_out",
			"wire":      "packets_in packets_out bytes_in bytes_out",
			"drops_out": "no_link queue_full too_long malformed link_lost device_read unwanted waited no_peer",
			"drops_in":  "malformed too_old device_write discovery spoofed client_to_client multicast outer_address source_route copy",
			"refused":   "address door replay silent terms no_confirm crowd number",
		} {
			object, _ := names[field].(map[string]any)
			checkNames(t, s.name+" "+field, object, want)
			delete(names, field)
		}
		checkNames(t, s.name, names, "instance version pid started mode interface mtu local remote outer state since links waiting damaged compression_out compression_in goroutines")
		s.checkReport(r, began)
		s.checkText(s.run("--status", "-f", s.config()).stdout)
	}
}

// checkNames compares the names of an object with a list.
func checkNames(t *testing.T, what string, object map[string]any, want string) {
	t.Helper()
	for _, name := range strings.Fields(want) {
		if _, ok := object[name]; !ok {
			t.Errorf("%s: no %s", what, name)
		}
		delete(object, name)
	}
	if len(object) > 0 {
		t.Errorf("%s: not expected: %v", what, object)
	}
}

// checkReport checks that the figures of a link that has moved 3 MiB each way
// make sense.
func (s *site) checkReport(r report, began time.Time) {
	s.t.Helper()
	const moved = 3 << 20
	recent := func(at time.Time) bool { return at.After(began) && at.Before(time.Now()) }
	l := r.Link
	for what, ok := range map[string]bool{
		"instance":     r.Instance == s.name && r.Mode == s.name && r.Version == exit.Version && r.PID == s.PID(),
		"interface":    r.Interface == "vpn0" && r.MTU == 1500 && len(r.Local) == 2 && len(r.Remote) == 2,
		"goroutines":   r.Goroutines > 5 && r.Goroutines < 30,
		"times":        recent(r.Started) && recent(r.Since) && recent(l.Established) && recent(l.LastPacket) && !r.Since.Before(r.Started),
		"state":        r.State == "up" && r.Links == 1 && r.Reason == "" && r.Waiting == 0,
		"cipher":       l.Transport == "tcp" && l.Cipher == "blowfish" && len(l.KeyID) == 16,
		"keys":         l.Rekeys >= 1 && l.Ratchets >= 2,
		"round trip":   l.RoundTrip > 0 && l.RoundTrip < time.Second,
		"inside":       r.Inside.BytesIn > moved && r.Inside.BytesOut > moved && r.Inside.PacketsIn > moved>>16 && r.Inside.PacketsOut > moved>>16,
		"wire":         r.Wire.BytesIn > moved && r.Wire.BytesOut > moved && r.Wire.PacketsIn > moved>>16 && r.Wire.PacketsOut > moved>>16,
		"link's bytes": l.BytesIn > moved && l.BytesOut > moved,
		"compression":  r.CompressionOut > 0.9 && r.CompressionOut < 1.2 && r.CompressionIn > 0.9 && r.CompressionIn < 1.2,
	} {
		if !ok {
			s.t.Errorf("%s: %s makes no sense: %+v, link %+v", s.name, what, r, l)
		}
	}
	peer := map[string]string{"server": `^198\.51\.100\.1:\d+$`, "client": `^192\.0\.2\.1:24741$`}[s.name]
	if !regexp.MustCompile(peer).MatchString(l.Peer) {
		s.t.Errorf("%s: peer %s, want %s", s.name, l.Peer, peer)
	}
}

// checkText checks the lines for people.
func (s *site) checkText(text string) {
	s.t.Helper()
	for _, line := range []string{
		s.name + `: up since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\S+\)$`,
		`  daemon +pid \d+, ` + s.name + ` at \S+, up \S+$`,
		`  interface +vpn0, mtu 1500, local 10\.77\.0\.\d fd00:77::\d, remote 10\.77\.0\.\d fd00:77::\d$`,
		`  peer +\S+ \(tcp\), blowfish, key [0-9a-f]{16}$`,
		`  keys +epoch \d+, \d+ ratchets, \d+ rekeys$`,
		`  last packet +\S+ ago, keepalive round trip \S+$`,
		`  links +1 since the start$`,
		`  sent +\d+ packets, \S+ MB inside, \S+ MB on the wire, compression \S+$`,
		`  received +\d+ packets, \S+ MB inside, \S+ MB on the wire, compression \S+$`,
		`  dropped out +\S+`,
		`  dropped in +\S+`,
	} {
		if !regexp.MustCompile("(?m)^" + line).MatchString(text) {
			s.t.Errorf("%s: --status has no line %q:\n%s", s.name, line, text)
		}
	}
}
