package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"vpnd/cmd/internal/lab"
)

const (
	chunk     = 128 << 10 // bytes of one write
	chunks    = 8         // different ones: more than a compressor remembers
	setUpTime = 30 * time.Second
)

// study measures rows, round by round.
type study struct {
	o            options
	random, text [][]byte // payloads
	progress     io.Writer
	results      results
}

func newStudy(o options, chosen []row, progress io.Writer) (*study, error) {
	s := &study{o: o, progress: progress}
	var err error
	for _, r := range chosen {
		s.results = append(s.results, &result{row: r})
		if r.text && s.text == nil {
			if s.text, err = textPayload(); err != nil {
				return nil, err
			}
		}
	}
	s.random, err = payload(lab.Random)
	return s, err
}

// rounds measures every row once, and again, until that is done as often as
// wanted.
func (s *study) rounds(ctx context.Context) error {
	for n := range s.o.runs {
		for _, r := range s.results {
			began := time.Now()
			sample, err := s.measure(ctx, r.row)
			if ctx.Err() != nil {
				return fmt.Errorf("stopped in round %d of %d, at %s", n+1, s.o.runs, r.name)
			}
			r.add(sample, err)
			fmt.Fprintf(s.progress, "round %d of %d, %s: %s, %.0f s\n", n+1, s.o.runs, r.name, r.last(), time.Since(began).Seconds())
		}
	}
	return nil
}

// measure starts a row in a lab of its own, measures it and takes all down.
func (s *study) measure(ctx context.Context, r row) (out sample, err error) {
	limited, cancel := context.WithTimeout(ctx, setUpTime+measureTime(s.o.time))
	defer cancel()
	b, alive, err := newBed(limited, s.o, directly)
	if err != nil {
		return out, err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			fmt.Fprintf(s.progress, "%s: %v\n%s", r.name, err, b.logs())
		}
		err = errors.Join(err, b.close())
	}()
	if err := r.start(alive, b); err != nil {
		return out, err
	}
	setUp, cancelSetUp := context.WithTimeout(alive, setUpTime)
	defer cancelSetUp()
	if _, err := b.a.WaitPing(setUp, b.dst, pingSetUp); err != nil {
		return out, fmt.Errorf("the tunnel does not come up: %w", err)
	}
	m := meter{bed: b, payload: s.random, time: s.o.time}
	if r.text {
		m.payload = s.text
	}
	return m.measure(alive)
}

// payload cuts content into what one write takes.
func payload(c lab.Content) ([][]byte, error) {
	list := make([][]byte, chunks)
	r := c(0)
	for i := range list {
		list[i] = make([]byte, chunk)
		if _, err := io.ReadFull(r, list[i]); err != nil {
			return nil, fmt.Errorf("make payload: %w", err)
		}
	}
	return list, nil
}

// textPayload is files of the Go source tree.
func textPayload() ([][]byte, error) {
	dir, err := lab.GoSource()
	if err != nil {
		return nil, err
	}
	tree, err := lab.Tree(dir, chunks*chunk)
	if err != nil {
		return nil, err
	}
	return payload(tree)
}
