package main

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"vpnd/conf"
)

// filterAge is how long the addresses of a name are used: strangers may call as
// often as they like, and must not make the name server, or the log, pay for it.
const filterAge = 5 * time.Second

// filter decides which callers a server talks to.
type filter struct {
	end    conf.Endpoint
	log    *slog.Logger
	lookup func(host string) ([]netip.Addr, error)

	mu    sync.Mutex
	known []netip.Addr
	until time.Time // when known is too old
}

func newFilter(e conf.Endpoint, log *slog.Logger) *filter {
	return &filter{end: e, log: log, lookup: lookup}
}

// admit reports whether a caller's address is the configured one. It says no
// when a name cannot be looked up.
func (f *filter) admit(from netip.AddrPort) bool {
	if f.end.Port != 0 && f.end.Port != from.Port() {
		return false
	}
	return f.end.Host == "" || slices.Contains(f.addrs(), from.Addr())
}

// addrs returns the addresses of the configured host. Callers that come together
// wait for one look-up.
func (f *filter) addrs() []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Now().Before(f.until) {
		return f.known
	}
	found, err := f.lookup(f.end.Host)
	if err != nil {
		f.log.Warn("look up the client", "host", f.end.Host, "error", err)
	}
	f.known = nil
	for _, a := range found {
		f.known = append(f.known, a.Unmap())
	}
	f.until = time.Now().Add(filterAge)
	return f.known
}
