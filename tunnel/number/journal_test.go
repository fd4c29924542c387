package number

import (
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const journalPath = "/state/numbers"

func openTestJournal(t testing.TB, d disk) *Journal {
	t.Helper()
	j, err := openJournal(d, journalPath, newClock().now)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func accept(t testing.TB, j *Journal, id ID, n uint64) {
	t.Helper()
	if _, err := j.Accept(id, Call{n, n - 1}); err != nil {
		t.Fatalf("%v: number %d: %v", id, n, err)
	}
}

func refused(t testing.TB, j *Journal, id ID, n uint64) {
	t.Helper()
	var used *UsedError
	if _, err := j.Accept(id, Call{n, n - 1}); !errors.As(err, &used) {
		t.Fatalf("%v: number %d again: error %v", id, n, err)
	}
}

func TestJournalOrder(t *testing.T) {
	d := newFakeDisk()
	j := openTestJournal(t, d)
	if !j.Made() {
		t.Error("a new journal is not new")
	}
	other := ID{9}
	for range 2 {
		last := j.Last(testID)
		accept(t, j, testID, last+10)
		refused(t, j, testID, last+10)
		refused(t, j, testID, last+9)
		refused(t, j, testID, 1)
		accept(t, j, testID, last+11)
		accept(t, j, other, last+5) // each has numbers of its own
		if j.Last(testID) != last+11 || j.Last(other) != last+5 || j.Last(ID{7}) != 0 {
			t.Errorf("last numbers %d and %d", j.Last(testID), j.Last(other))
		}
		j = openTestJournal(t, d.unplugged(rand.New(rand.NewPCG(1, 1))))
		if j.Made() {
			t.Error("the journal is new after a restart")
		}
		d = j.disk.(*fakeDisk)
	}
	_, err := j.Accept(testID, Call{21, 3})
	if want := "transaction number 21 is not greater than 22"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// Calls that change places on the way are told from those that are played again.
func TestJournalLate(t *testing.T) {
	const now = 1_000_000
	for _, tt := range []struct {
		name  string
		taken []uint64
		call  uint64
		late  bool
	}{
		{"overtaken", []uint64{now, now + 5000}, now + 4000, true},
		{"overtaken by the first", []uint64{now}, now - 1, true},
		{"the last again", []uint64{now, now + 5000}, now + 5000, false},
		{"the one before it again", []uint64{now, now + 5000}, now, false},
		{"right after the one before it", []uint64{now, now + 5000}, now + 1, true},
		{"before the one before it", []uint64{now, now + 5000}, now - 1, true},
		{"overtaken by two", []uint64{1, now, now + 5000}, now - 1, true},
		{"before all that is known", []uint64{now, now + 10, now + 20}, now - 1, false},
		{"the one before that again", []uint64{now, now + 10, now + 20}, now, false},
		{"as late as can be", []uint64{1, now}, now - late, true},
		{"later", []uint64{1, now}, now - late - 1, false},
	} {
		d := newFakeDisk()
		j := openTestJournal(t, d)
		for _, n := range tt.taken {
			accept(t, j, testID, n)
		}
		for _, again := range []bool{false, true} {
			if again { // what was taken before the last one is not known
				j = openTestJournal(t, d.killed())
			}
			var used *UsedError
			if _, err := j.Accept(testID, Call{tt.call, 0}); !errors.As(err, &used) || used.Late != (tt.late && !again) {
				t.Errorf("%s, after a restart: %v: error %+v", tt.name, again, err)
			}
		}
	}
	// A number that could not be stored is as good as not taken.
	for _, first := range []bool{true, false} {
		d := newFakeDisk()
		j := openTestJournal(t, d)
		if !first {
			accept(t, j, testID, now-1000)
		}
		d.fault = func(int, string) fault { return failing }
		if _, err := j.Accept(testID, Call{now, 0}); err == nil {
			t.Fatal("a number was stored on a disk that fails")
		}
		d.fault = nil
		accept(t, j, testID, now+1000)
		var used *UsedError
		if _, err := j.Accept(testID, Call{now, 0}); !errors.As(err, &used) || !used.Late {
			t.Errorf("error %v", err)
		}
	}
}

// A greater number is taken whatever else a client says; what it says shows whether
// somebody else has its key.
func TestJournalFindings(t *testing.T) {
	for _, tt := range []struct {
		name string
		call Call
		want Finding
	}{
		{"the first call", Call{100, 0}, Known},
		{"the next", Call{200, 100}, Known},
		{"after one that got lost", Call{300, 299}, Known},
		{"after a crash, with a limit", Call{500, 450}, Known},
		{"with an old memory", Call{600, 499}, Foreign},
		{"with none", Call{700, 0}, Forgotten},
		{"then with it", Call{701, 700}, Known},
	} {
		j := openTestJournal(t, newFakeDisk())
		if tt.call.Number > 100 {
			accept(t, j, testID, tt.call.Number-100)
		}
		if got, err := j.Accept(testID, tt.call); got != tt.want || err != nil {
			t.Errorf("%s: finding %v, error %v; want %v", tt.name, got, err, tt.want)
		}
	}
	j := openTestJournal(t, newFakeDisk())
	for _, c := range []Call{{0, 0}, {5, 5}, {5, 6}} {
		if _, err := j.Accept(testID, c); err == nil || !strings.Contains(err.Error(), "the one before it") {
			t.Errorf("%+v: error %v", c, err)
		}
	}
	if j.Last(testID) != 0 {
		t.Error("a call that makes no sense counts")
	}
}

// A client that was put back makes several calls at once. The first of them shows what
// the client is, though the others come before it.
func TestJournalFindingsLate(t *testing.T) {
	const now = 1_000_000
	for _, tt := range []struct {
		name  string
		taken []uint64 // besides 5, the last call of better days
		call  Call
		want  Finding
	}{
		{"overtaken, with an old memory", []uint64{now + 1}, Call{now, 4}, Foreign},
		{"by two", []uint64{now + 1, now + 2}, Call{now, 4}, Foreign},
		{"by two that have changed places", []uint64{now + 2}, Call{now + 1, now}, Known},
		{"with no memory", []uint64{now + 1}, Call{now, 0}, Forgotten},
		{"with its memory", []uint64{now + 1}, Call{now, 5}, Known},
		{"by two, with its memory", []uint64{now + 1, now + 2}, Call{now, 5}, Known},
		{"recorded", []uint64{now, now + 1}, Call{now, 4}, Known},
	} {
		j := openTestJournal(t, newFakeDisk())
		for _, n := range append([]uint64{5}, tt.taken...) {
			accept(t, j, testID, n)
		}
		var used *UsedError
		if got, err := j.Accept(testID, tt.call); got != tt.want || !errors.As(err, &used) {
			t.Errorf("%s: finding %v, error %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

// Two machines with copies of one client's files: the server notices with the second
// one's first call.
func TestCloneIsFound(t *testing.T) {
	at := newClock()
	d := newFakeDisk()
	original := openTest(t, d, at)
	j := openTestJournal(t, newFakeDisk())
	call := func(c *Client) Finding {
		at.advance(10 * time.Minute)
		f, err := j.Accept(testID, next(t, c))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := call(original); f != Known {
		t.Errorf("the original: finding %v", f)
	}
	copied := &fakeDisk{names: map[string]*inode{clientPath: {seen: append([]byte(nil), d.names[clientPath].seen...)}}}
	if f := call(original); f != Known {
		t.Errorf("the original after the copy was made: finding %v", f)
	}
	clone := openTest(t, copied, at)
	if f := call(clone); f != Foreign {
		t.Errorf("the copy: finding %v", f)
	}
	if f := call(original); f != Foreign {
		t.Errorf("the original after the copy: finding %v", f)
	}
	if f := call(original); f != Known {
		t.Errorf("the original alone again: finding %v", f)
	}
	if f := call(openTest(t, newFakeDisk(), at)); f != Forgotten {
		t.Errorf("the key alone: finding %v", f)
	}
}

func TestJournalTell(t *testing.T) {
	at := newClock()
	j, err := openJournal(newFakeDisk(), journalPath, at.now)
	if err != nil {
		t.Fatal(err)
	}
	told := func(n uint64) bool {
		t.Helper()
		var used *UsedError
		if _, err := j.Accept(testID, Call{n, 0}); !errors.As(err, &used) || used.Last != 1000 || used.Number != n {
			t.Fatalf("error %v", err)
		}
		return used.Told
	}
	accept(t, j, testID, 1000)
	if told(10) {
		t.Error("a client is told without leave")
	}
	j.Tell(ID{9}, at.now().Add(time.Hour))
	if told(10) {
		t.Error("a client is told with another one's leave")
	}
	j.Tell(testID, at.now().Add(time.Hour))
	if !told(10) || !told(11) {
		t.Error("a client is not told")
	}
	at.advance(time.Hour)
	if told(12) {
		t.Error("a client is told after the time")
	}
	j.Tell(testID, at.now().Add(time.Hour))
	accept(t, j, testID, 1001)
	_, err = j.Accept(testID, Call{13, 0})
	if used := (*UsedError)(nil); !errors.As(err, &used) || used.Told {
		t.Errorf("a client is told after it called with a greater number: %v", err)
	}
}

// The journal does not grow without bound, and what it says stays.
func TestJournalBounded(t *testing.T) {
	d := newFakeDisk()
	j := openTestJournal(t, d)
	longest := 0
	for n := range uint64(10_000) {
		accept(t, j, ID{byte(n % 50)}, n+1)
		longest = max(longest, len(d.names[journalPath].seen))
	}
	content := len(journalTag) + headSize + 50*recordSize
	if limit := 2*content + slack + headSize + recordSize; longest > limit {
		t.Errorf("a journal of 50 links grew to %d bytes, more than %d", longest, limit)
	}
	if longest < slack {
		t.Errorf("it was written anew at %d bytes already", longest)
	}
	if len(d.names) != 1 {
		t.Errorf("%d files are left", len(d.names))
	}
	j = openTestJournal(t, d)
	for n := range uint64(50) {
		refused(t, j, ID{byte(n)}, 9950+n+1)
	}
}

func TestJournalClose(t *testing.T) {
	d := newFakeDisk()
	j := openTestJournal(t, d)
	accept(t, j, testID, 1)
	if err := j.Close(); err != nil || d.opened != 0 {
		t.Fatalf("closed: %v, %d files are open", err, d.opened)
	}
	if err := j.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed again: %v", err)
	}
	if _, err := j.Accept(testID, Call{2, 1}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	refused(t, openTestJournal(t, d), testID, 1)
	accept(t, openTestJournal(t, d), testID, 2)
	d = newFakeDisk()
	j = openTestJournal(t, d)
	if err := j.Close(); err != nil {
		t.Errorf("close an unused one: %v", err)
	}
	if _, err := j.Accept(testID, Call{2, 1}); !errors.Is(err, os.ErrClosed) || len(d.names) > 0 {
		t.Errorf("error %v, files %v", err, d.names)
	}
}

func TestJournalTooManyLinks(t *testing.T) {
	j := openTestJournal(t, newFakeDisk())
	for n := range maxLinks {
		j.last[ID{byte(n), byte(n >> 8), byte(n >> 16)}] = 1
	}
	if _, err := j.Accept(ID{0, 0, 0, 1}, Call{5, 0}); err == nil || !strings.Contains(err.Error(), "no room for more") {
		t.Errorf("error %v", err)
	}
	accept(t, j, ID{1}, 5)
	if most := j.bound() + int64(headSize+maxLinks*recordSize); most > maxJournal {
		t.Errorf("the largest journal has %d bytes, more than it may", most)
	}
	refused(t, openTestJournal(t, d(j)), ID{1}, 5)
}

// A batch is no longer than a batch can be. Who comes then makes the next one, which
// the end of the first does not end.
func TestJournalFullBatch(t *testing.T) {
	j := openTestJournal(t, newFakeDisk())
	accept(t, j, testID, 1)
	full, first := j.join(record{testID, 2}, 1)
	if !first {
		t.Fatal("the first in a batch does not lead it")
	}
	full.records = make([]record, maxLinks)
	next, first := j.join(record{testID, 3}, 2)
	if next == full || !first {
		t.Fatalf("batch of %d records, first %v", len(next.records), first)
	}
	full.records = []record{{testID, 2}}
	j.lead(full)
	if again, first := j.join(record{testID, 4}, 3); again != next || first {
		t.Error("the end of one batch has ended the next")
	}
	j.lead(next)
	if next.err != nil || full.err != nil {
		t.Errorf("errors %v, %v", full.err, next.err)
	}
	j = openTestJournal(t, j.disk)
	if last := j.Last(testID); last != 4 {
		t.Errorf("last %d", last)
	}
}

func TestEmptyBatch(t *testing.T) {
	text := formatBatch(nil)
	if records, size, err := parseBatch(text); err != nil || size != len(text) || len(records) != 0 {
		t.Errorf("%v, %d, %v", records, size, err)
	}
}

func d(j *Journal) *fakeDisk { return j.disk.(*fakeDisk) }

func TestJournalFile(t *testing.T) {
	d := newFakeDisk()
	j := openTestJournal(t, d)
	accept(t, j, testID, 7)
	accept(t, j, testID, 18446744073709551615)
	body := func(n string) string { return "01020304050607ff " + n + "\n" }
	batch := func(n string) string { return "batch 000001 " + sum([]byte("000001\n"+body(n))) + "\n" + body(n) }
	want := "vpnd-numbers-1\n" + batch("00000000000000000007") + batch("18446744073709551615")
	if got := string(d.names[journalPath].seen); got != want {
		t.Errorf("the journal is\n%swant\n%s", got, want)
	}
	// Written anew it has one batch, in the order of the ids.
	for n := range byte(20) {
		j.last[ID{20 - n}] = 1
	}
	j.stale = true
	accept(t, j, ID{0xff}, 7)
	lines := strings.Split(strings.TrimSpace(string(d.names[journalPath].seen)), "\n")
	if len(lines) != 2+22 || !strings.HasPrefix(lines[1], "batch 000022 ") || !slices.IsSorted(lines[2:]) {
		t.Errorf("written anew it is\n%s", strings.Join(lines, "\n"))
	}
}

func TestJournalTooLong(t *testing.T) {
	d := newFakeDisk()
	d.names[journalPath] = &inode{seen: make([]byte, maxJournal+1)}
	_, err := openJournal(d, journalPath, newClock().now)
	if err == nil || !strings.Contains(err.Error(), "more than 16777216 bytes") || !strings.Contains(err.Error(), "put it back from a backup") {
		t.Errorf("error %v", err)
	}
}
