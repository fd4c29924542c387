package number

import (
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
)

// fakeDisk is a disk on which nothing lasts before it is synced: files and names
// have a state that programs see, and one that survives when the power goes.
type fakeDisk struct {
	names, lasting map[string]*inode
	moves          []func(map[string]*inode) // of names, not lasting yet
	full           bool                      // no file can grow
	steps          int                       // what was done so far
	fault          func(step int, what string) fault
	syncs          int
	opened         int           // files that were not closed
	gate           chan struct{} // if there is one, each Sync waits for it
}

// fault is what happens at a step.
type fault int

const (
	none    fault = iota
	failing       // an error; half of it may have happened
	crash         // half of it may have happened, and nothing happens after it
)

var (
	errDisk  = errors.New("disk error")
	errCrash = errors.New("crashed")
)

// inode is a file.
type inode struct {
	seen, lasting []byte
	writes        []change // since the last sync
}

// change is a write, or the removal of all content.
type change struct {
	at   int64
	text []byte
	cut  bool
}

func (c change) apply(b []byte) []byte {
	if c.cut {
		return nil
	}
	if end := int(c.at) + len(c.text); end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[c.at:], c.text)
	return b
}

func newFakeDisk() *fakeDisk {
	return &fakeDisk{names: make(map[string]*inode), lasting: make(map[string]*inode)}
}

// step says what happens now. After a crash it is always an error.
func (d *fakeDisk) step(what string) (half bool, err error) {
	d.steps++
	if d.fault == nil {
		return true, nil
	}
	switch d.fault(d.steps, what) {
	case failing:
		return false, errDisk
	case crash:
		d.fault = func(int, string) fault { return crash }
		return false, errCrash
	}
	return true, nil
}

func (d *fakeDisk) move(f func(map[string]*inode)) {
	f(d.names)
	d.moves = append(d.moves, f)
}

func (d *fakeDisk) open(path string, flag int) (file, error) {
	i := d.names[path]
	if i == nil && flag&os.O_CREATE == 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
	}
	if flag != 0 {
		if _, err := d.step("open"); err != nil {
			return nil, err
		}
	}
	if i == nil {
		i = &inode{}
		d.move(func(names map[string]*inode) { names[path] = i })
	}
	d.opened++
	f := &fakeFile{d: d, i: i}
	if flag&os.O_TRUNC != 0 {
		f.change(change{cut: true})
	}
	return f, nil
}

func (d *fakeDisk) rename(from, to string) error {
	whole, err := d.step("rename")
	if whole || d.half() {
		d.move(func(names map[string]*inode) { names[to] = names[from]; delete(names, from) })
	}
	return err
}

func (d *fakeDisk) syncDir(string) error {
	whole, err := d.step("syncdir")
	if whole || d.half() {
		for _, m := range d.moves {
			m(d.lasting)
		}
		d.moves = nil
	}
	return err
}

// half reports, now so and now so, whether something has happened in spite of an
// error.
func (d *fakeDisk) half() bool { return d.steps%2 == 0 }

// killed returns what the next process finds: all that this one did.
func (d *fakeDisk) killed() *fakeDisk {
	d.fault = nil
	return d
}

// unplugged returns what is found when the power comes back: of what was not synced,
// this and that.
func (d *fakeDisk) unplugged(r *rand.Rand) *fakeDisk {
	next := newFakeDisk()
	for _, m := range d.moves[:r.IntN(len(d.moves)+1)] {
		m(d.lasting)
	}
	copies := make(map[*inode]*inode)
	for name, i := range d.lasting {
		if copies[i] == nil {
			b := i.afterPowerLoss(r)
			copies[i] = &inode{seen: slices.Clone(b), lasting: b}
		}
		next.lasting[name] = copies[i]
	}
	next.names = maps.Clone(next.lasting)
	next.full = d.full
	return next
}

// afterPowerLoss applies some pieces of what was written since the last sync.
func (i *inode) afterPowerLoss(r *rand.Rand) []byte {
	b := slices.Clone(i.lasting)
	for _, c := range i.writes {
		if c.cut {
			if r.IntN(2) == 0 {
				b = nil
			}
			continue
		}
		for from := 0; from < len(c.text); {
			to := from + 1 + r.IntN(len(c.text)-from)
			if r.IntN(3) == 0 {
				to = len(c.text)
			}
			if r.IntN(2) == 0 {
				b = change{at: c.at + int64(from), text: c.text[from:to]}.apply(b)
			}
			from = to
		}
	}
	return b
}

type fakeFile struct {
	d      *fakeDisk
	i      *inode
	closed bool
}

func (f *fakeFile) change(c change) {
	f.i.seen = c.apply(f.i.seen)
	f.i.writes = append(f.i.writes, c)
}

func (f *fakeFile) ReadAt(p []byte, at int64) (int, error) {
	if at >= int64(len(f.i.seen)) {
		return 0, io.EOF
	}
	n := copy(p, f.i.seen[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *fakeFile) WriteAt(p []byte, at int64) (int, error) {
	if f.closed {
		return 0, os.ErrClosed
	}
	whole, err := f.d.step("write")
	text := slices.Clone(p)
	if room := int64(len(f.i.seen)) - at; f.d.full && int64(len(p)) > room {
		whole, err = true, syscall.ENOSPC
		text = text[:max(0, room)]
	}
	if !whole {
		text = text[:f.d.steps*7%(len(text)+1)]
	}
	f.change(change{at: at, text: text})
	if err != nil {
		return len(text), err
	}
	return len(p), nil
}

func (f *fakeFile) Sync() error {
	if f.closed {
		return os.ErrClosed
	}
	whole, err := f.d.step("sync")
	if f.d.gate != nil {
		<-f.d.gate
	}
	f.d.syncs++
	if whole || f.d.half() {
		f.i.lasting, f.i.writes = slices.Clone(f.i.seen), nil
	}
	return err
}

func (f *fakeFile) Close() error {
	if f.closed {
		return os.ErrClosed
	}
	f.closed = true
	f.d.opened--
	return nil
}
