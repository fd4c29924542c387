package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vpnd/cmd/internal/lab"
)

// account is what a host has counted: its daemon, the kernel at the tunnel's
// interface, and the two ends of the traffic.
type account struct {
	report
	kernel lab.Counters
	// Datagrams that this host has sent, and those for it.
	sent, refused, received, overflow uint64
	altered, duplicate, reordered     uint64
	bytes                             uint64 // received
	sizes                             int    // of those received, different ones
	aged                              uint64 // links that ended since the last quiet moment because their keys were too old
}

var linkAged = regexp.MustCompile(`msg="link is down" .*cause=".*session key too old"`)

// look reads what both hosts have counted.
func (k *soak) look() (now [2]account) {
	k.t.Helper()
	ways, err := k.traffic.Counts()
	must(k.t, err)
	for i, s := range k.hosts {
		a := &now[i]
		a.report = s.until("up", isUp)
		a.kernel = k.count(s)
		if a.PID == k.before[i].PID {
			a.aged = uint64(len(linkAged.FindAllString(s.Stderr.After(k.marks[i]), -1)))
		}
		a.sizes = len(ways) * 1500
		for w, c := range ways { // from client, from server, and again
			if w%2 != i {
				a.sent += c.Sent
				a.refused += c.Refused
				continue
			}
			a.received += c.Received
			a.overflow += c.Overflow
			a.altered += c.Altered
			a.duplicate += c.Duplicate
			a.reordered += c.Reordered
			a.bytes += c.Bytes
			a.sizes = min(a.sizes, c.Sizes)
		}
	}
	return now
}

func (k *soak) count(s *site) lab.Counters {
	k.t.Helper()
	c, err := s.ns.Counters("vpn0")
	must(k.t, err)
	return c
}

func sum(counts map[string]uint64) (n uint64) {
	for _, c := range counts {
		n += c
	}
	return n
}

// ledger collects what does not agree.
type ledger []string

func (l *ledger) equal(what string, got, want uint64) {
	if got != want {
		*l = append(*l, fmt.Sprintf("%s: %d, want %d (%+d)", what, got, want, int64(got-want)))
	}
}

func (l *ledger) most(what string, got, most uint64) {
	if int64(got) < 0 || got > most {
		*l = append(*l, fmt.Sprintf("%s: %d, want 0 to %d", what, int64(got), most))
	}
}

// differences returns what does not agree between two quiet moments, with a leg
// in between.
func differences(leg soakLeg, before, now [2]account) []string {
	var l ledger
	for i := range now {
		name := now[i].Instance
		l.daemon(name, now[i].report)
		l.equal(name+": altered", now[i].altered, 0)
		l.equal(name+": duplicate", now[i].duplicate, 0)
		l.equal(name+": reordered", now[i].reordered, 0)
		l.most(name+": datagrams lost on the way to it", lostTo(i, before, now), now[1-i].sent-before[1-i].sent)
		if now[i].PID == before[i].PID && !leg.tcp {
			l.kernel(name, before[i], now[i])
		}
	}
	if now[0].PID == before[0].PID && now[1].PID == before[1].PID {
		l.line(leg, before, now)
	}
	return l
}

// daemon checks what holds at any quiet moment.
func (l *ledger) daemon(name string, r report) {
	l.equal(name+": waiting", uint64(r.Waiting), 0)
	l.equal(name+": sent or dropped by the daemon", r.Wire.PacketsOut+sum(r.DropsOut), r.Inside.PacketsIn)
	l.equal(name+": delivered or dropped by the daemon", r.Inside.PacketsOut+sum(r.DropsIn), r.Wire.PacketsIn)
}

