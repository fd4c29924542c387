package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/registry"
)

const (
	burstGateways = 250
	burstRounds   = 4 // 1000 registrations
)

// TestBurst lets 250 gateways register four times, all at once, while processes are killed
// at any moment. What was answered is there, and nothing else.
func TestBurst(t *testing.T) {
	t.Run("lighttpd", func(t *testing.T) {
		w := newBurst(t)
		server := w.lighttpd()
		kills := 0
		w.burst(func() bool {
			if kills == 100 || !w.killChild(server.Process.Pid) {
				return false
			}
			kills++
			return true
		})
	})
	t.Run("standalone", func(t *testing.T) {
		w := newBurst(t)
		server := w.serve()
		kills := 0
		w.burst(func() bool {
			if kills++; kills > 5 {
				return false
			}
			time.Sleep(200 * time.Millisecond) // let it do something between two deaths
			server.Process.Kill()
			server.Wait()
			args := server.Args
			server = w.start(w.command(args[1:]...))
			return true
		})
	})
}

type burst struct {
	*world
	names   []string
	clients []*registry.Client
}

func newBurst(t *testing.T) *burst {
	t.Helper()
	b := &burst{}
	for i := range burstGateways {
		b.names = append(b.names, fmt.Sprintf("n%03d", i))
	}
	b.world = newWorld(t, b.names...)
	return b
}

// burst registers all gateways at once; kill kills somebody, and reports whether there
// was somebody to kill.
func (b *burst) burst(kill func() bool) {
	t := b.t
	t.Helper()
	for i, name := range b.names {
		s := b.settings()
		s.Port = uint16(3000 + i)
		b.clients = append(b.clients, b.clientWith(name, b.keys[name], s))
	}
	b.register(b.clients[0]) // there is a state
	over := make(chan struct{})
	var killer sync.WaitGroup
	killed := 0
	killer.Go(func() {
		for {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(rand.IntN(30)) * time.Millisecond):
				if kill() {
					killed++
				}
			}
		}
	})
	numbers := make([]uint64, len(b.clients)) // the last that was answered
	var all sync.WaitGroup
	var failed atomic.Int64
	began := time.Now()
	for i, c := range b.clients {
		all.Go(func() {
			for range burstRounds {
				table, failures := b.insist(c)
				failed.Add(int64(failures))
				if table != nil {
					numbers[i] = table.Number
				}
			}
		})
	}
	all.Wait()
	took := time.Since(began)
	close(over)
	killer.Wait()
	t.Logf("%d registrations in %v, %d killed, %d tried again", burstGateways*burstRounds, took.Round(time.Millisecond), killed, failed.Load())
	if killed == 0 {
		t.Error("nobody was killed")
	}
	b.checkState(numbers)
	b.settled()
}

// checkState compares the state file with what was answered.
func (b *burst) checkState(numbers []uint64) {
	b.t.Helper()
	text, err := os.ReadFile(b.file("state/state"))
	must(b.t, err)
	if _, err := os.Stat(b.file("state/state.damaged")); err == nil {
		b.t.Error("the state was damaged")
	}
	stored := make(map[string][]string)
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		stored[words[0]] = words
	}
	for i, name := range b.names {
		words := stored[name]
		if words == nil {
			if numbers[i] != 0 {
				b.t.Errorf("%s was answered, and is lost", name)
			}
			continue
		}
		number, _ := strconv.ParseUint(words[2], 10, 64)
		endpoint := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(3000+i)).String()
		if words[1] != b.keys[name].Public().String() || number < numbers[i] || words[3] != endpoint {
			b.t.Errorf("%s: %v is stored, and number %d was answered", name, words, numbers[i])
		}
	}
}

// insist registers a gateway, and tries again when nexus was killed over it.
func (b *burst) insist(c *registry.Client) (table *registry.Table, failures int) {
	for limit := time.Now().Add(3 * patience); ; failures++ {
		table, err := c.Register(b.t.Context())
		if err == nil {
			return table, failures
		}
		if time.Now().After(limit) {
			b.t.Error(err)
			return nil, failures
		}
		time.Sleep(time.Duration(1+rand.IntN(50<<min(failures, 5))) * time.Millisecond)
	}
}

// settled lets everybody register once more, in peace.
func (b *burst) settled() {
	b.t.Helper()
	var table *registry.Table
	for _, c := range b.clients {
		if table, _ = b.insist(c); table == nil {
			b.t.FailNow()
		}
	}
	if got := live(table); len(got) != burstGateways {
		b.t.Errorf("%d gateways are live, not %d", len(got), burstGateways)
	}
	for i, g := range table.Gateways {
		if g.Name != b.names[i] || g.Key != b.keys[g.Name].Public() { // endpoints: see the state
			b.t.Errorf("%s stands in place of %s", g.Name, b.names[i])
		}
	}
}

// killChild kills one child of a process, and reports whether there was one that had not
// ended by itself before.
func (b *burst) killChild(parent int) bool {
	path := fmt.Sprintf("/proc/%d/task/%d/children", parent, parent)
	for range 1000 { // they live for a few milliseconds
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		children := strings.Fields(string(text))
		if len(children) == 0 {
			continue
		}
		pid, _ := strconv.Atoi(children[rand.IntN(len(children))])
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err == nil && !bytes.Contains(stat, []byte(") Z ")) && syscall.Kill(pid, syscall.SIGKILL) == nil {
			return true
		}
	}
	return false
}
