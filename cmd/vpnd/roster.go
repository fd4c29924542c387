package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel"
)

// member is a client of a hub that has a key of its own.
type member struct {
	tunnel.HubPeer
	public crypto.PublicKey
	secret crypto.Secret
	file   string
}

// roster keeps the clients of a hub as their files say.
type roster struct {
	config func() *conf.Config
	// take gives a client addresses of the pool, reserve keeps some from all others.
	take    func(name string) ([]netip.Addr, error)
	reserve func([]netip.Addr)
	// admit makes these the clients that are let in; links of others end. What is unrouted
	// concerns those alone that a route is missing to.
	admit func([]member) (unrouted, err error)
	log   *slog.Logger

	mu       sync.Mutex
	seen     map[string]stamp // of the files at the last look
	due      time.Time        // when to read them in any case; zero: they count
	told     []string         // mistakes
	unrouted []string         // what was told of routes
}

// stamp shows that a file has changed. Its size and time alone do not show another owner,
// nor another file of the same time.
type stamp struct {
	inode            uint64
	owner            uint32
	mode             uint32
	size             int64
	written, changed unix.Timespec
}

// lookEvery is how often the files are looked at. A client whose file is removed is
// out within a second.
const lookEvery = 750 * time.Millisecond

// againAfter is when files are read again that could not be made to count, for a reason
// that is not in them: a route that somebody else has, or too many open files.
const againAfter = 10 * time.Second

// run looks at the files until ctx ends.
func (r *roster) run(ctx context.Context) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			r.look(false)
		}
	}
}

// look reads the files when one of them has changed, or in any case.
func (r *roster) look(anyway bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen, err := stamps(r.config().Peers)
	if err != nil {
		r.tell([]error{err}) // who was in stays in
		return
	}
	changed := anyway || r.seen == nil || !maps.Equal(r.seen, seen)
	if changed || !r.due.IsZero() && !time.Now().Before(r.due) {
		r.seen = seen
		r.read(changed)
	}
}

// stamps returns those of all files of a directory.
func stamps(dir string) (map[string]stamp, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	all := make(map[string]stamp, len(entries))
	for _, e := range entries {
		var s unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, e.Name()), &s); err == nil { // else it is gone
			all[e.Name()] = stamp{s.Ino, s.Uid, uint32(s.Mode), s.Size, s.Mtim, s.Ctim}
		}
	}
	return all, nil
}

// read makes the files count. They may have changed, or are read once more.
func (r *roster) read(changed bool) {
	r.due = time.Now().Add(againAfter)
	peers, problems, err := r.config().ReadPeers()
	if i := slices.IndexFunc(problems, isShortage); i >= 0 {
		err = problems[i]
	}
	if err != nil {
		r.tell([]error{err}) // who was in stays in
		return
	}
	members, more := r.members(peers)
	unrouted, err := r.admit(members)
	if err != nil {
		r.tell(slices.Concat(problems, more, []error{err}))
		return
	}
	if unrouted == nil {
		r.due = time.Time{}
	}
	if changed || unrouted == nil {
		r.log.Info("clients", "let in", len(members), "off", len(peers)-len(members)-len(more), "with mistakes", len(problems)+len(more))
	}
	r.tell(append(problems, more...))
	r.unrouted = r.news("no route to a client", r.unrouted, unrouted)
}

// isShortage reports whether a file could not be read for a reason that passes.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// tell logs the mistakes that were not there before.
func (r *roster) tell(problems []error) {
	r.told = r.news("client not let in", r.told, problems...)
}

// news logs the lines of errors that were not told before, and returns all of them.
func (r *roster) news(what string, told []string, problems ...error) (texts []string) {
	for _, p := range problems {
		if p == nil {
			continue
		}
		for text := range strings.Lines(p.Error()) {
			text = strings.TrimSuffix(text, "\n")
			if slices.Contains(texts, text) {
				continue
			}
			if texts = append(texts, text); !slices.Contains(told, text) {
				r.log.Error(what, "cause", text)
			}
		}
	}
	return texts
}

// members returns the clients that are to be let in. Addresses that files name are
// kept from the pool before anybody gets one of it.
func (r *roster) members(peers []*conf.Peer) (members []member, problems []error) {
	c := r.config()
	named := slices.Clone(c.Local)
	for _, p := range peers {
		if p.Enabled {
			named = append(named, p.Addrs...)
		}
	}
	r.reserve(named)
	for _, p := range peers {
		if !p.Enabled {
			continue
		}
		m, err := r.member(p)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		members = append(members, m)
	}
	return members, problems
}

// member makes a client of a file.
func (r *roster) member(p *conf.Peer) (m member, err error) {
	m.Name, m.Subnets, m.Rate, m.file = p.Name, p.Subnets, p.MaxRate*1000/8, p.Where("subnet")
	if m.public, m.secret, err = keysOf(p); err != nil {
		return m, err
	}
	m.Proof = crypto.NewPeer(m.public, m.secret)
	m.Key = m.Proof.ID()
	if m.Addrs = p.Addrs; len(m.Addrs) > 0 {
		return m, nil
	}
	if m.Addrs, err = r.take(p.Name); err != nil {
		return m, fmt.Errorf("%s: %w", p.Where("address"), err)
	}
	return m, nil
}

// keysOf returns what the file of a client says of its key.
func keysOf(p *conf.Peer) (public crypto.PublicKey, secret crypto.Secret, err error) {
	if public, err = crypto.ParsePublicKey(p.PublicKey); err != nil {
		return public, secret, fmt.Errorf("%s: publickey: %w", p.Where("publickey"), err)
	}
	if secret, err = crypto.ParseSecret(p.Secret); err != nil {
		return public, secret, fmt.Errorf("%s: secret: %w", p.Where("secret"), err)
	}
	return public, secret, nil
}
