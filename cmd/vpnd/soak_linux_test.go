package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"vpnd/cmd/internal/lab"
)

var soakSeed = flag.Uint64("soakseed", 0, "seed of what TestSoak does, 0: a new one")

const (
	soakRate  = 3   // datagrams of each track every 10 ms
	soakFlood = 100 // more than a slow line carries
	// soakShort and soakLong are how many datagrams a spell of traffic lasts for, and
	// soakMoved how many bytes a TCP transfer moves each way for each of these.
	soakShort, soakLong = 2000, 10000
	soakMoved           = 4 << 10
	// soakBuffer is the most that a kernel buffers of a TCP connection, in each
	// direction, and soakLoss what can be under way when a link breaks: four
	// buffers, the two of the relay among them, and what the relay and the sender
	// have in hand.
	soakBuffer = 512 << 10
	soakLoss   = 4*soakBuffer + 3*64<<10
)

// soak is a world under traffic, to which bad things happen.
type soak struct {
	t       *testing.T
	w       *world
	hosts   [2]*site // server, client
	relay   *lab.Relay
	traffic *lab.Traffic
	rng     *rand.Rand
	volume  uint64 // datagrams that a spell of traffic lasts for

	settings [2]soakSettings
	before   [2]account // at the last quiet moment
	marks    [2]int64   // in their logs, at that moment
	figures  soakFigures
}

// soakSettings are the lines of a configuration that change.
type soakSettings struct {
	cipher, compress string
	sendbuf          int
}

// TestSoak runs two daemons under numbered traffic of all sizes while their line
// and they themselves suffer, in random order. At each quiet moment in between
// all packets are accounted for. The first third of the time has restarts, in the
// rest the daemons have to stay the same: as many goroutines and descriptors, no
// more memory.
func TestSoak(t *testing.T) {
	t.Parallel()
	k := newSoak(t)
	began := time.Now()
	for round := 0; round == 0 || time.Since(began) < *soakTime; round++ {
		legs := soakLegs()
		if round > 0 && time.Since(began) >= *soakTime/3 {
			legs = withoutRestarts(legs)
			k.figures.inSeries = true
		}
		k.rng.Shuffle(len(legs), func(i, j int) { legs[i], legs[j] = legs[j], legs[i] })
		for _, leg := range legs {
			k.do(leg)
		}
		k.sample()
		t.Logf("round %d over after %v", round, time.Since(began).Round(time.Second))
	}
	k.figures.took = time.Since(began)
	k.finish()
}

func withoutRestarts(legs []soakLeg) (rest []soakLeg) {
	for _, leg := range legs {
		if !leg.restarts {
			rest = append(rest, leg)
		}
	}
	return rest
}

func newSoak(t *testing.T) *soak {
	seed := *soakSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-soakseed %d", seed)
	k := &soak{t: t, w: newWorld(t), rng: rand.New(rand.NewPCG(seed, 0)), volume: soakShort}
	if *soakTime >= 5*time.Minute {
		k.volume = soakLong
	}
	k.hosts = [2]*site{k.w.server, k.w.client}
	for _, s := range k.hosts {
		sizes := fmt.Sprintf("4096 65536 %d", soakBuffer)
		must(t, s.ns.Sysctl("ipv4/tcp_rmem", sizes))
		must(t, s.ns.Sysctl("ipv4/tcp_wmem", sizes))
	}
	var err error
	k.relay, err = k.w.server.ns.Relay(netip.AddrPortFrom(serverOuter, 0), netip.AddrPortFrom(serverOuter, outerPort))
	must(t, err)
	for i := range k.settings {
		k.settings[i] = soakSettings{"blowfish", "auto", 16384}
	}
	k.configure()
	k.w.up()
	k.traffic, err = lab.NewTraffic(1500, k.ends(serverInner, clientInner, 1), k.ends(serverInner, clientInner, 0),
		k.ends(serverIPv6, clientIPv6, 1), k.ends(serverIPv6, clientIPv6, 0))
	must(t, err)
	t.Cleanup(func() { must(t, k.traffic.Close()) })
	k.figures = newSoakFigures()
	k.traffic.Rate(soakRate)
	k.spell()
	k.settle()
	k.before = k.balanced(soakLeg{})
	k.sample()
	return k
}

