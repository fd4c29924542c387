package main

import (
	"context"
	"net/netip"
	"os"
	"regexp"
	"sync"
	"syscall"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/tunnel"
)

// soakLeg is some traffic with one kind of trouble, between two quiet moments.
type soakLeg struct {
	name     string
	run      func(k *soak)
	lossy    bool // a line breaks that carries packets: what was under way is lost
	stalls   bool // what is under way waits, fresh keys too: a link may end because its keys are old
	tcp      bool // inner TCP, the packets of which the kernel counts in its own way
	restarts bool // a daemon starts again
}

func soakLegs() []soakLeg {
	return []soakLeg{
		{name: "nothing", run: (*soak).spell},
		{name: "rekeys", run: (*soak).rekeys},
		{name: "ratchets", run: (*soak).ratchets},
		{name: "reload", run: (*soak).reload},
		{name: "stall", run: (*soak).stall, stalls: true},
		{name: "short cut", run: (*soak).shortCut, stalls: true},
		{name: "slow line", run: (*soak).slowLine, stalls: true},
		{name: "server frozen", run: func(k *soak) { k.freeze(k.hosts[0]) }, stalls: true},
		{name: "client frozen", run: func(k *soak) { k.freeze(k.hosts[1]) }, stalls: true},
		{name: "transfer", run: (*soak).transfer, tcp: true, stalls: true},
		{name: "transfer over resets", run: (*soak).transferOverResets, tcp: true, lossy: true},
		{name: "long cut", run: (*soak).longCut, lossy: true},
		{name: "reset", run: (*soak).reset, lossy: true},
		{name: "reset of a full line", run: (*soak).resetFull, lossy: true},
		{name: "redial", run: (*soak).redial, lossy: true},
		{name: "server restarted", run: func(k *soak) { k.restart(0) }, restarts: true},
		{name: "client restarted", run: func(k *soak) { k.restart(1) }, restarts: true},
		{name: "ciphers changed", run: (*soak).ciphers, restarts: true},
		{name: "server ended under load", run: func(k *soak) { k.endUnderLoad(0) }, restarts: true, lossy: true},
		{name: "client ended under load", run: func(k *soak) { k.endUnderLoad(1) }, restarts: true, lossy: true},
		{name: "server killed", run: func(k *soak) { k.killUnderLoad(0) }, restarts: true, lossy: true},
		{name: "client killed", run: func(k *soak) { k.killUnderLoad(1) }, restarts: true, lossy: true},
	}
}

func (k *soak) either() int { return k.rng.IntN(2) }

// rekeys keeps a link until it has had some more rekeys.
func (k *soak) rekeys() {
	more := k.volume / soakShort
	k.untilLinks("rekeyed", func(first, now *tunnel.Link) bool { return now.Rekeys >= first.Rekeys+more })
}

func (k *soak) ratchets() {
	k.traffic.Rate(4 * soakRate)
	k.untilLinks("ratcheted", func(first, now *tunnel.Link) bool { return now.Ratchets >= first.Ratchets+2 })
}

// untilLinks compares both ends of the link with what they were.
func (k *soak) untilLinks(what string, cond func(first, now *tunnel.Link) bool) {
	k.t.Helper()
	var first [2]*tunnel.Link
	for i, s := range k.hosts {
		first[i] = s.until("up", isUp).Link
	}
	for i, s := range k.hosts {
		s.until(what, func(r report) bool { return isUp(r) && cond(first[i], r.Link) })
	}
}

// reload changes on one end what can be changed while the link is up.
func (k *soak) reload() {
	i := k.either()
	k.settings[i].compress = []string{"auto", "off", "asym", "s2", "deflate", "zstd"}[k.rng.IntN(6)]
	k.settings[i].sendbuf = 2048 << k.rng.IntN(5) // less than a packet is refused
	k.configure()
	mark := k.hosts[i].Stderr.Mark()
	must(k.t, k.hosts[i].Signal(syscall.SIGHUP))
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	_, err := k.hosts[i].Stderr.WaitAfter(ctx, mark, "configuration reloaded")
	must(k.t, err)
	k.spell()
}

// stall holds back what is on the way, for less than the link needs to be given
// up.
func (k *soak) stall() {
	k.relay.Stall()
	time.Sleep(time.Second)
	k.relay.Resume()
	k.spell()
}

func (k *soak) shortCut() {
	must(k.t, k.w.path.Cut())
	time.Sleep(time.Second)
	must(k.t, k.w.path.Heal())
	k.spell()
}

// flood sends more than the line carries until both queues are full.
func (k *soak) flood() {
	k.relay.Delay(30 * time.Millisecond)
	var full [2]uint64
	for i, s := range k.hosts {
		full[i] = s.until("up", isUp).DropsOut["queue_full"]
	}
	k.traffic.Rate(soakFlood)
	for i, s := range k.hosts {
		s.until("full", func(r report) bool { return r.DropsOut["queue_full"] > full[i] })
	}
	k.traffic.Rate(soakRate)
}

func (k *soak) slowLine() {
	k.flood()
	k.relay.Delay(0)
	k.spell()
}

