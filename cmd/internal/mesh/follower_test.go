package mesh

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

// fakeNexus answers as it is told.
type fakeNexus struct {
	mu    sync.Mutex
	table *registry.Table
	err   error
	times []time.Time // of registrations
	left  int
	hangs bool // until the question is given up
}

func (f *fakeNexus) Register(ctx context.Context) (*registry.Table, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.times = append(f.times, time.Now())
	if f.hangs {
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return nil, ctx.Err()
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.table, nil
}

func (f *fakeNexus) Leave(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left++
	return f.err
}

func (f *fakeNexus) Receive(datagram []byte) bool { return string(datagram) == "nudge" }

func (f *fakeNexus) set(t *registry.Table, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table, f.err = t, err
}

// asked returns how often it was asked since the last call.
func (f *fakeNexus) asked() (n int, times []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	times, f.times = f.times, nil
	return len(times), times
}

// next waits until it is asked, and returns how long that took.
func (f *fakeNexus) next() time.Duration {
	began := time.Now()
	f.asked()
	for {
		time.Sleep(10 * time.Millisecond)
		if n, times := f.asked(); n > 0 {
			return times[0].Sub(began)
		}
	}
}

// follow starts a follower of a fake nexus.
func follow(t *testing.T, dir string, n *fakeNexus) (f *Follower, tables func() []*registry.Table, log *bytes.Buffer, stop func()) {
	t.Helper()
	saved, err := NewSaved(dir, "a", crypto.PublicKey{1}, crypto.PublicKey{2})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var list []*registry.Table
	log = &bytes.Buffer{}
	f = newFollower(n, saved, slog.New(slog.NewTextHandler(log, nil)), func(table *registry.Table) {
		mu.Lock()
		defer mu.Unlock()
		list = append(list, table)
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stop = func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	tables = func() []*registry.Table {
		mu.Lock()
		defer mu.Unlock()
		got := list
		list = nil
		return got
	}
	return f, tables, log, stop
}

func stateDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}

func live(left time.Duration) *registry.Table {
	a, b := gateway("a", "192.0.2.1:1", "10.0.0.0/24"), gateway("b", "192.0.2.2:1", "10.0.1.0/24")
	a.Left, b.Left = registry.Lease, left
	return table(a, b)
}

func TestPoll(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, tables, _, stop := follow(t, dir, n)
		time.Sleep(time.Hour)
		synctest.Wait()
		count, times := n.asked()
		if count < 60 || count > 85 {
			t.Errorf("asked %d times in an hour", count)
		}
		for i := range times[1:] {
			least, most := pollMin, pollMax
			if i < 4 { // no nudge has come
				least = pollSoon << i
				most = least
			}
			if d := times[i+1].Sub(times[i]); d < least || d > most {
				t.Errorf("%v from question %d to the next", d, i)
			}
		}
		if got := len(tables()); got != count {
			t.Errorf("%d tables of %d", got, count)
		}
		if table, at, err := f.Status(); table.Gateway("b") == nil || time.Since(at) > pollMax || err != nil {
			t.Errorf("status %v %v %v", table, at, err)
		}
		stop()
		if n.left != 1 {
			t.Errorf("left %d times", n.left)
		}
	})
}

// When a lease ends nexus is asked, as it may not tell.
func TestLeaseEnd(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(20 * time.Second)}
		f, _, _, stop := follow(t, dir, n)
		ring(f.nudge)
		time.Sleep(nudgePause)
		synctest.Wait()
		n.asked()
		began := time.Now()
		n.set(live(registry.Lease), nil)
		time.Sleep(20*time.Second + leaseSpread)
		synctest.Wait()
		count, times := n.asked()
		if count != 1 || times[0].Sub(began) < 20*time.Second {
			t.Errorf("asked %d times, %v after the last", count, times[0].Sub(began))
		}
		stop()
	})
}

