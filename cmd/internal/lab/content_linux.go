package lab

import (
	"archive/tar"
	"bufio"
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

// treeBuffer joins the small writes of an archive to ones worth a system call.
const treeBuffer = 64 << 10

// Content makes the bytes of one direction of one stream: at least as many
// as are sent, the same ones for the same seed.
type Content func(seed uint64) io.ReadCloser

// Random is Content that does not compress.
func Random(seed uint64) io.ReadCloser {
	return io.NopCloser(random(seed))
}

// Tree returns the files below dir as Content: one tar archive after the
// other, whatever the seed.
func Tree(dir string) Content {
	return func(uint64) io.ReadCloser {
		r, w := io.Pipe()
		go func() {
			var err error
			for err == nil {
				// Ends when the reader closes the pipe.
				err = writeTree(w, dir)
			}
			_ = w.CloseWithError(fmt.Errorf("read tree %s: %w", dir, err))
		}()
		return r
	}
}

// GoSource returns the directory of the Go source tree, some 100 MB of real
// files for Tree.
func GoSource() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go source: go env: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src"), nil
}

func writeTree(w io.Writer, dir string) error {
	buf := bufio.NewWriterSize(w, treeBuffer)
	archive := tar.NewWriter(buf)
	if err := archive.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return errors.Join(archive.Close(), buf.Flush())
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