// kernel checks what passed between the programs of a host and its daemon.
func (l *ledger) kernel(name string, before, now account) {
	l.equal(name+": refused by the kernel", now.refused, before.refused)
	l.equal(name+": packets to the interface",
		now.kernel.To+now.kernel.ToDropped-before.kernel.To-before.kernel.ToDropped,
		now.sent+now.kernel.OwnTo-before.sent-before.kernel.OwnTo)
	l.equal(name+": packets that the daemon took", now.Inside.PacketsIn-before.Inside.PacketsIn, now.kernel.To-before.kernel.To)
	l.equal(name+": packets that the daemon delivered",
		now.Inside.PacketsOut-before.Inside.PacketsOut,
		now.received+now.overflow+now.kernel.OwnFrom-before.received-before.overflow-before.kernel.OwnFrom)
	l.equal(name+": refused at the interface", now.kernel.FromDropped, before.kernel.FromDropped)
}

// line checks what passed between the daemons.
func (l *ledger) line(leg soakLeg, before, now [2]account) {
	links := max(now[0].Links-before[0].Links, now[1].Links-before[1].Links)
	switch {
	case leg.lossy:
	case leg.stalls: // vpnd.conf(5), keyttl
		l.equal("links that broke", links, agedLinks(now))
	default:
		l.equal("links that broke", links, 0)
	}
	for i := range now {
		to := now[1-i].Instance
		wireOut, wireIn := now[i].Wire, now[1-i].Wire
		l.most("packets lost on the line to "+to, lostOnLine(i, before, now), links*soakLoss/20)
		l.most("bytes lost on the line to "+to,
			wireOut.BytesOut-before[i].Wire.BytesOut-(wireIn.BytesIn-before[1-i].Wire.BytesIn), links*soakLoss)
		if leg.tcp && links == 0 {
			named := sum(now[i].DropsOut) - sum(before[i].DropsOut) + sum(now[1-i].DropsIn) - sum(before[1-i].DropsIn) +
				now[i].kernel.ToDropped - before[i].kernel.ToDropped + now[1-i].overflow - before[1-i].overflow
			l.most("datagrams lost beside TCP to "+to, lostTo(1-i, before, now), named)
		}
	}
}

// agedLinks returns how many links have ended because their keys were too old. Mostly
// both ends say so.
func agedLinks(now [2]account) uint64 { return max(now[0].aged, now[1].aged) }

// lostOnLine returns how many packets host i has sent that the other one has not
// got.
func lostOnLine(i int, before, now [2]account) uint64 {
	return now[i].Wire.PacketsOut - before[i].Wire.PacketsOut - (now[1-i].Wire.PacketsIn - before[1-i].Wire.PacketsIn)
}

// lostTo returns how many datagrams on the way to host i have not come.
func lostTo(i int, before, now [2]account) uint64 {
	return now[1-i].sent - before[1-i].sent - (now[i].received - before[i].received)
}

// checkLastWords finds the counters that a daemon logs at its end and checks that
// every packet is accounted for.
func checkLastWords(log string) error {
	m := regexp.MustCompile(`msg=stopped links=\d+ from_host=(\d+) sent=(\d+) dropped_out=("[^"]*"|\S+) received=(\d+) to_host=(\d+) dropped_in=("[^"]*"|\S+)`).FindStringSubmatch(log)
	if m == nil {
		return fmt.Errorf("no last counters in the log")
	}
	var r report
	for i, field := range map[int]*uint64{1: &r.Inside.PacketsIn, 2: &r.Wire.PacketsOut, 4: &r.Wire.PacketsIn, 5: &r.Inside.PacketsOut} {
		*field, _ = strconv.ParseUint(m[i], 10, 64)
	}
	r.DropsOut, r.DropsIn = dropsOf(m[3]), dropsOf(m[6])
	var l ledger
	l.daemon("at its end", r)
	if len(l) > 0 || r.Inside.PacketsIn == 0 {
		return fmt.Errorf("%s\n%v", m[0], strings.Join(l, "\n"))
	}
	return nil
}

// dropsOf reads what nonZero has written.
func dropsOf(text string) map[string]uint64 {
	drops := make(map[string]uint64)
	for _, m := range regexp.MustCompile(`(\w+) (\d+)`).FindAllStringSubmatch(text, -1) {
		drops[m[1]], _ = strconv.ParseUint(m[2], 10, 64)
	}
	return drops
}

