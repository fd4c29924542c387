package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"vpnd/cmd/internal/lab"
)

const (
	// soakGrowth is how much more memory a daemon may have in the last third of the
	// time than in the first.
	soakGrowth = 4 << 20
	// soakSamples is how many quiet moments it takes to compare thirds.
	soakSamples = 30
)

// soakFigures are what a soak has seen.
type soakFigures struct {
	took                         time.Duration
	sent, received, bytes, taken uint64 // datagrams, bytes of those received, packets taken by the daemons
	transferred                  uint64 // bytes of TCP
	legs                         map[string]int
	spent                        map[string]time.Duration // on each kind of leg
	restarts, kills              uint64
	links, rekeys, ratchets      uint64
	aged                         []string // legs in which a link ended because its keys were too old
	drops                        map[string]uint64
	least                        [2]soakSample
	series                       [2][]soakSample // while nobody restarts
	inSeries                     bool
}

// soakSample is what a daemon holds at a quiet moment.
type soakSample struct {
	goroutines int
	lab.Usage
}

func newSoakFigures() soakFigures {
	return soakFigures{legs: make(map[string]int), spent: make(map[string]time.Duration), drops: make(map[string]uint64)}
}

// add books a leg.
func (f *soakFigures) add(leg soakLeg, before, now [2]account) {
	f.legs[leg.name]++
	for range agedLinks(now) {
		f.aged = append(f.aged, leg.name)
	}
	for i := range now {
		b, n := before[i], now[i]
		f.sent += n.sent - b.sent
		f.received += n.received - b.received
		f.bytes += n.bytes - b.bytes
		f.drops["at the socket"] += n.overflow - b.overflow
		f.drops["not sent, no interface"] += n.refused - b.refused
		if n.PID != b.PID {
			b.report, b.kernel = report{}, lab.Counters{}
		}
		f.taken += n.Inside.PacketsIn - b.Inside.PacketsIn
		f.drops["kernel's queue"] += n.kernel.ToDropped - b.kernel.ToDropped
		for name, count := range n.DropsOut {
			f.drops["out "+name] += count - b.DropsOut[name]
		}
		for name, count := range n.DropsIn {
			f.drops["in "+name] += count - b.DropsIn[name]
		}
		f.addLink(i, b, n)
	}
	if now[0].PID == before[0].PID && now[1].PID == before[1].PID {
		f.drops["on a broken line"] += lostOnLine(0, before, now) + lostOnLine(1, before, now)
	} else {
		f.drops["around a restart"] += lostTo(0, before, now) + lostTo(1, before, now)
	}
}

// addLink books what the link of the client has gone through. The last part of a
// link's life is not seen.
func (f *soakFigures) addLink(i int, before, now account) {
	if i == 0 {
		return
	}
	was, is := before.Link, now.Link
	f.links += now.Links - before.Links
	if was != nil && was.Established.Equal(is.Established) {
		f.rekeys += is.Rekeys - was.Rekeys
		f.ratchets += is.Ratchets - was.Ratchets
	} else {
		f.rekeys += is.Rekeys
		f.ratchets += is.Ratchets
	}
}

// flat waits until a daemon has no more goroutines and descriptors than ever
// before at a quiet moment, and takes a sample.
func (f *soakFigures) flat(s *site, i int) {
	s.t.Helper()
	var now soakSample
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		now = s.sample()
		if f.least[i].goroutines == 0 {
			f.least[i] = now
		}
		if now.goroutines <= f.least[i].goroutines && now.Files <= f.least[i].Files {
			break
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %d goroutines and %d descriptors, there were %d and %d", s.name,
				now.goroutines, now.Files, f.least[i].goroutines, f.least[i].Files)
		}
	}
	f.least[i] = now
	if f.inSeries {
		f.series[i] = append(f.series[i], now)
	}
}

func (s *site) sample() soakSample {
	s.t.Helper()
	u, err := s.Usage()
	must(s.t, err)
	return soakSample{s.until("up", isUp).Goroutines, u}
}

// course returns the median memory in each of some parts of the samples, one after the
// other, after a warm-up of a tenth.
func course(samples []soakSample, parts int) (memory []int64) {
	samples = samples[len(samples)/10:]
	for i := range parts {
		part := slices.Clone(samples[i*len(samples)/parts : (i+1)*len(samples)/parts])
		slices.SortFunc(part, func(a, b soakSample) int { return cmp.Compare(a.Memory, b.Memory) })
		memory = append(memory, part[len(part)/2].Memory)
	}
	return memory
}

// grows reports whether a daemon has taken more and more memory.
func grows(samples []soakSample) (first, last int64, yes bool) {
	thirds := course(samples, 3)
	return thirds[0], thirds[2], thirds[2] > thirds[0]+soakGrowth
}

// finish shows the figures and checks those that are known at the end only.
func (k *soak) finish() {
	k.t.Helper()
	f := k.figures
	k.t.Logf("soak:\n%s", f.table(k.before))
	for i, s := range k.hosts {
		if samples := f.series[i]; len(samples) >= soakSamples {
			if first, last, yes := grows(samples); yes {
				k.t.Errorf("%s: resident memory grows from %d to %d", s.name, first, last)
			}
		} else if *soakTime >= 20*time.Minute {
			k.t.Errorf("%s: only %d samples of its memory", s.name, len(samples))
		}
		if n := k.before[i].sizes; n < 1453 {
			k.t.Errorf("%s: only %d sizes of datagrams have come", s.name, n)
		}
	}
	if least := max(1, uint64(*soakTime/time.Minute)); f.rekeys < least || f.ratchets < least {
		k.t.Errorf("only %d rekeys and %d ratchets in %v", f.rekeys, f.ratchets, f.took)
	}
	for _, name := range []string{"out queue_full", "out no_link", "out link_lost", "kernel's queue", "on a broken line"} {
		if f.drops[name] == 0 {
			k.t.Errorf("nothing was dropped by the name of %q: that case was not met", name)
		}
	}
}

// table is the figures for people.
func (f *soakFigures) table(last [2]account) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	row("duration", "%v", f.took.Round(time.Second))
	row("datagrams sent", "%d", f.sent)
	row("datagrams received", "%d, %s", f.received, size(f.bytes))
	row("packets taken from the host", "%d", f.taken)
	row("TCP, hashed", "%s", size(f.transferred))
	row("links", "%d, ended for the age of their keys: %d %q", f.links, len(f.aged), f.aged)
	row("rekeys, ratchets", "at least %d, %d", f.rekeys, f.ratchets)
	row("restarts", "%d, and %d after a kill -9", f.restarts-f.kills, f.kills)
	for _, name := range dropNames(f.drops) {
		row("dropped "+name, "%d", f.drops[name])
	}
	row("duplicate, reordered, altered", "%d, %d, %d", last[0].duplicate+last[1].duplicate,
		last[0].reordered+last[1].reordered, last[0].altered+last[1].altered)
	for i, name := range []string{"server", "client"} {
		row(name+" goroutines, descriptors", "%d, %d", f.least[i].goroutines, f.least[i].Files)
		if len(f.series[i]) >= soakSamples {
			var sizes []string
			for _, m := range course(f.series[i], 9) {
				sizes = append(sizes, size(uint64(m)))
			}
			row(name+" memory, ninth by ninth", "%s (%d samples)", strings.Join(sizes, ", "), len(f.series[i]))
		}
	}
	for _, leg := range soakLegs() {
		row(leg.name, "%d times in %v", f.legs[leg.name], f.spent[leg.name].Round(100*time.Millisecond))
	}
	w.Flush()
	return b.String()
}
