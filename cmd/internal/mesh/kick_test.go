package mesh

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

// Who registers at once does not wait, and nudges do not make more than a question a
// second.
func TestKickAndNudge(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, _, _, stop := follow(t, dir, n)
		synctest.Wait()
		n.asked()
		for range 3 {
			time.Sleep(2 * time.Second)
			f.Register()
			synctest.Wait()
			if count, _ := n.asked(); count != 1 {
				t.Errorf("asked %d times at once", count)
			}
		}
		time.Sleep(2 * time.Second)
		began := time.Now()
		ring(f.nudge)
		time.Sleep(nudgeSpread)
		synctest.Wait()
		if count, _ := n.asked(); count != 1 {
			t.Errorf("asked %d times within %v of a nudge", count, time.Since(began))
		}
		for range 10_000 {
			ring(f.nudge)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * nudgePause)
		synctest.Wait()
		count, times := n.asked()
		if count < 10 || count > 13 {
			t.Errorf("asked %d times in 12 s, 10 s of them with nudges", count)
		}
		for i := range times[1:] {
			if d := times[i+1].Sub(times[i]); d < nudgePause {
				t.Errorf("%v from one question to the next", d)
			}
		}
		stop()
	})
}

// Whoever doubts where a peer is has nexus asked soon, some times, and then now and then. It
// does not mean that nudges reach this place, nor does it keep them waiting.
func TestDoubt(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, _, _, stop := follow(t, dir, n)
		time.Sleep(10 * time.Minute)
		n.next()
		time.Sleep(2 * nudgePause)
		f.Doubt()
		f.Doubt()
		time.Sleep(nudgeSpread)
		synctest.Wait()
		if count, _ := n.asked(); count != 1 {
			t.Errorf("asked %d times", count)
		}
		if f.nudged {
			t.Error("it seems to be nudged")
		}
		flap := func(d time.Duration) int {
			for range d / time.Second {
				time.Sleep(time.Second)
				f.Doubt()
			}
			count, _ := n.asked()
			return count
		}
		if count := flap(2 * doubts * time.Second); count < doubts-1 || count > doubts+1 {
			t.Errorf("asked %d times in %d s", count, 2*doubts)
		}
		if count := flap(10 * time.Minute); count < 20 || count > 80 { // and each time after 4, 8 and 16 s
			t.Errorf("asked %d times in 10 minutes", count)
		}
		ring(f.nudge)
		n.next()
		if count := flap(10 * time.Minute); count < 20 || count > 22 {
			t.Errorf("asked %d times in 10 minutes, where nudges come", count)
		}
		for i := range 5 {
			n.next() // just asked
			f.Doubt()
			time.Sleep(time.Second)
			ring(f.nudge)
			if took := n.next(); took > nudgePause {
				t.Errorf("nudge %d: asked after %v", i, took)
			}
			f.Doubt()
		}
		time.Sleep(doubts * doubtPause)
		for i := range doubts {
			n.next()
			f.Doubt()
			if took := n.next(); took > nudgePause+nudgeSpread {
				t.Errorf("doubt %d after a calm time: asked after %v", i, took)
			}
		}
		for range 2 * busy {
			ring(f.nudge)
			n.next()
		}
		f.Doubt()
		if took := n.next(); took < calmPause-nudgePause {
			t.Errorf("asked after %v though there were many nudges", took)
		}
		stop()
	})
}

// Out of doubt nexus is asked again soon, where no nudges come: the peer may be about to
// register.
func TestDoubtGoesOn(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, _, _, stop := follow(t, dir, n)
		time.Sleep(10 * time.Minute)
		n.next()
		f.Doubt()
		n.next()
		for i := range 4 {
			if took := n.next().Round(time.Second); took != pollSoon<<i {
				t.Errorf("question %d comes after %v", i, took)
			}
		}
		n.next()
		f.Doubt()
		time.Sleep(time.Millisecond)
		synctest.Wait()
		doubted := f.doubted.n
		f.Register()
		synctest.Wait()
		if f.doubted.n != doubted {
			t.Error("it has asked out of doubt")
		}
		stop()
	})
}

// A question that hangs on an old address does not hold up the new one.
func TestKickHanging(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease), hangs: true}
		f, tables, log, stop := follow(t, dir, n)
		time.Sleep(time.Second)
		n.mu.Lock()
		n.hangs = false
		n.mu.Unlock()
		began := time.Now()
		f.Register()
		synctest.Wait()
		if got := tables(); len(got) == 0 || time.Since(began) > 0 {
			t.Errorf("%d tables after %v", len(got), time.Since(began))
		}
		if log.Len() > 0 {
			t.Errorf("the log says %s", log)
		}
		if count, _ := n.asked(); count > 3 {
			t.Errorf("asked %d times", count)
		}
		stop()
	})
}

// Who cannot wait may say so at any moment, also while a table is being saved.
func TestKickAtTable(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		saved, err := NewSaved(dir, "a", crypto.PublicKey{1}, crypto.PublicKey{2})
		if err != nil {
			t.Fatal(err)
		}
		n := &fakeNexus{table: live(registry.Lease)}
		var f *Follower
		kick := sync.OnceFunc(func() { f.Register() })
		f = newFollower(n, saved, slog.New(slog.DiscardHandler), func(*registry.Table) { kick() })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		synctest.Wait()
		if count, _ := n.asked(); count != 2 {
			t.Errorf("asked %d times at once", count)
		}
		time.Sleep(pollSoon)
		synctest.Wait()
		if count, _ := n.asked(); count != 1 {
			t.Errorf("asked %d times soon", count)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
