package main

import (
	"context"
	"fmt"
	"time"

	"vpnd/cmd/internal/router"
)

// slowRows returns what is measured on the slow lines.
func slowRows() []row {
	return []row{
		{name: slowVpnd, kind: own, start: startVpnd("blowfish", "auto")},
		{name: slowVpnd + suffixOff, kind: own, start: startVpnd("blowfish", "off")},
		{name: "ssh", kind: tcpPeer, start: startSSH("no")},
		{name: slowSSH, kind: tcpPeer, start: startSSH("yes")},
		{name: slowVtun, kind: tcpPeer, start: startVtun("blowfish128ecb", "zlib:9")},
		{name: "tinc", kind: tcpPeer, start: startTinc},
		{name: "openvpn", kind: tcpPeer, start: startOpenVPN("AES-256-GCM")},
		{name: slowBare, kind: wire, start: startNothing},
	}
}

// Names that the goals refer to.
const (
	slowVpnd = "vpnd"
	slowSSH  = "ssh-C"
	slowVtun = "vtun-zlib"
	slowBare = "no-tunnel"
)

// slowLine is a line, and how long it takes to see something on it. The times are
// long enough for a queue of 50 packets to fill, and as short as the whole has to be.
type slowLine struct {
	short, name string
	way         router.Way
	serial      int // bit/s of a serial line in place of a way

	every time.Duration // between pings
	idle  time.Duration // that is pinged through the empty tunnel
	fill  time.Duration // until the load counts as usual
	pings time.Duration // from then on
	pour  time.Duration // after the pings
}

// half is the delay of each direction where the round trip takes 40 ms.
const (
	base = 40 * time.Millisecond
	half = base / 2
)

func thinLine() slowLine {
	return slowLine{
		short: "33k6", name: "33.6 kbit/s", way: router.Way{Rate: 33_600, Delay: half},
		every: 500 * time.Millisecond, idle: 4 * time.Second, fill: 10 * time.Second, pings: 20 * time.Second, pour: 35 * time.Second,
	}
}

func mediumLine() slowLine {
	return slowLine{
		short: "1m", name: "1 Mbit/s", way: router.Way{Rate: 1_000_000, Delay: half},
		every: 100 * time.Millisecond, idle: 2 * time.Second, fill: 4 * time.Second, pings: 12 * time.Second, pour: 20 * time.Second,
	}
}

func lossyLine() slowLine {
	return slowLine{
		short: "20m", name: "20 Mbit/s, 100 ms, 1 % loss",
		way:  router.Way{Rate: 20_000_000, Delay: 50 * time.Millisecond, Loss: 0.01, Seed: 1},
		fill: 3 * time.Second, pour: 20 * time.Second,
	}
}

func serialLine() slowLine {
	return slowLine{
		short: "serial", name: "serial 33.6 kbit/s", serial: 33_600,
		every: 500 * time.Millisecond, idle: 5 * time.Second, fill: 10 * time.Second, pings: 30 * time.Second, pour: 10 * time.Second,
	}
}

func (l slowLine) join() func(*bed) error {
	if l.serial > 0 {
		return overCable(l.serial)
	}
	return through(l.way)
}

// all is how long a measurement may use the line.
func (l slowLine) all() time.Duration { return l.idle + l.fill + l.pings + l.pour }

// figure is the title of something measured on the line.
func (l slowLine) figure(what string) string { return l.name + ": " + what }

// What is measured on a line.
const (
	figText, figRandom    = "text, kbit/s", "random, kbit/s"
	figFill               = "random, inner IP bytes / line"
	figIdle, figIdleP95   = "idle ping p50, ms", "idle ping p95, ms"
	figIdleMax            = "idle ping max, ms"
	figMedian, figP95     = "ping in bulk p50, ms", "ping in bulk p95, ms"
	figMax, figLost       = "ping in bulk max, ms", "ping in bulk lost, %"
	figPage               = "page of 30 objects, s"
	figCut                = "cut for 30 s, first byte, s"
	figBare               = "random / no tunnel"
	figP95Packets         = "ping in bulk p95 - idle, packets"
	figKey, figKeyPackets = "key p50 beside 2 bulks, ms", "key p95 beside 2 bulks, packets"
	figKeyLost            = "keys without echo, %"
	figShare              = "smaller bulk / larger"
)

// trial is something that is measured of each row on a bed of its own.
type trial struct {
	name    string
	line    slowLine
	takes   func(row) bool
	extra   time.Duration // more than the line's own times
	measure func(*slowMeter, context.Context, slowLine) error
	what    []string // the figures that it gives
}

func (t trial) called() string { return t.name }

func (t trial) join(b *bed) error { return t.line.join()(b) }

// limit is when something is wrong.
func (t trial) limit(scale float64) time.Duration {
	return time.Duration(scale*float64(t.line.all())) + t.extra + measureSlack
}

func slowTrials() []trial {
	tunnels := func(r row) bool { return r.kind != wire }
	vpnds := func(r row) bool { return r.kind == own }
	standard := func(r row) bool { return r.kind == tcpPeer || r.name == slowVpnd }
	all := func(row) bool { return true }
	pings := []string{figIdle, figIdleP95, figIdleMax, figMedian, figP95, figMax, figLost}
	random := append([]string{figRandom, figFill}, pings...)
	var list []trial
	for _, l := range []slowLine{thinLine(), mediumLine()} {
		list = append(list,
			trial{l.short + "-text", l, tunnels, 0, (*slowMeter).text, []string{figText}},
			trial{l.short + "-random", l, tunnels, 0, (*slowMeter).random, random})
	}
	thin, medium, lossy, serial := thinLine(), mediumLine(), lossyLine(), serialLine()
	return append(list,
		trial{"33k6-page", thin, tunnels, pageLimit, (*slowMeter).page, []string{figPage}},
		trial{"1m-cut", medium, standard, cutTime + cutLimit, (*slowMeter).cut, []string{figCut}},
		trial{"20m-loss", lossy, all, 0, (*slowMeter).lossy, []string{figRandom, figBare}},
		trial{"serial-ping", serial, vpnds, 0, (*slowMeter).serialPing, append(pings, figP95Packets)},
		trial{"serial-keys", serial, vpnds, 0, (*slowMeter).serialKeys, []string{figKey, figKeyPackets, figKeyLost, figShare}},
	)
}

// packetTime is how long a serial line takes for a packet of that size alone, of ten
// bits a byte.
func (l slowLine) packetTime(size int) time.Duration {
	if l.serial == 0 {
		panic(fmt.Sprintf("%s is no serial line", l.name))
	}
	return time.Duration(size) * 10 * time.Second / time.Duration(l.serial)
}
