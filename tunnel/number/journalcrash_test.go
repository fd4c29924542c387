package number

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// serving is what a server does until its disk fails: it returns what it answered.
func serving(d *fakeDisk) (answered []record) {
	j, err := openJournal(d, journalPath, newClock().now)
	if err != nil {
		return nil
	}
	for n := range uint64(4) {
		for _, id := range []ID{testID, {2}, {3}} {
			if _, err := j.Accept(id, Call{10 * (n + 1), n}); err == nil {
				answered = append(answered, record{id, 10 * (n + 1)})
			}
		}
	}
	j.turn <- struct{}{}
	j.stale = true // as after an error: write it anew
	<-j.turn
	for n := range uint64(2) {
		if _, err := j.Accept(testID, Call{100 + n, n}); err == nil {
			answered = append(answered, record{testID, 100 + n})
		}
	}
	return answered
}

// TestJournalCrashes crashes at every step that touches the disk, as a killed process
// and as one whose power goes, in many ways of what is on the disk afterwards. What
// was answered is never answered again, and what is new always is.
func TestJournalCrashes(t *testing.T) {
	count := newFakeDisk()
	serving(count)
	tried := 0
	for step := 1; step <= count.steps+1; step++ {
		for seed := range uint64(80) {
			d := newFakeDisk()
			d.fault = func(n int, _ string) fault {
				if n == step {
					return crash
				}
				return none
			}
			answered := serving(d)
			if seed == 0 {
				d = d.killed()
			} else {
				d = d.unplugged(rand.New(rand.NewPCG(seed, uint64(step))))
			}
			j, err := openJournal(d, journalPath, newClock().now)
			if err != nil {
				t.Fatalf("crash at step %d, seed %d: locked out: %v", step, seed, err)
			}
			tried++
			for _, r := range answered {
				refused(t, j, r.id, r.number)
			}
			for _, id := range []ID{testID, {2}, {3}} {
				accept(t, j, id, 1000)
			}
			// And all that holds on from there.
			j = openTestJournal(t, d.unplugged(rand.New(rand.NewPCG(seed, 1))))
			refused(t, j, testID, 1000)
			accept(t, j, testID, 1001)
		}
	}
	t.Logf("%d crashes at %d steps", tried, count.steps+1)
}

// TestJournalErrors lets each step fail once. Who gets the error is not answered, and
// those after it are.
func TestJournalErrors(t *testing.T) {
	count := newFakeDisk()
	all := len(serving(count))
	for step := 1; step <= count.steps; step++ {
		for seed := range uint64(50) {
			d := newFakeDisk()
			d.fault = func(n int, _ string) fault {
				if n == step {
					return failing
				}
				return none
			}
			answered := serving(d)
			if len(answered) != all-1 {
				t.Fatalf("step %d: %d calls answered, want %d", step, len(answered), all-1)
			}
			d.fault = nil
			if d.opened != 1 {
				t.Fatalf("step %d: %d files are open, want the journal", step, d.opened)
			}
			j := openTestJournal(t, d.unplugged(rand.New(rand.NewPCG(seed, uint64(step)))))
			for _, r := range answered {
				refused(t, j, r.id, r.number)
			}
			accept(t, j, testID, 1000)
		}
	}
}

// On a full disk nobody is answered, and the error says so. When there is room again
// all goes on by itself.
func TestJournalFullDisk(t *testing.T) {
	d := newFakeDisk()
	j := openTestJournal(t, d)
	accept(t, j, testID, 10)
	d.full = true
	for n := range uint64(3) {
		if _, err := j.Accept(testID, Call{20 + n, 0}); err == nil || !strings.Contains(err.Error(), "transaction number not stored: no space left on device: the caller is not answered") {
			t.Errorf("error %v", err)
		}
	}
	refused(t, j, testID, 10)
	d.full = false
	accept(t, j, testID, 22) // a client on a serial line sends it again
	refused(t, j, testID, 22)
	accept(t, j, testID, 30)
	j = openTestJournal(t, d.unplugged(rand.New(rand.NewPCG(1, 1))))
	refused(t, j, testID, 30)
}

// What was not stored leaves no trace, whoever it came from and in what order; what
// came after it does.
func TestJournalForgets(t *testing.T) {
	other, new := ID{2}, ID{3}
	d := newFakeDisk()
	j := openTestJournal(t, d)
	accept(t, j, testID, 10)
	accept(t, j, other, 5)
	d.full = true
	b, _ := j.join(record{testID, 11}, 10)
	j.join(record{other, 6}, 5)
	j.join(record{testID, 12}, 11)
	j.join(record{new, 1}, 0)
	j.last[testID], j.last[other], j.last[new] = 12, 7, 1 // 7 waits for the next batch
	j.lead(b)
	if want := map[ID]uint64{testID: 10, other: 7}; b.err == nil || !maps.Equal(j.last, want) {
		t.Errorf("error %v, numbers %v, want %v", b.err, j.last, want)
	}
}

