package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"vpnd/cmd/internal/lab"
)

// typist types at A, and sees what B sends back, over TCP. Each key is as long as
// that of a terminal over ssh.
type typist struct {
	trips
	a, b  *net.TCPConn
	quit  chan struct{}
	rest  func() // types no more
	types sync.WaitGroup
	reads sync.WaitGroup
}

const keySize = 36

func startTyping(ctx context.Context, e lab.Ends, every time.Duration) (*typist, error) {
	t := &typist{quit: make(chan struct{})}
	var err error
	if t.a, t.b, err = dialPair(ctx, e); err != nil {
		return nil, fmt.Errorf("start typing: %w", err)
	}
	t.rest = sync.OnceFunc(func() { close(t.quit); t.types.Wait() })
	t.types.Go(func() { t.keys(every) })
	t.reads.Go(func() { _, _ = io.Copy(t.b, t.b) }) // a missing answer tells
	t.reads.Go(t.read)
	return t, nil
}

func (t *typist) close() {
	reset(t.a, t.b) // a write that is held up ends with it
	t.rest()
	t.reads.Wait()
}

func (t *typist) keys(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	content := lab.Random(1)
	key := make([]byte, keySize)
	for {
		_, _ = content.Read(key) // never fails
		t.begin(time.Now())
		if _, err := t.a.Write(key); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-t.quit:
			return
		}
	}
}

func (t *typist) read() {
	key := make([]byte, keySize)
	for number := 0; ; number++ {
		if _, err := io.ReadFull(t.a, key); err != nil {
			return
		}
		t.end(number, time.Now())
	}
}
