package number

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// maxJournal is more than maxLinks links need.
	maxJournal = 16 << 20
	// slack is how much longer than twice its content a journal may be.
	slack = 64 << 10
	// late is how much smaller than the last number that of a call on its way may be. A
	// client gives each of its calls less time, in ms.
	late = 10_000
)

// Finding is what a call says about who has the client's key.
type Finding int

// The findings.
const (
	// Known is a client that remembers what the server does.
	Known Finding = iota
	// Forgotten is a client that remembers nothing: its state was lost, or the key is
	// used in a second place.
	Forgotten
	// Foreign is a client that does not remember the last call: the key is used in a
	// second place, or the client was put back to an old state.
	Foreign
)

// UsedError says that a number is not greater than the last one. It is an old flight
// that somebody has recorded, or comes late, or the client was put back to an old
// state when its clock had been in the future.
type UsedError struct {
	Number, Last uint64
	// Told says that this client may be told the last number; see Journal.Tell.
	Told bool
	// Late says that the number was not taken before and is hardly older than the last
	// one: calls of a client have changed places on the way.
	Late bool
}

// Error returns both numbers.
func (e *UsedError) Error() string {
	return fmt.Sprintf("transaction number %d is not greater than %d", e.Number, e.Last)
}

// Journal remembers the last number of each client of a server. It may be used by
// several goroutines.
type Journal struct {
	path string
	now  func() time.Time
	disk disk
	lock io.Closer
	made bool
	// turn is held by who writes: f, size, stale and over are its.
	turn  chan struct{}
	f     file
	size  int64
	stale bool // what is on the disk is not what was written: write it anew
	over  bool // it was given back

	mu   sync.Mutex
	last map[ID]uint64    // on the disk, or on its way there
	prev map[ID][2]uint64 // taken before that, greatest first, or the same if it is not known
	told map[ID]time.Time
	next *batch // who comes now; nil: nobody yet
}

// batch is the calls that are written at once.
type batch struct {
	records []record
	before  []uint64 // the number before each
	done    chan struct{}
	err     error
}

// OpenJournal opens the journal at path. If it is not there it is made with the
// first call. Close gives it back.
func OpenJournal(path string, now func() time.Time) (*Journal, error) {
	lock, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("transaction numbers %s: %w", path, err)
	}
	j, err := openJournal(host{}, path, now)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	j.lock = lock
	return j, nil
}

func openJournal(d disk, path string, now func() time.Time) (*Journal, error) {
	j := &Journal{path: path, now: now, disk: d, turn: make(chan struct{}, 1), told: make(map[ID]time.Time)}
	if err := j.load(); err != nil {
		return nil, fmt.Errorf("transaction numbers %s: %w", path, err)
	}
	return j, nil
}

func (j *Journal) load() error {
	f, err := j.disk.open(j.path, 0)
	if errors.Is(err, os.ErrNotExist) {
		j.last, j.prev, j.stale, j.made = make(map[ID]uint64), make(map[ID][2]uint64), true, true
		return nil
	}
	if err != nil {
		return err
	}
	text, err := read(f, maxJournal)
	if err == nil {
		j.last, err = parseJournal(text)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%w: put it back from a backup, or move it away; then flights that "+
			"were recorded before are answered once more, which gives nobody anything", err), f.Close())
	}
	// It may be torn, or not have been on the disk yet when its process was killed.
	j.f, j.stale, j.prev = f, true, make(map[ID][2]uint64)
	for id, n := range j.last {
		j.prev[id] = [2]uint64{n, n}
	}
	return nil
}

// Made reports whether there was no journal.
func (j *Journal) Made() bool { return j.made }

// Last returns the last number that was taken from a client, 0 if there is none.
func (j *Journal) Last(id ID) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last[id]
}

// Accept takes a client's number. When it returns without an error the number is on
// the disk, and is never taken again. The error is a *UsedError if it was used, or
// says why it could not be stored: then, too, the caller must not answer. The finding is
// also about a call that is late: of those that a client makes at once, the first alone
// shows an old memory.
func (j *Journal) Accept(id ID, c Call) (Finding, error) {
	if c.Before >= c.Number {
		return Known, fmt.Errorf("transaction number %d is not greater than %d, the one before it", c.Number, c.Before)
	}
	j.mu.Lock()
	last := j.last[id]
	if c.Number <= last {
		before, late := j.overtaken(id, c.Number)
		used := &UsedError{c.Number, last, j.now().Before(j.told[id]), late}
		j.mu.Unlock()
		return finding(c, before), used
	}
	if _, known := j.last[id]; !known && len(j.last) == maxLinks {
		j.mu.Unlock()
		return Known, fmt.Errorf("transaction numbers %s: it has %d links, and no room for more", j.path, maxLinks)
	}
	j.last[id], j.prev[id] = c.Number, [2]uint64{last, j.prev[id][0]}
	delete(j.told, id)
	b, first := j.join(record{id, c.Number}, last)
	j.mu.Unlock()
	if first {
		j.lead(b)
	} else {
		<-b.done
	}
	return finding(c, last), b.err
}