// freeze stops a process until the kernel has no room for more of its packets.
func (k *soak) freeze(s *site) {
	dropped := k.count(s).ToDropped
	must(k.t, s.Signal(syscall.SIGSTOP))
	k.pollUntil("full", func() bool { return k.count(s).ToDropped > dropped })
	must(k.t, s.Signal(syscall.SIGCONT))
	k.spell()
}

func (k *soak) transfer() {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 2*patience)
	defer cancel()
	dst, bytes := []netip.Addr{serverInner, serverIPv6}[k.either()], int64(k.volume*soakMoved)
	_, err := lab.Ends{Client: k.w.client.ns, Server: k.w.server.ns, Dst: dst}.Transfer(ctx,
		lab.Load{Up: bytes, Down: bytes, Streams: 2})
	must(k.t, err)
	k.figures.transferred += uint64(2 * bytes)
	for _, s := range k.hosts {
		k.pollUntil("without TCP in the tunnel", func() bool { return !k.talksTCP(s) })
	}
}

// talksTCP reports whether a host has a TCP connection through the tunnel that is
// not over.
func (k *soak) talksTCP(s *site) bool {
	k.t.Helper()
	var table []byte
	must(k.t, s.ns.Do(func() error {
		for _, file := range []string{"/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"} {
			part, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			table = append(table, part...)
		}
		return nil
	}))
	return talksInside(table)
}

// talksInside looks for such a connection in the kernel's tables, in which a line
// is number: local remote state ..., 10.77.0.0/24 is 004D0A and fd00:77::/32 is
// 770000FD. One that listens (0A), or that both ends have closed (TIME-WAIT, 06),
// has nothing to say.
func talksInside(table []byte) bool {
	return regexp.MustCompile(`(?m)^ *\d+: (\w\w004D0A|770000FD\w+):\w+ \S+ 0[1-57-9BC]`).Match(table)
}

// transferOverResets breaks the line each time that another quarter has passed.
func (k *soak) transferOverResets() {
	ctx, cancel := context.WithCancel(k.t.Context())
	var resets sync.WaitGroup
	resets.Go(func() {
		for passed := k.relay.Stats().Up; ctx.Err() == nil; time.Sleep(time.Millisecond) {
			if up := k.relay.Stats().Up; up > passed+int64(k.volume*soakMoved/4) {
				passed = up
				k.relay.Reset()
			}
		}
	})
	k.transfer()
	cancel()
	resets.Wait()
}

// anotherLink waits until both ends have had one more link.
func (k *soak) anotherLink(do func()) {
	var links [2]uint64
	for i, s := range k.hosts {
		links[i] = s.until("up", isUp).Links
	}
	do()
	for i, s := range k.hosts {
		s.until("up once more", func(r report) bool { return isUp(r) && r.Links > links[i] })
	}
	k.spell()
}

// longCut is silent until both ends have given the link up.
func (k *soak) longCut() {
	k.anotherLink(func() {
		must(k.t, k.w.path.Cut())
		for _, s := range k.hosts {
			s.until("down", func(r report) bool { return !isUp(r) })
		}
		must(k.t, k.w.path.Heal())
	})
}

func (k *soak) reset() { k.anotherLink(func() { k.relay.Reset() }) }

func (k *soak) resetFull() {
	k.flood()
	k.anotherLink(func() { k.relay.Reset() })
	k.relay.Delay(0)
}

func (k *soak) redial() {
	k.anotherLink(func() { must(k.t, k.hosts[1].Signal(syscall.SIGUSR1)) })
}

// restart ends a daemon at a quiet moment and starts it again.
func (k *soak) restart(i int) {
	k.rest()
	k.hosts[i].stop()
	k.hosts[i].start()
	k.begin(i)
}

// ciphers restarts both with other ciphers, and at last with the one that
// ratchets all the time.
func (k *soak) ciphers() {
	for _, cipher := range []string{"aes-256-gcm", "chacha20-poly1305", "blowfish"} {
		k.rest()
		k.settings[0].cipher, k.settings[1].cipher = cipher, cipher
		k.configure()
		for i := range k.hosts {
			k.hosts[i].stop()
			k.hosts[i].start()
		}
		k.begin(0, 1)
	}
}

// rest goes to a quiet moment in the middle of a leg: what a daemon has counted
// is compared for the last time before it ends.
func (k *soak) rest() {
	k.book(soakLeg{name: "before a restart"})
	k.sample()
}

// begin waits for the link after a restart of some hosts.
func (k *soak) begin(restarted ...int) {
	k.figures.restarts += uint64(len(restarted))
	for _, s := range k.hosts {
		s.until("up", isUp)
	}
	k.traffic.Rate(soakRate)
	k.spell()
}

func (k *soak) endUnderLoad(i int) {
	k.spell()
	k.hosts[i].stop()
	if err := checkLastWords(k.hosts[i].Stderr.String()); err != nil {
		k.t.Fatalf("%s ended under load: %v", k.hosts[i].name, err)
	}
	k.hosts[i].start()
	k.begin(i)
}

func (k *soak) killUnderLoad(i int) {
	k.spell()
	k.hosts[i].kill()
	k.hosts[i].start()
	k.figures.kills++
	k.begin(i)
}