// TestSoakLedger changes each counter by one: the books are wrong then.
func TestSoakLedger(t *testing.T) {
	// The server sends 100 datagrams and 2 packets of its kernel, one of them
	// waits in vain in the kernel, one is dropped by each daemon, two are lost on
	// the line, one finds no room in the socket.
	base := func() (before, now [2]account) {
		for i, name := range []string{"server", "client"} {
			for _, a := range []*account{&before[i], &now[i]} {
				a.report = report{Instance: name, PID: 10 + i}
				a.DropsOut, a.DropsIn = map[string]uint64{"queue_full": 0}, map[string]uint64{"device_write": 0}
			}
		}
		s, c := &now[0], &now[1]
		s.sent, s.kernel.OwnTo, s.kernel.To, s.kernel.ToDropped = 100, 2, 101, 1
		s.Inside.PacketsIn, s.Wire.PacketsOut, s.DropsOut["queue_full"] = 101, 100, 1
		s.Wire.BytesOut, c.Wire.BytesIn = 9000, 8000
		c.Wire.PacketsIn, c.Inside.PacketsOut, c.DropsIn["device_write"] = 98, 97, 1
		c.received, c.overflow, c.kernel.OwnFrom = 94, 1, 2
		s.Links, c.Links = 1, 1
		return before, now
	}
	lossy := soakLeg{lossy: true}
	if before, now := base(); len(differences(lossy, before, now)) > 0 {
		t.Fatalf("right books: %v", differences(lossy, before, now))
	}
	stalled := soakLeg{stalls: true}
	before, now := base()
	now[1].aged = 1
	if d := differences(stalled, before, now); len(d) > 0 {
		t.Fatalf("right books of a link with old keys: %v", d)
	}
	for _, c := range []struct {
		name   string
		leg    soakLeg
		change func(s, c *account)
	}{
		{"broke for another reason", stalled, func(s, c *account) {}},
		{"two broke, one for its keys", stalled, func(s, c *account) { s.Links, s.aged = 2, 1 }},
		{"old keys on a good line", soakLeg{}, func(s, c *account) { s.aged = 1 }},
		{"lost on a good line", soakLeg{}, func(s, c *account) { s.Links, c.Links = 0, 0 }},
		{"link broke", soakLeg{}, func(s, c *account) { c.Wire.PacketsIn += 2; c.Inside.PacketsOut += 2; c.received += 2 }},
		{"one more sent", lossy, func(s, c *account) { s.sent++ }},
		{"one refused", lossy, func(s, c *account) { s.refused++ }},
		{"one more at the interface", lossy, func(s, c *account) { s.kernel.To++ }},
		{"one more dropped at the interface", lossy, func(s, c *account) { s.kernel.ToDropped++ }},
		{"one more of the kernel's", lossy, func(s, c *account) { s.kernel.OwnTo++ }},
		{"one more taken", lossy, func(s, c *account) { s.Inside.PacketsIn++ }},
		{"one waits", lossy, func(s, c *account) { s.Waiting++ }},
		{"one more dropped on the way out", lossy, func(s, c *account) { s.DropsOut["queue_full"]++ }},
		{"one more on the line", lossy, func(s, c *account) { s.Wire.PacketsOut++ }},
		{"one more off the line", lossy, func(s, c *account) { c.Wire.PacketsIn++ }},
		{"more off the line than on it", lossy, func(s, c *account) { c.Wire.PacketsIn += 3; c.DropsIn["device_write"] += 3 }},
		{"too many bytes lost", lossy, func(s, c *account) { s.Wire.BytesOut += soakLoss }},
		{"more bytes off the line than on it", lossy, func(s, c *account) { c.Wire.BytesIn += 2000 }},
		{"one more dropped on the way in", lossy, func(s, c *account) { c.DropsIn["device_write"]++ }},
		{"one more delivered", lossy, func(s, c *account) { c.Inside.PacketsOut++ }},
		{"refused by the interface", lossy, func(s, c *account) { c.kernel.FromDropped++ }},
		{"one more received", lossy, func(s, c *account) { c.received++ }},
		{"more received than sent", soakLeg{lossy: true, tcp: true}, func(s, c *account) { c.received = 101 }},
		{"lost beside TCP", soakLeg{tcp: true}, func(s, c *account) {
			s.Links, c.Links, s.Wire.BytesOut = 0, 0, 8000
			c.Wire.PacketsIn, c.Inside.PacketsOut = 100, 99
			s.sent = 200
		}},
		{"one more without room", lossy, func(s, c *account) { c.overflow++ }},
		{"altered", lossy, func(s, c *account) { c.altered++ }},
		{"duplicate", lossy, func(s, c *account) { c.duplicate++ }},
		{"reordered", lossy, func(s, c *account) { c.reordered++ }},
	} {
		before, now := base()
		c.change(&now[0], &now[1])
		if len(differences(c.leg, before, now)) == 0 {
			t.Errorf("%s: nothing noticed", c.name)
		}
	}
	line := `msg=stopped links=3 from_host=10 sent=7 dropped_out="no_link 1, queue_full 2" received=5 to_host=5 dropped_in=none`
	if err := checkLastWords(line); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{{"=10", "=11"}, {"sent=7", "sent=8"}, {"full 2", "full 3"}, {"received=5", "received=6"}, {"host=5", "host=4"}, {"none", `"too_old 1"`}, {"stopped", "gone"}} {
		if checkLastWords(strings.Replace(line, change[0], change[1], 1)) == nil {
			t.Errorf("last words with %s for %s: nothing noticed", change[1], change[0])
		}
	}
}

