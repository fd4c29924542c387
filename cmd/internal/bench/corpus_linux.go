package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"vpnd/cmd/internal/lab"
)

const (
	// corpusSize is more than passes in one measurement and more than any of the
	// compressors remembers.
	corpusSize  = 32 << 20
	corpusPiece = 64 << 10
)

// corpus is what passes the slow lines: the same bytes on each machine that has the
// same Go.
type corpus struct{ text, random []byte }

func newCorpus() (c corpus, err error) {
	dir, err := lab.GoSource()
	if err != nil {
		return c, err
	}
	if c.text, err = sources(os.DirFS(dir), corpusSize); err != nil {
		return c, fmt.Errorf("read Go sources of %s: %w", dir, err)
	}
	c.random = make([]byte, corpusSize)
	_, err = io.ReadFull(lab.Random(0), c.random)
	return c, err
}

// sources returns the first bytes of all Go files, one behind the other in the order
// of their paths.
func sources(tree fs.FS, limit int) ([]byte, error) {
	var paths []string
	err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".go") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	var all []byte
	for _, path := range paths {
		if len(all) >= limit {
			break
		}
		text, err := fs.ReadFile(tree, path)
		if err != nil {
			return nil, err
		}
		all = append(all, text...)
	}
	if len(all) < limit {
		return nil, fmt.Errorf("%d bytes in all, not %d", len(all), limit)
	}
	return all[:limit], nil
}

// pieces cuts data into what one write takes.
func pieces(data []byte) [][]byte { return slices.Collect(slices.Chunk(data, corpusPiece)) }