// Without nexus everything stays as it was, also after a restart.
func TestNexusAway(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(time.Second)}
		_, tables, log, stop := follow(t, dir, n)
		synctest.Wait()
		if got := tables(); len(got) != 1 || len(got[0].Gateways) != 2 {
			t.Fatalf("tables %v", got)
		}
		n.set(nil, errors.New("nobody there"))
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := tables(); len(got) != 0 {
			t.Errorf("%d tables of nobody", len(got))
		}
		count, times := n.asked()
		if count < 60 || count > 140 {
			t.Errorf("asked %d times in an hour", count)
		}
		for i, last := 2, len(times)-1; i < last; i++ {
			if d := times[i+1].Sub(times[i]); d < retryMin/2 || d > retryMax {
				t.Errorf("%v from one try to the next", d)
			}
		}
		stop()
		if got := strings.Count(log.String(), "not registered"); got != 1 {
			t.Errorf("%d messages:\n%s", got, log)
		}
		f, tables, log, stop := follow(t, dir, n)
		synctest.Wait()
		if got := tables(); len(got) != 1 || len(got[0].Gateways) != 2 || got[0].Gateways[1].State != registry.Live {
			t.Errorf("after a restart the tables are %v", got)
		}
		if table, at, err := f.Status(); table == nil || !at.IsZero() || err == nil {
			t.Errorf("status %v %v %v", table, at, err)
		}
		n.set(live(registry.Lease), nil)
		f.Register()
		synctest.Wait()
		if !strings.Contains(log.String(), "nexus answers again") || len(tables()) != 1 {
			t.Errorf("the log says\n%s", log)
		}
		stop()
	})
}

// A nexus that lost its memory does not take anybody away; one that says that this
// gateway is not of the mesh does.
func TestNexusSays(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, tables, _, stop := follow(t, dir, n)
		synctest.Wait()
		tables()
		step := func(what string, table *registry.Table, err error, want string) {
			t.Helper()
			n.set(table, err)
			f.Register()
			synctest.Wait()
			got := "nothing"
			if list := tables(); len(list) > 0 {
				got = ""
				for _, g := range list[len(list)-1].Gateways {
					got += g.Name + " " + g.State.String() + " "
				}
			}
			if strings.TrimSpace(got) != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		unheard := live(registry.Lease)
		unheard.Gateways[1].State = registry.Unheard
		step("memory lost", unheard, nil, "a live b live")
		step("still lost", unheard, nil, "a live b live")
		gone := live(registry.Lease)
		gone.Gateways[1].State = registry.Gone
		step("lease ended", gone, nil, "a live b gone")
		step("memory lost", unheard, nil, "a live b gone")
		step("back", live(registry.Lease), nil, "a live b live")
		step("refused", nil, registry.ErrRefused, "nothing")
		step("disabled", nil, registry.ErrDisabled, "")
		step("still disabled", nil, registry.ErrDisabled, "nothing")
		step("back", live(registry.Lease), nil, "a live b live")
		step("unknown", nil, registry.ErrUnknown, "")
		stop()
	})
}

func TestListen(t *testing.T) {
	saved, err := NewSaved(stateDir(t), "a", crypto.PublicKey{1}, crypto.PublicKey{2})
	if err != nil {
		t.Fatal(err)
	}
	f := newFollower(&fakeNexus{}, saved, slog.New(slog.DiscardHandler), func(*registry.Table) {})
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Listen(ctx, conn) }()
	c, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, datagram := range []string{"", "x", strings.Repeat("x", 60000), "nudge"} {
		if _, err := c.Write([]byte(datagram)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-f.nudge:
	case <-time.After(10 * time.Second):
		t.Error("no nudge")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is open: %v", err)
	}
}

// Where nudges come nobody asks without need; where none come, news are followed by
// questions that come soon.
func TestPollSoon(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, _, _, stop := follow(t, dir, n)
		ring(f.nudge)
		time.Sleep(pollMin)
		if count, _ := n.asked(); count > 3 {
			t.Errorf("asked %d times where a nudge came", count)
		}
		f.Register()
		time.Sleep(pollMin)
		if count, _ := n.asked(); count != 4 {
			t.Errorf("asked %d times at a place where no nudge came yet", count)
		}
		time.Sleep(5 * time.Minute)
		news := live(registry.Lease)
		news.Gateways[1].Endpoint = netip.MustParseAddrPort("192.0.2.9:1")
		n.set(news, nil)
		n.asked()
		time.Sleep(2 * pollMax)
		_, times := n.asked()
		if len(times) < 3 || times[1].Sub(times[0]) != pollSoon {
			t.Errorf("asked at %v", times)
		}
		stop()
	})
}

// TestTally counts from the first question on, and forgets one in each span.
func TestTally(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const span = 30 * time.Second
		var c tally
		ask := func(times, want int) {
			t.Helper()
			for range times {
				c.forget(span)
				c.n++
			}
			if c.n != want {
				t.Errorf("%d counted, want %d", c.n, want)
			}
		}
		ask(4, 4)
		time.Sleep(span - 1)
		ask(1, 5)
		time.Sleep(1)
		ask(1, 5)
		time.Sleep(2*span + span/2)
		ask(1, 4)
		time.Sleep(span / 2)
		ask(1, 4)
		time.Sleep(time.Hour + span/2)
		ask(6, 6)
	})
}
