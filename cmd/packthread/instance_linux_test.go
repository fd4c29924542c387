package main

import (
	"context"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/meshlab"
	"vpnd/tunnel/netif"
)

// TestHungInstance runs a second packthread while the first one does not answer: a script
// of pppd must not wait for long.
func TestHungInstance(t *testing.T) {
	w := newWorld(t, meshlab.Config{Sites: 1, Bare: true})
	one := w.Sites[0]
	must(t, one.Start())
	w.until(one, "there", func(r report) bool { return r.PID != 0 })
	must(t, one.Process.Signal(syscall.SIGSTOP))
	defer one.Process.Signal(syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	if err := one.Again(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("the second one ends with %v, %v", err, ctx.Err())
	}
}

// TestNamesWithDots runs networks on one host whose names look like those of files.
func TestNamesWithDots(t *testing.T) {
	dir := t.TempDir() + "/state"
	log := slog.New(slog.DiscardHandler)
	for _, name := range []string{"a", "a.sock", "a.lock", "a.state", "a.table", "a.running", "a.new", "a.crash"} {
		i, err := mesh.Claim(dir, name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- i.Serve(ctx, func(string) []byte { return nil }) }()
		defer func() {
			cancel()
			must(t, <-ended)
		}()
		set, err := netif.Open(dir, name, log)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer set.Close()
	}
}
