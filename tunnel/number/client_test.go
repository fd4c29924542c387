package number

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var testID = ID{1, 2, 3, 4, 5, 6, 7, 0xff}

const clientPath = "/state/number"

// clock is a clock that is set by hand.
type clock struct{ t time.Time }

func newClock() *clock                   { return &clock{time.UnixMilli(1_800_000_000_000)} }
func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }
func (c *clock) ms() uint64              { return uint64(max(0, c.t.UnixMilli())) }
func openTest(t testing.TB, d disk, c *clock) *Client {
	t.Helper()
	client, err := openClient(d, clientPath, testID, c.now)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func next(t testing.TB, c *Client) Call {
	t.Helper()
	call, err := c.Next()
	if err != nil {
		t.Fatal(err)
	}
	return call
}

func TestClientGoesByClock(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	c := openTest(t, d, at)
	if call := next(t, c); call != (Call{at.ms(), 0}) {
		t.Errorf("the first call is %+v, want the time, and nothing before", call)
	}
	first := at.ms()
	if call := next(t, c); call != (Call{first + 1, first}) {
		t.Errorf("the second call at the same time is %+v", call)
	}
	at.advance(-time.Hour)
	if call := next(t, c); call != (Call{first + 2, first + 1}) {
		t.Errorf("a call after the clock was put back is %+v", call)
	}
	at.advance(2 * time.Hour)
	if call := next(t, c); call != (Call{at.ms(), first + 2}) {
		t.Errorf("a call two hours later is %+v", call)
	}
}

// A clock before 1970 is no time at all.
func TestClientWithoutClock(t *testing.T) {
	c := openTest(t, newFakeDisk(), &clock{time.Unix(-1000, 0)})
	for n := range uint64(3) {
		if call := next(t, c); call != (Call{n + 1, n}) {
			t.Errorf("call %+v, want %d", call, n+1)
		}
	}
}

func TestClientRemembers(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	used := next(t, openTest(t, d, at)).Number
	for _, back := range []time.Duration{0, time.Minute, 365 * 24 * time.Hour} {
		at.advance(-back)
		call := next(t, openTest(t, d, at))
		if call.Number <= used || call.Before < used {
			t.Errorf("after a restart %v earlier the call is %+v, and %d was used", back, call, used)
		}
		used = call.Number
	}
}

// A client that calls all the time waits for the disk once a minute.
func TestClientSparesDisk(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	c := openTest(t, d, at)
	before := d.syncs
	for range 600 {
		next(t, c)
		at.advance(time.Second)
	}
	if n := d.syncs - before; n != 10 {
		t.Errorf("%d writes in 10 minutes, want 10", n)
	}
	at.t = time.UnixMilli(int64(c.limit))
	if before = d.syncs; next(t, c).Number != c.limit || d.syncs != before {
		t.Error("the last number that the disk allows was written again")
	}
}

// However often it crashes, a client stays near the clock.
func TestClientCrashLoop(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	for range 1000 {
		next(t, openTest(t, d, at))
		at.advance(50 * time.Millisecond)
	}
	if call := next(t, openTest(t, d, at)); call.Number > at.ms()+2*ahead {
		t.Errorf("after 1000 crashes in 50 s the number is %d ms ahead of the clock", call.Number-at.ms())
	}
}

func TestClientRaise(t *testing.T) {
	for _, far := range []uint64{0, 10, ahead, ahead + 1, 1 << 40} {
		t.Run(fmt.Sprint(far), func(t *testing.T) {
			d, at := newFakeDisk(), newClock()
			c := openTest(t, d, at)
			last := next(t, c).Number + far
			if err := c.Raise(last); err != nil {
				t.Fatal(err)
			}
			before := d.syncs
			for _, less := range []uint64{c.limit, last, last - 1} { // nothing to do
				if err := c.Raise(min(less, last)); err != nil || d.syncs != before {
					t.Fatalf("raised to %d, then to %d: %d writes, error %v", last, less, d.syncs-before, err)
				}
			}
			call := next(t, openTest(t, d.unplugged(rand.New(rand.NewPCG(1, 1))), at))
			if call.Number <= last || call.Before < last {
				t.Errorf("after a crash the call is %+v, want more than %d", call, last)
			}
			if call := next(t, c); call != (Call{last + 1, last}) {
				t.Errorf("the call is %+v, want %d", call, last+1)
			}
		})
	}
	d := newFakeDisk()
	c := openTest(t, d, newClock())
	d.fault = func(int, string) fault { return failing }
	if err := c.Raise(1 << 60); err == nil {
		t.Error("what could not be stored was raised")
	}
	d.fault = nil
	if call := next(t, c); call.Before != 0 {
		t.Errorf("after that the call is %+v", call)
	}
}

func TestClientEnd(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	c := openTest(t, d, at)
	if err := c.Raise(math.MaxUint64 - 2); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint64{math.MaxUint64 - 1, math.MaxUint64} {
		if call := next(t, c); call.Number != want {
			t.Errorf("number %d, want %d", call.Number, want)
		}
	}
	for _, c := range []*Client{c, openTest(t, d, at)} {
		if _, err := c.Next(); err == nil || !strings.Contains(err.Error(), "there are no more") {
			t.Errorf("error %v", err)
		}
	}
}

// usage is what a client does until its disk fails: it returns what it used.
func usage(d *fakeDisk, at *clock) (used []Call) {
	c, err := openClient(d, clientPath, testID, at.now)
	if err != nil {
		return nil
	}
	for n := range 6 {
		if call, err := c.Next(); err == nil {
			used = append(used, call)
		}
		at.advance(time.Duration(n) * 20 * time.Second)
		if n == 4 {
			c.Raise(at.ms() + 1_000_000)
		}
	}
	return used
}

// TestClientCrashes crashes at every step that touches the disk, as a killed process
// and as one whose power goes, in many ways of what is on the disk afterwards.
func TestClientCrashes(t *testing.T) {
	count := newFakeDisk()
	usage(count, newClock())
	tried := 0
	for step := 1; step <= count.steps+1; step++ {
		for seed := range uint64(60) {
			for _, back := range []time.Duration{0, 365 * 24 * time.Hour} {
				d, at := newFakeDisk(), newClock()
				d.fault = func(n int, _ string) fault {
					if n == step {
						return crash
					}
					return none
				}
				used := usage(d, at)
				if seed == 0 {
					d = d.killed()
				} else {
					d = d.unplugged(rand.New(rand.NewPCG(seed, uint64(step))))
				}
				at.advance(-back)
				call := next(t, openTest(t, d, at))
				tried++
				for _, u := range used {
					if call.Number <= u.Number || call.Before < u.Number {
						t.Fatalf("crash at step %d, seed %d, clock %v back: call %+v after %+v", step, seed, back, call, used)
					}
				}
				// And all that holds on from there.
				d = d.unplugged(rand.New(rand.NewPCG(seed, 1)))
				if again := next(t, openTest(t, d, at)); again.Number <= call.Number || again.Before < call.Number {
					t.Fatalf("crash at step %d, seed %d, clock %v back: call %+v, and after the next crash %+v", step, seed, back, call, again)
				}
			}
		}
	}
	t.Logf("%d crashes at %d steps", tried, count.steps+1)
}

// TestClientErrors lets every step fail once. A number is used or not; the next one
// works.
func TestClientErrors(t *testing.T) {
	count := newFakeDisk()
	openTest(t, count, newClock())
	opened := count.steps
	usage(count, newClock())
	for step := 1; step <= count.steps; step++ {
		d, at := newFakeDisk(), newClock()
		d.fault = func(n int, _ string) fault {
			if n == step {
				return failing
			}
			return none
		}
		used := usage(d, at)
		if step <= opened && (used != nil || d.opened != 0) {
			t.Errorf("step %d: opened in spite of the error; %d files are open", step, d.opened)
		}
		last := uint64(0)
		for _, u := range used {
			if u.Number <= last || u.Before < last {
				t.Fatalf("step %d: calls %+v", step, used)
			}
			last = u.Number
		}
		d.fault = nil
		if call := next(t, openTest(t, d, at)); call.Number <= last || call.Before < last {
			t.Fatalf("step %d: call %+v after %+v", step, call, used)
		}
	}
}

// TestClientErrorsLater lets each step fail when a file is opened that exists, whole
// or damaged.
func TestClientErrorsLater(t *testing.T) {
	for _, damage := range []bool{false, true} {
		steps := 0
		for step := 0; step <= steps; step++ { // 0: none fails
			d, at := newFakeDisk(), newClock()
			used := next(t, openTest(t, d, at))
			if damage {
				d.names[clientPath].seen = nil
			}
			first := d.steps
			d.opened = 0
			d.fault = func(n int, _ string) fault {
				if n == first+step && step > 0 {
					return failing
				}
				return none
			}
			c, err := openClient(d, clientPath, testID, at.now)
			if step == 0 {
				steps = d.steps - first
			}
			if (err == nil) != (step == 0) {
				t.Fatalf("damage %v, step %d: error %v", damage, step, err)
			}
			if err == nil {
				err = c.Close()
				if _, again := c.Next(); again == nil {
					at.advance(time.Hour)
					_, again = c.Next()
					if again == nil {
						t.Error("a number was stored after the end")
					}
				}
				if err != nil || c.Close() == nil {
					t.Errorf("closed: %v, and again without an error", err)
				}
			}
			if d.opened != 0 {
				t.Errorf("damage %v, step %d: %d files are open", damage, step, d.opened)
			}
			d.fault = nil
			if call := next(t, openTest(t, d, at)); !damage && call.Number <= used.Number {
				t.Errorf("step %d: call %+v after %+v", step, call, used)
			}
		}
		if steps < 2 {
			t.Errorf("damage %v: %d steps", damage, steps)
		}
	}
}

// With an error on the disk nothing is used; the message says so.
func TestClientBrokenDisk(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	c := openTest(t, d, at)
	d.fault = func(int, string) fault { return failing }
	for range 3 {
		if _, err := c.Next(); err == nil || !strings.Contains(err.Error(), "transaction number not stored: disk error") {
			t.Errorf("error %v", err)
		}
	}
	d.fault = nil
	if call := next(t, c); call != (Call{at.ms(), 0}) {
		t.Errorf("the first call that works is %+v", call)
	}
}

// A full disk is no trouble for a client that has its file.
func TestClientFullDisk(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	c := openTest(t, d, at)
	d.full = true
	for range 5 {
		at.advance(time.Hour)
		if call := next(t, c); call.Number != at.ms() {
			t.Errorf("call %+v", call)
		}
	}
	d = newFakeDisk()
	d.full = true
	if _, err := openClient(d, clientPath, testID, at.now); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a new file on a full disk: error %v", err)
	}
	d.full = false
	next(t, openTest(t, d, at))
}