func TestTalksInside(t *testing.T) {
	for line, want := range map[string]bool{
		"   0: 01004D0A:809B 02004D0A:DBE2 01 00000000:00000000":                                                 true,
		"  12: 02004D0A:809B 01004D0A:DBE2 04 00000000:00000000":                                                 true,
		"   0: 01004D0A:809B 02004D0A:DBE2 06 00000000:00000000":                                                 false,
		"   0: 01004D0A:809B 00000000:0000 0A 00000000:00000000":                                                 false,
		"   0: 010200C0:809B 016433C6:9894 01 00000000:00000000":                                                 false,
		"   1: 770000FD000000000000000001000000:C6C2 770000FD000000000000000002000000:80A1 01 00000000:00000000": true,
		"   1: 770000FD000000000000000001000000:C6C2 770000FD000000000000000002000000:80A1 06 00000000:00000000": false,
		"   1: B80D0120000000000000000001000000:C6C2 B80D0120000000000000000002000000:80A1 01 00000000:00000000": false,
	} {
		if got := talksInside([]byte("  sl  local_address rem_address\n" + line)); got != want {
			t.Errorf("%s: %v", line, got)
		}
	}
}

// TestSoakGrowth holds courses of memory against the limit.
func TestSoakGrowth(t *testing.T) {
	for _, c := range []struct {
		name   string
		memory func(i int) int64 // of 100 samples
		grows  bool
	}{
		{"flat", func(i int) int64 { return 20 << 20 }, false},
		{"up and down", func(i int) int64 { return 20<<20 + int64(i%7)<<20 }, false},
		{"warm-up", func(i int) int64 { return int64(min(10, i)) * 2 << 20 }, false},
		{"shrinks", func(i int) int64 { return int64(100-i) << 20 }, false},
		{"one peak", func(i int) int64 { return 20<<20 + int64(i/95)*30<<20 }, false},
		{"8 MB in all", func(i int) int64 { return 20<<20 + int64(i)*8<<20/100 }, true},
		{"a step", func(i int) int64 { return 20<<20 + int64(i/60)*5<<20 }, true},
	} {
		var samples []soakSample
		for i := range 100 {
			samples = append(samples, soakSample{Usage: lab.Usage{Memory: c.memory(i)}})
		}
		if first, last, yes := grows(samples); yes != c.grows {
			t.Errorf("%s: from %d to %d grows: %v", c.name, first, last, yes)
		}
	}
}

// dropNames returns the names of what was dropped, sorted.
func dropNames(drops map[string]uint64) []string { return slices.Sorted(maps.Keys(drops)) }