// TestJournalShared lets a thousand clients call at once: nobody waits for a sync of
// his own.
func TestJournalShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDisk()
		j := openTestJournal(t, d)
		accept(t, j, testID, 1)
		d.gate, d.syncs = make(chan struct{}), 0
		var calls sync.WaitGroup
		failed := make(chan error, 1000)
		for n := range 1000 {
			calls.Go(func() {
				_, err := j.Accept(ID{1, byte(n), byte(n >> 8)}, Call{5, 0})
				failed <- err
			})
			if n == 0 {
				synctest.Wait() // the first has begun
			}
		}
		synctest.Wait()
		if len(failed) > 0 {
			t.Errorf("%d calls were answered before anything was on the disk", len(failed))
		}
		close(d.gate)
		calls.Wait()
		close(failed)
		for err := range failed {
			if err != nil {
				t.Error(err)
			}
		}
		if d.syncs != 2 {
			t.Errorf("%d syncs for 1000 callers, want 2", d.syncs)
		}
		d.gate = nil
		j = openTestJournal(t, d.unplugged(rand.New(rand.NewPCG(1, 1))))
		for n := range 1000 {
			refused(t, j, ID{1, byte(n), byte(n >> 8)}, 5)
		}
	})
}

// An error reaches all of a batch, and nobody else.
func TestJournalSharedError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFakeDisk()
		j := openTestJournal(t, d)
		accept(t, j, testID, 1)
		d.gate = make(chan struct{})
		fail := d.steps + 3 // the write of the second batch
		d.fault = func(n int, _ string) fault {
			if n == fail {
				return failing
			}
			return none
		}
		errs := make([]error, 10)
		var calls sync.WaitGroup
		for n := range errs {
			calls.Go(func() { _, errs[n] = j.Accept(ID{byte(n + 1)}, Call{5, 0}) })
			if n == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		close(d.gate)
		calls.Wait()
		for n, err := range errs {
			if (err == nil) != (n == 0) {
				t.Errorf("caller %d: error %v", n, err)
			}
		}
		d.gate = nil
		accept(t, j, testID, 10)
	})
}

// TestJournalDamage cuts the journal at each length and turns each bit round. A torn
// end is normal; all else is an error, since somebody may rely on it.
func TestJournalDamage(t *testing.T) {
	fd := newFakeDisk()
	j := openTestJournal(t, fd)
	var ends []int
	for n := range uint64(3) {
		accept(t, j, testID, 10*(n+1))
		ends = append(ends, len(fd.names[journalPath].seen))
	}
	whole := fd.names[journalPath].seen
	load := func(text []byte) (*Journal, error) {
		d := newFakeDisk()
		d.names[journalPath] = &inode{seen: append([]byte(nil), text...)}
		return openJournal(d, journalPath, newClock().now)
	}
	for n := range whole {
		j, err := load(whole[:n])
		if n < len(journalTag) {
			if err == nil || !strings.Contains(err.Error(), "it does not begin with") {
				t.Errorf("cut at %d: error %v", n, err)
			}
			continue
		}
		want := uint64(0)
		for i, end := range ends {
			if n >= end {
				want = 10 * (uint64(i) + 1)
			}
		}
		if err != nil || j.Last(testID) != want {
			t.Fatalf("cut at %d: last %d, error %v, want %d", n, j.Last(testID), err, want)
		}
		accept(t, j, testID, 100)
		refused(t, openTestJournal(t, j.disk), testID, 100)
	}
	for n := range whole { // a byte too many
		if n < len(journalTag) || n > ends[1] {
			continue
		}
		if j, err := load(slices.Insert(slices.Clone(whole), n, 'x')); err == nil || !strings.Contains(err.Error(), "it is damaged") {
			t.Fatalf("a byte more at %d: error %v, last %d", n, err, j.Last(testID))
		}
	}
	for bit := range 8 * len(whole) {
		b := append([]byte(nil), whole...)
		b[bit/8] ^= 1 << (bit % 8)
		j, err := load(b)
		switch {
		case bit/8 < ends[1]: // a whole batch follows
			if err == nil {
				t.Fatalf("bit %d: no error, last %d", bit, j.Last(testID))
			}
			if bit/8 >= len(journalTag) && !strings.Contains(err.Error(), fmt.Sprintf("%s: it is damaged at byte ", journalPath)) {
				t.Fatalf("bit %d: error %v", bit, err)
			}
		case err != nil || j.Last(testID) != 20:
			t.Fatalf("bit %d: last %d, error %v", bit, j.Last(testID), err)
		}
	}
}