// TestClientDamage damages each byte of the two lines: one of them is enough, and
// without both the clock is.
func TestClientDamage(t *testing.T) {
	at := newClock()
	at.advance(24 * 365 * time.Hour) // the future
	d := newFakeDisk()
	c := openTest(t, d, at)
	next(t, c)
	at.advance(time.Hour)
	used := next(t, c).Number
	whole := d.names[clientPath].seen
	length := strings.Index(string(whole), "\n")
	older := int64(block) // the block that does not count
	if c.spare == 0 {
		older = 0
	}
	at.advance(-24 * 365 * time.Hour)
	damaged := func(places ...int64) Call {
		t.Helper()
		d := newFakeDisk()
		b := append([]byte(nil), whole...)
		for _, p := range places {
			b[p] ^= 1
		}
		d.names[clientPath] = &inode{seen: b}
		c := openTest(t, d, at)
		if c.Lost() != (len(places) == 2) {
			t.Errorf("damage at %d: lost is %v", places, c.Lost())
		}
		return next(t, c)
	}
	for n := range int64(length) {
		if call := damaged(older + n); call.Number <= used || call.Before < used {
			t.Errorf("damage in the older line at %d: call %+v, used %d", n, call, used)
		}
		if call := damaged(block - older + n); call.Before == 0 || call.Number < at.ms() {
			t.Errorf("damage in the newer line at %d: call %+v", n, call)
		}
		if call := damaged(n, block+n); call != (Call{at.ms(), 0}) {
			t.Errorf("damage in both lines at %d: call %+v, want the time", n, call)
		}
	}
}

