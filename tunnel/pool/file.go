package pool

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// read returns the text of a file, none if there is no file.
func read(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return header + "\n", nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular() || info.Size() > maxFile:
		return "", errors.New("not a file of a pool")
	}
	text, err := os.ReadFile(path)
	return string(text), err
}

func (p *Pool) parse(text string) error {
	first, rest, _ := strings.Cut(text, "\n")
	if first != header {
		return fmt.Errorf("it does not begin with %q", header)
	}
	num := 1
	for line := range strings.Lines(rest) {
		num++
		l, err := parseLease(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return fmt.Errorf("line %d: %w", num, err)
		}
		if p.fits(l) && len(p.leases) < maxClients {
			p.add(l)
		}
	}
	return nil
}

func parseLease(line string) (l lease, err error) {
	words := strings.Split(line, " ")
	if len(words) < 2 || len(words) > 3 || words[0] == "" || len(words[0]) > maxName {
		return l, errors.New("not a name and addresses")
	}
	l.name = words[0]
	for _, word := range words[1:] {
		a, err := netip.ParseAddr(word)
		if err != nil {
			return l, err
		}
		l.addrs = append(l.addrs, a)
	}
	return l, nil
}

// Leases returns who has which addresses of a pool, as the file at path says. It may
// be that of another process.
func Leases(path string, ranges []netip.Prefix) (map[string][]netip.Addr, error) {
	p, err := Open(path, ranges, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	all := make(map[string][]netip.Addr)
	for _, l := range p.leases {
		all[l.name] = l.addrs
	}
	return all, nil
}

// save has the file written soon.
func (p *Pool) save() {
	p.dirty = true
	if p.timer != nil || p.closed {
		return
	}
	p.timer = time.AfterFunc(saveAfter, func() {
		if err := p.store(); err != nil {
			p.log.Error("addresses of the pool not stored: they may be others after a restart", "error", err)
		}
	})
}

// store writes the file if there is news.
func (p *Pool) store() error {
	p.writing.Lock()
	defer p.writing.Unlock()
	text, dirty := p.text()
	if !dirty {
		return nil
	}
	err := replace(p.path, text)
	if err != nil {
		p.mu.Lock()
		p.dirty = true // the next one tries again
		p.mu.Unlock()
	}
	return err
}

// text returns what is to be written, and whether that is news.
func (p *Pool) text() (string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, l := range p.leases {
		b.WriteString(l.name)
		for _, a := range l.addrs {
			b.WriteString(" " + a.String())
		}
		b.WriteString("\n")
	}
	dirty := p.dirty
	p.dirty, p.timer = false, nil
	return b.String(), dirty
}

// replace makes path a new file with this text. At any moment the old one or the new
// one is there.
func replace(path, text string) (err error) {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
