package tunnel

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// dials counts how many attempts are under way.
type dials struct {
	mu        sync.Mutex
	now, most int
}

// count wraps a dial.
func (d *dials) count(dial Dial) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		d.add(1)
		defer d.add(-1)
		return dial(ctx)
	}
}

// underWay returns how many attempts are under way, and how many there were at
// once at most.
func (d *dials) underWay() (now, most int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now, d.most
}

func (d *dials) add(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now += n
	d.most = max(d.most, d.now)
}

// TestAttemptsOverlap lets the first attempt be slow: the second overtakes it,
// and the first is given up without ever having been confirmed.
func TestAttemptsOverlap(t *testing.T) {
	sim(t, "the second wins", func(t *testing.T) {
		c := testConfig(t)
		server, r := simServer(t, c)
		var d dials
		delays := make(chan time.Duration, 3)
		delays <- 450 * time.Millisecond
		delays <- 50 * time.Millisecond
		delays <- 5 * time.Second
		c.Servers = []Dial{d.count(func(ctx context.Context) (net.Conn, error) {
			select {
			case <-time.After(<-delays):
				return r.dial(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})}
		begin := time.Now()
		client := start(t, c)
		await(t, client.up, "link")
		if took := time.Since(begin); took != 150*time.Millisecond {
			t.Errorf("up after %v, want 150 ms", took)
		}
		await(t, server.up, "link")
		passes(t, server, client)
		time.Sleep(time.Minute)
		now, most := d.underWay()
		if s := server.Stats(); s.Links != 1 || now != 0 || most != 2 {
			t.Errorf("%d links, %d attempts under way, %d at once", s.Links, now, most)
		}
	})
	sim(t, "two succeed", func(t *testing.T) {
		c := testConfig(t)
		server, r := simServer(t, c)
		same := time.Now().Add(150 * time.Millisecond)
		c.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
			time.Sleep(time.Until(same))
			return r.dial(ctx)
		}}
		client := start(t, c)
		await(t, client.up, "link")
		await(t, server.up, "link")
		passes(t, server, client)
		time.Sleep(lobbyTimeout)
		if s := server.Stats(); s.Links != 1 {
			t.Errorf("%d links", s.Links)
		}
	})
	sim(t, "at most three", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		r.become(roadDead)
		var d dials
		c.Servers = []Dial{d.count(r.dial)}
		start(t, c)
		most := 0
		for range 5000 {
			time.Sleep(331 * time.Millisecond)
			synctest.Wait() // whoever was given up is gone
			now, _ := d.underWay()
			most = max(most, now)
		}
		if most != maxAttempts {
			t.Errorf("%d attempts at once, want %d", most, maxAttempts)
		}
	})
}

// TestStuckServer has a first server that takes connections and says nothing.
func TestStuckServer(t *testing.T) {
	sim(t, "second server", func(t *testing.T) {
		c := testConfig(t)
		server, r := simServer(t, c)
		stuck := newRoad()
		c.Servers = []Dial{stuck.dial, r.dial}
		begin := time.Now()
		client := start(t, c)
		await(t, client.up, "link")
		if took := time.Since(begin); took > time.Second {
			t.Errorf("up after %v", took)
		}
		await(t, server.up, "link")
		passes(t, server, client)
		for range len(stuck.pipes) {
			conn := await(t, stuck.arrived, "caller").(*pipeEnd)
			if closed, abrupt := conn.peer.isClosed(); !closed || !abrupt {
				t.Errorf("attempt on the first server: closed is %v, at once %v", closed, abrupt)
			}
		}
	})
	sim(t, "refuses", func(t *testing.T) {
		c := testConfig(t)
		_, r := simServer(t, c)
		first := newRoad()
		first.become(roadRefused)
		c.Servers = []Dial{first.dial, r.dial}
		begin := time.Now()
		client := start(t, c)
		await(t, client.up, "link")
		if took := time.Since(begin); took != eager[1] {
			t.Errorf("up after %v, want %v", took, eager[1])
		}
	})
}

// TestFixedPort sees that a client with one port has one attempt at a time, and
// gives a slow path the time that it needs.
func TestFixedPort(t *testing.T) {
	sim(t, "one at a time", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		r.become(roadDead)
		var d dials
		c.Servers, c.FixedPort = []Dial{d.count(r.dial)}, true
		start(t, c)
		time.Sleep(20 * time.Minute)
		_, most := d.underWay()
		if n := len(r.dialled()); most != 1 || n < 100 {
			t.Errorf("%d attempts at once, %d in all", most, n)
		}
	})
	sim(t, "quick", func(t *testing.T) {
		c := testConfig(t)
		c.FixedPort = true
		_, client, r := simPair(t, c, c)
		time.Sleep(goodSession)
		r.become(roadDead)
		r.pipe(0).reset()
		time.Sleep(700 * time.Millisecond)
		r.become(roadOpen)
		begin := time.Now()
		await(t, client.up, "link")
		if took := time.Since(begin); took > 300*time.Millisecond {
			t.Errorf("back after %v", took)
		}
	})
	sim(t, "slow path", func(t *testing.T) {
		c := testConfig(t)
		_, r := simServer(t, c)
		c.FixedPort = true
		c.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
			select {
			case <-time.After(3 * time.Second):
				return r.dial(ctx)
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
		begin := time.Now()
		client := start(t, c)
		await(t, client.up, "link")
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("up after %v", took)
		}
	})
}

// TestAttemptEnds lets a server that takes connections say nothing: each attempt
// has its time, and leaves nothing in the kernel.
func TestAttemptEnds(t *testing.T) {
	sim(t, "no answer", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers, c.FixedPort = []Dial{r.dial}, true
		e := start(t, c)
		time.Sleep(time.Minute)
		synctest.Wait()
		e.log.says(t, 1, "no answer: wrong key, address filter, or not a vpnd")
		for i := range len(r.dialled()) - 1 {
			if closed, abrupt := r.pipe(i).client.isClosed(); !closed || !abrupt {
				t.Errorf("attempt %d: closed is %v, at once %v", i, closed, abrupt)
			}
		}
	})
	sim(t, "false answer", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{r.dial}
		e := start(t, c)
		conn := await(t, r.arrived, "caller")
		r.become(roadRefused)
		conn.Write(make([]byte, 128))
		synctest.Wait()
		e.log.says(t, 1, "answer is not authentic: wrong key, or not a vpnd")
	})
}
