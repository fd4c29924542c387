package number

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	clientTag = "vpnd-number-1"
	// block is what a disk may damage at once when it is switched off.
	block = 4096
	// ahead is how far a limit is from the clock, in ms: about so often a client
	// that calls all the time writes to the disk.
	ahead = 60_000
	// step is how far it is from a number that is ahead of the clock itself, so that
	// a client which crashes again and again runs away from the clock slowly.
	step = 16
)

// Client gives out the numbers of one client. It may be used by several goroutines.
type Client struct {
	id   ID
	path string
	now  func() time.Time
	disk disk
	lock io.Closer
	lost bool

	mu    sync.Mutex
	f     file
	spare int64  // where the block that does not count begins
	limit uint64 // on the disk
	last  uint64 // the greatest number that may have been used
}

// OpenClient opens the numbers of a link in a directory, and makes the file if it is
// not there. Close gives it back.
func OpenClient(dir string, id ID, now func() time.Time) (*Client, error) {
	path := filepath.Join(dir, id.String()+".number")
	lock, err := lockFile(path)
	if err != nil {
		return nil, fmt.Errorf("transaction number %s: %w", path, err)
	}
	c, err := openClient(host{}, path, id, now)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	c.lock = lock
	return c, nil
}

func openClient(d disk, path string, id ID, now func() time.Time) (*Client, error) {
	c := &Client{id: id, path: path, now: now, disk: d}
	if err := c.load(); err != nil {
		return nil, fmt.Errorf("transaction number %s: %w", path, err)
	}
	return c, nil
}

func (c *Client) load() error {
	f, err := c.disk.open(c.path, 0)
	if errors.Is(err, os.ErrNotExist) {
		return c.begin()
	}
	if err != nil {
		return err
	}
	// A process that was killed may have left what is not on the disk yet.
	err = errors.Join(f.Sync(), c.disk.syncDir(c.path))
	if err != nil {
		return errors.Join(err, f.Close())
	}
	text, err := read(f, 2*block)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	valid := false
	for _, at := range []int64{0, block} {
		limit, err := c.parse(text[min(at, int64(len(text))):])
		if err == nil && (!valid || limit > c.limit) {
			valid, c.limit, c.spare = true, limit, block-at
		}
	}
	if !valid { // it is of no use to anybody, and the clock is
		c.lost = true
		f.Close()
		return c.begin()
	}
	c.f, c.last = f, c.limit
	return nil
}

// begin makes a new file.
func (c *Client) begin() (err error) {
	line := c.format(0)
	whole := append(line, bytes.Repeat([]byte{'\n'}, block-len(line))...)
	c.f, err = replace(c.disk, c.path, append(whole, whole...))
	return err
}

// format returns a line.
func (c *Client) format(limit uint64) []byte {
	line := clientTag + " " + c.id.String() + " " + formatNumber(limit)
	return []byte(line + " " + sum([]byte(line)) + "\n")
}

// parse reads the line that a block begins with. Whatever is not exactly what format
// writes is found in the end.
func (c *Client) parse(text []byte) (limit uint64, err error) {
	const at = len(clientTag) + 1 + 2*len(ID{}) + 1
	if len(text) < at+digits {
		return 0, errFormat
	}
	limit = parseNumber(text[at:][:digits])
	if !bytes.HasPrefix(text, c.format(limit)) {
		return 0, errFormat
	}
	return limit, nil
}

// Lost reports whether there was a file that said nothing any more. Its numbers go by
// the clock then, and the server says that it has another memory of this client.
func (c *Client) Lost() bool { return c.lost }

// Next returns a number that was never used. It may be used when Next returns: it is
// on the disk. After an error it was not used, and the next call tries again.
func (c *Client) Next() (Call, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := uint64(max(0, c.now().UnixMilli()))
	if c.last == math.MaxUint64 {
		return Call{}, fmt.Errorf("transaction number %s: there are no more: make a new key with vpnd -x", c.path)
	}
	call := Call{Number: max(c.last+1, now), Before: c.last}
	if call.Number > c.limit {
		limit := max(now+ahead, call.Number+min(step, math.MaxUint64-call.Number))
		if err := c.write(limit); err != nil {
			return Call{}, err
		}
	}
	c.last = call.Number
	return call, nil
}

// Raise lets all numbers that follow be greater than last, which the server has told.
func (c *Client) Raise(last uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last > c.limit {
		if err := c.write(last); err != nil {
			return err
		}
	}
	c.last = max(c.last, last)
	return nil
}

// write makes a limit last, beside the one that counts until then.
func (c *Client) write(limit uint64) error {
	_, err := c.f.WriteAt(c.format(limit), c.spare)
	if err == nil {
		err = c.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("transaction number not stored: %w: without one no server answers", err)
	}
	c.limit, c.spare = limit, block-c.spare
	return nil
}

// Close gives the file back.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.f.Close()
	if c.lock != nil {
		err = errors.Join(err, c.lock.Close())
	}
	return err
}
