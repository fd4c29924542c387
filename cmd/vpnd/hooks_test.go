package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/conf"
	"vpnd/tunnel"
	"vpnd/tunnel/loglimit"
)

// TestHooksOfFlappingLinks has links come and go more often than the log is to have.
func TestHooksOfFlappingLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		script, ran := filepath.Join(dir, "script"), filepath.Join(dir, "ran")
		must(t, os.Chmod(dir, 0o700))
		must(t, os.WriteFile(script, []byte("#!/bin/sh\necho $VPND_EVENT | tee -a "+ran+"\nexit 3\n"), 0o700))
		c := &conf.Config{Mode: conf.Server, Server: []conf.Endpoint{{Port: 379}}, Pool: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
			LinkUp: script, LinkDown: script, HookTimeout: time.Hour}
		var log bytes.Buffer // one script runs at a time
		h := newHooks(func() *conf.Config { return c }, func() string { return "tun0" }, slog.New(slog.NewTextHandler(&log, nil)))
		h.runs.Burst = 2
		for range 3 {
			h.linkUp(tunnel.Link{Name: "ann"})
			h.links.Wait()
			h.linkDown(tunnel.Link{Name: "ann"}, errors.New("reset"))
			h.links.Wait()
		}
		all, err := os.ReadFile(ran)
		if must(t, err); string(all) != strings.Repeat("linkup\nlinkdown\n", 3) {
			t.Errorf("what ran is %q", all)
		}
		for what, want := range map[string]int{"line=linkup": 2, "line=linkdown": 1, "hook failed": 3} {
			if n := strings.Count(log.String(), what); n != want {
				t.Errorf("%q is logged %d times, want %d", what, n, want)
			}
		}
		time.Sleep(loglimit.Interval)
		h.linkUp(tunnel.Link{Name: "bob"})
		h.links.Wait()
		if !strings.Contains(log.String(), `"others not logged"=3`) {
			t.Errorf("the log does not tell what is left out:\n%s", &log)
		}
	})
}

// TestHooksLeftOut has events of one link come while its script runs, of which only the last
// is told to the script: what is not run takes no place in the log.
func TestHooksLeftOut(t *testing.T) {
	dir := t.TempDir()
	script, ready := filepath.Join(dir, "script"), filepath.Join(dir, "ready")
	must(t, os.Chmod(dir, 0o700))
	must(t, os.WriteFile(script, []byte("#!/bin/sh\nuntil test -e "+ready+"; do sleep 0.01; done\necho $VPND_EVENT\n"), 0o700))
	c := &conf.Config{Mode: conf.Server, Server: []conf.Endpoint{{Port: 379}}, Pool: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
		LinkUp: script, LinkDown: script, HookTimeout: time.Hour}
	var log bytes.Buffer // one script runs at a time
	h := newHooks(func() *conf.Config { return c }, func() string { return "tun0" }, slog.New(slog.NewTextHandler(&log, nil)))
	h.runs.Burst = 1
	for range 3 {
		h.linkUp(tunnel.Link{Name: "ann"})
		h.linkDown(tunnel.Link{Name: "ann"}, errors.New("reset"))
	}
	must(t, os.WriteFile(ready, nil, 0o600))
	h.links.Wait()
	for _, line := range []string{"line=linkup", "line=linkdown"} {
		if strings.Count(log.String(), line) != 1 {
			t.Errorf("the log has not %q:\n%s", line, &log)
		}
	}
}
