package lab

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Content makes the bytes of one direction of one stream: at least as many
// as are sent, the same ones for the same seed.
type Content func(seed uint64) io.Reader

// Random is Content that does not compress.
func Random(seed uint64) io.Reader { return random(seed) }

// Tree returns Content that repeats a tar archive of the files below dir.
// It keeps the first limit bytes of it in memory, so that a transfer is not
// slowed down by the disk.
func Tree(dir string, limit int) (Content, error) {
	kept := &keeper{limit: limit}
	archive := tar.NewWriter(kept)
	err := archive.AddFS(os.DirFS(dir))
	if err == nil {
		err = archive.Close()
	}
	if err != nil && !errors.Is(err, errFull) {
		return nil, fmt.Errorf("read tree %s: %w", dir, err)
	}
	return func(seed uint64) io.Reader {
		return &cycle{data: kept.data, at: int(seed % uint64(len(kept.data)))}
	}, nil
}

// GoSource returns the directory of the Go source tree, over 100 MB of real
// files for Tree.
func GoSource() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go source: go env: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src"), nil
}

// errFull ends the archive of which enough is kept.
var errFull = errors.New("full")

// keeper keeps what is written up to a limit.
type keeper struct {
	data  []byte
	limit int
}

// Write appends p, or what there is room for and returns errFull.
func (k *keeper) Write(p []byte) (int, error) {
	n := min(len(p), k.limit-len(k.data))
	k.data = append(k.data, p[:n]...)
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

// cycle reads data again and again.
type cycle struct {
	data []byte
	at   int
}

// Read fills p.
func (c *cycle) Read(p []byte) (int, error) {
	n := copy(p, c.data[c.at:])
	c.at = (c.at + n) % len(c.data)
	return n, nil
}

func random(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// pattern returns the bytes of the packet that is told from others by its
// size.
func pattern(size int) []byte {
	p := make([]byte, size)
	_, _ = random(uint64(size)).Read(p) // never fails
	return p
}