// overtaken reports whether a call has only been overtaken, by the last one or the last
// two since a client makes up to three at once, and returns the number that was taken
// before it; 0 if not. j.mu is held.
func (j *Journal) overtaken(id ID, n uint64) (before uint64, ok bool) {
	last, prev := j.last[id], j.prev[id]
	if n == last || n == prev[0] || n <= prev[1] || last-n > late {
		return 0, false
	}
	if before = prev[0]; n < before {
		before = prev[1]
	}
	return before, true
}

func finding(c Call, last uint64) Finding {
	switch {
	case c.Before >= last:
		return Known
	case c.Before == 0:
		return Forgotten
	}
	return Foreign
}

// join adds a record to the next batch, and the number before it. The first in it has
// to lead.
func (j *Journal) join(r record, last uint64) (b *batch, first bool) {
	if j.next == nil || len(j.next.records) == maxLinks {
		j.next = &batch{done: make(chan struct{})}
		first = true
	}
	j.next.records = append(j.next.records, r)
	j.next.before = append(j.next.before, last)
	return j.next, first
}

// lead writes a batch, when it is its turn. Until then others join it.
func (j *Journal) lead(b *batch) {
	j.turn <- struct{}{}
	j.mu.Lock()
	if j.next == b {
		j.next = nil
	}
	j.mu.Unlock()
	if b.err = j.write(b.records); b.err != nil {
		b.err = fmt.Errorf("transaction number not stored: %w: the caller is not answered", b.err)
		j.forget(b)
	}
	<-j.turn
	close(b.done)
}

// forget takes back the numbers of a batch: nobody was answered, and a client on a
// serial line sends the same flight again.
func (j *Journal) forget(b *batch) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, r := range slices.Backward(b.records) {
		switch {
		case j.last[r.id] != r.number: // a later one is being written
		case b.before[i] == 0:
			delete(j.last, r.id)
		default:
			j.last[r.id] = b.before[i]
		}
	}
}

func (j *Journal) write(records []record) (err error) {
	switch {
	case j.over:
		return os.ErrClosed
	case j.stale || j.size > j.bound():
		err = j.rewrite()
	default:
		err = j.extend(formatBatch(records))
	}
	j.stale = err != nil
	return err
}

// extend makes a batch last behind those that are there.
func (j *Journal) extend(text []byte) error {
	if _, err := j.f.WriteAt(text, j.size); err != nil {
		return err
	}
	j.size += int64(len(text))
	return j.f.Sync()
}

// bound is how long the journal may become.
func (j *Journal) bound() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return 2*int64(len(journalTag)+headSize+len(j.last)*recordSize) + slack
}

// rewrite replaces the journal by one that has nothing but the last numbers. Those
// of callers who are not in this batch may be among them.
func (j *Journal) rewrite() error {
	text := append([]byte(journalTag), formatBatch(j.snapshot())...)
	f, err := replace(j.disk, j.path, text)
	if err != nil {
		return err
	}
	if j.f != nil {
		j.f.Close() // it has no name any more, and nothing in it is of use
	}
	j.f, j.size = f, int64(len(text))
	return nil
}

func (j *Journal) snapshot() (records []record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for id, number := range j.last {
		records = append(records, record{id, number})
	}
	slices.SortFunc(records, func(a, b record) int { return slices.Compare(a.id[:], b.id[:]) })
	return records
}

// Tell lets a client whose number was used be told the last one, until a time, or
// until it has called with a greater one. Somebody who plays a recorded flight draws
// an answer then, too, which only the client can read.
func (j *Journal) Tell(id ID, until time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.told[id] = until
}

// Close waits for what is being written, and gives the journal back.
func (j *Journal) Close() (err error) {
	j.turn <- struct{}{}
	defer func() { <-j.turn }()
	j.over = true
	if j.f != nil {
		err = j.f.Close()
	}
	if j.lock != nil {
		err = errors.Join(err, j.lock.Close())
	}
	return err
}