// ends returns the way that the datagrams from a host take.
func (k *soak) ends(server, client netip.Addr, from int) lab.Ends {
	e := lab.Ends{Client: k.w.client.ns, Server: k.w.server.ns, Src: client, Dst: server}
	if from == 0 {
		e = lab.Ends{Client: k.w.server.ns, Server: k.w.client.ns, Src: server, Dst: client}
	}
	return e
}

// configure writes both configurations. The client's way to the server is the
// relay.
func (k *soak) configure() {
	lines := func(s soakSettings) []string {
		return []string{"keepalive 2", "noanswer 2", "keyttl 5", "retry 5",
			"cipher " + s.cipher, "compress " + s.compress, fmt.Sprint("sendbuf ", s.sendbuf)}
	}
	inner := func(here, there netip.Addr) string { return fmt.Sprintf("local %v\nremote %v", here, there) }
	k.w.server.write(append(lines(k.settings[0]), "mode server", fmt.Sprint("server ", outerPort),
		inner(serverInner, clientInner), inner(serverIPv6, clientIPv6))...)
	k.w.client.write(append(lines(k.settings[1]), "mode client", fmt.Sprintf("server %v %d", serverOuter, k.relay.Addr().Port()),
		inner(clientInner, serverInner), inner(clientIPv6, serverIPv6))...)
}

// do goes one leg, from a quiet moment to the next.
func (k *soak) do(leg soakLeg) {
	k.t.Helper()
	began := time.Now()
	k.traffic.Rate(soakRate)
	leg.run(k)
	k.book(leg)
	if k.figures.inSeries {
		k.sample()
	}
	k.figures.spent[leg.name] += time.Since(began)
}

// book waits for a quiet moment and accounts for all since the last one.
func (k *soak) book(leg soakLeg) {
	k.t.Helper()
	k.settle()
	now := k.balanced(leg)
	k.figures.add(leg, k.before, now)
	k.before = now
	for i, s := range k.hosts {
		k.marks[i] = s.Stderr.Mark()
	}
}

// sample looks at what the daemons hold.
func (k *soak) sample() {
	k.t.Helper()
	for i, s := range k.hosts {
		k.figures.flat(s, i)
	}
}

// settle waits until the link is up, and nothing on its way any more.
func (k *soak) settle() {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	must(k.t, k.traffic.Settle(ctx))
	for _, s := range k.hosts {
		s.until("up", isUp)
	}
}

// balanced waits until every packet is accounted for.
func (k *soak) balanced(leg soakLeg) [2]account {
	k.t.Helper()
	var now [2]account
	var wrong []string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		now = k.look()
		// A packet of the kernel's own may have come while one counter was read and
		// another not yet: a second look would not agree.
		wrong = append(differences(leg, k.before, now), differences(soakLeg{name: "second look"}, now, k.look())...)
		if len(wrong) == 0 {
			return now
		}
	}
	k.t.Fatalf("%s: not accounted for:\n%s\nserver before %+v\nserver now %+v\nclient before %+v\nclient now %+v",
		leg.name, strings.Join(wrong, "\n"), k.before[0], now[0], k.before[1], now[1])
	return now
}

// pollUntil waits for something that no daemon tells.
func (k *soak) pollUntil(what string, cond func() bool) {
	k.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			k.t.Fatalf("not %s after %v", what, patience)
		}
	}
}

// spell lets traffic flow for a while.
func (k *soak) spell() {
	k.t.Helper()
	var want uint64
	k.pollUntil("under traffic", func() bool {
		counts, err := k.traffic.Counts()
		must(k.t, err)
		var got uint64
		for _, c := range counts {
			got += c.Received
		}
		if want == 0 {
			want = got + k.volume
		}
		return got >= want
	})
}