func TestClientOddFiles(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	c := openTest(t, d, at)
	next(t, c)
	good := string(d.names[clientPath].seen)
	for _, tt := range []struct {
		name, text string
		lost       bool
	}{
		{"whole", good, false},
		{"never used", string(fresh(t)), false},
		{"second block missing", good[:block], false},
		{"empty", "", true},
		{"one byte short", strings.TrimRight(good[:block], "\n"), true},
		{"of another link", strings.ReplaceAll(good, testID.String(), "0000000000000000"), true},
		{"zeros", strings.Repeat("\x00", 2*block), true},
		{"short line", "vpnd-number-1 " + testID.String() + "\n", true},
		{"letters for a number", summed("0000000000000000000x"), true},
		{"a short number", summed("1"), true},
		{"a number that is too large", summed("99999999999999999999"), true},
		{"a large one", summed("17446744073709551614"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newFakeDisk()
			d.names[clientPath] = &inode{seen: []byte(tt.text)}
			c := openTest(t, d, at)
			if c.Lost() != tt.lost {
				t.Errorf("lost is %v", c.Lost())
			}
			used := next(t, c)
			if call := next(t, openTest(t, d, at)); call.Number <= used.Number {
				t.Errorf("call %+v after %+v", call, used)
			}
		})
	}
	d.names[clientPath] = &inode{seen: []byte(good + "x")}
	if _, err := openClient(d, clientPath, testID, at.now); err == nil || !strings.Contains(err.Error(), "more than 8192 bytes") {
		t.Errorf("a file that is too long: error %v", err)
	}
}

// fresh returns a file whose client has never called.
func fresh(t *testing.T) []byte {
	d := newFakeDisk()
	openTest(t, d, newClock())
	return d.names[clientPath].seen
}

// summed returns a line with the right checksum.
func summed(limit string) string {
	line := "vpnd-number-1 " + testID.String() + " " + limit
	return line + " " + sum([]byte(line)) + "\n"
}

// The file can be read, and is what the package comment says.
func TestClientFile(t *testing.T) {
	d, at := newFakeDisk(), newClock()
	next(t, openTest(t, d, at))
	text := string(d.names[clientPath].seen)
	lines := strings.Fields(strings.ReplaceAll(strings.TrimSpace(text), " ", "_"))
	want := []string{
		"vpnd-number-1_01020304050607ff_00000000000000000000_",
		"vpnd-number-1_01020304050607ff_00000001800000060000_",
	}
	if len(text) != 2*block || len(lines) != 2 {
		t.Fatalf("%d bytes, %d lines", len(text), len(lines))
	}
	for _, w := range want {
		if !strings.Contains(text, strings.ReplaceAll(w, "_", " ")) {
			t.Errorf("the file has no %q:\n%s", w, lines)
		}
	}
}
