package conf

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// PeerSuffix is that of the files of a peers directory; others are left alone.
	PeerSuffix = ".peer"
	// maxPeerFile is the size of one in bytes, maxPeerName that of its name, and
	// maxPeers how many there may be.
	maxPeerFile = 64 << 10
	maxPeerName = 64
	maxPeers    = 1 << 14
	// maxRate is 100 Gbit/s.
	maxRate = 100_000_000
)

// A Peer is a client of a hub, as its file describes it.
type Peer struct {
	Name      string // of its file, without the suffix
	PublicKey string // as it is written
	Secret    string
	Addrs     []netip.Addr // at most one IPv4 and one IPv6; none: the pool has them
	Subnets   []netip.Prefix
	Enabled   bool
	MaxRate   int // kbit/s each way; 0: any

	file  string
	lines map[string][]int
}

// Where returns "file:line" of the first line with the keyword, or the file when there
// is none.
func (p *Peer) Where(keyword string) string {
	if lines := p.lines[keyword]; len(lines) > 0 {
		return fmt.Sprintf("%s:%d", p.file, lines[0])
	}
	return p.file
}

// problem is a mistake that stands with a keyword.
func (p *Peer) problem(keyword string, format string, args ...any) Error {
	e := Error{File: p.file, Keyword: keyword, Problem: fmt.Sprintf(format, args...)}
	if lines := p.lines[keyword]; len(lines) > 0 {
		e.Line = lines[0]
	}
	return e
}

// PeerKeywords returns the keywords of a peer's file.
func PeerKeywords() []Keyword { return peerKeywords(&Peer{}) }

func peerKeywords(p *Peer) []Keyword {
	text := func(field *string) func(line) error {
		return one(func(arg string) error {
			*field = arg
			return nil
		})
	}
	return []Keyword{
		{Name: "publickey", Args: "KEY",
			Meaning: "the client's public key",
			parse:   text(&p.PublicKey)},
		{Name: "secret", Args: "SECRET",
			Meaning: "what the hub shares with this client",
			parse:   text(&p.Secret)},
		{Name: "address", Args: "ADDRESS",
			Meaning: "inner address of the client; one IPv4 and one IPv6 at most",
			repeat:  true, parse: func(l line) error { return addInner(&p.Addrs, l) }},
		{Name: "subnet", Args: "CIDR",
			Meaning: "a network behind the client",
			repeat:  true, parse: p.addSubnet},
		{Name: "enabled", Args: "[on|off]", Default: "on",
			Meaning: "whether the client is let in",
			parse:   onOff(&p.Enabled)},
		{Name: "maxrate", Args: "KBIT/S",
			Meaning: "most that the client may send, and be sent",
			parse:   number(&p.MaxRate, "kbit/s", 8, maxRate)},
	}
}

func (p *Peer) addSubnet(l line) error {
	return one(func(arg string) error {
		n, err := prefix(arg)
		if err != nil {
			return err
		}
		if n.Addr().IsMulticast() || n.Addr().IsLoopback() {
			return fmt.Errorf("%s holds no addresses for hosts", n)
		}
		for _, other := range p.Subnets {
			if other.Overlaps(n) {
				return fmt.Errorf("%s has addresses of %s; keep one of the two", n, other)
			}
		}
		p.Subnets = append(p.Subnets, n)
		return nil
	})(l)
}

// ParsePeer reads and checks a peer's file from r. The error is [Errors] when r could
// be read.
func ParsePeer(path string, r io.Reader) (*Peer, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxPeerFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	name, err := peerName(path)
	if err != nil {
		return nil, err
	}
	line, problem := unreadable(text)
	if len(text) > maxPeerFile {
		line, problem = lineAt(text, maxPeerFile), fmt.Sprintf("the file is larger than %d bytes; is it the right one?", maxPeerFile)
	}
	if problem != "" {
		return nil, Errors{{File: path, Line: line, Problem: problem}}
	}
	peer := &Peer{Name: name, file: path, lines: map[string][]int{}}
	p := &parser{conf: &Config{file: path, lines: peer.lines}, table: peerKeywords(peer), bad: map[string]bool{}}
	p.obey(string(text))
	p.defaults()
	p.given("publickey", errors.New(`missing; say "publickey KEY", as "vpnd -c" shows it on the client`))
	p.given("secret", errors.New(`missing; say "secret SECRET", the same as in the client's key file`))
	if len(p.errs) > 0 {
		return nil, p.errs.sorted()
	}
	return peer, nil
}

// peerNameAdvice says what a name may be.
var peerNameAdvice = fmt.Sprintf(`use up to %d letters, digits, "-", "_" and "."`, maxPeerName)

// CheckPeerName returns an error unless a client may have the name.
func CheckPeerName(name string) error {
	if isPeerName(name) {
		return nil
	}
	return fmt.Errorf("%s is no name for a client; %s", quote(name), peerNameAdvice)
}

// peerName returns the name of the client whose file path is.
func peerName(path string) (string, error) {
	name := strings.TrimSuffix(filepath.Base(path), PeerSuffix)
	if !isPeerName(name) {
		return "", Errors{{File: path, Problem: "the name of the file is no name for a client; " + peerNameAdvice}}
	}
	return name, nil
}

func isPeerName(s string) bool {
	strange := func(r rune) bool { return !isLetter(r) && !isDigit(r) && !strings.ContainsRune("-_.", r) }
	return s != "" && len(s) <= maxPeerName && s[0] != '.' && s[0] != '-' && !strings.ContainsFunc(s, strange)
}

// readPeer reads the file of a peer. It holds a secret. A name that may be no client's
// does not come into other errors.
func readPeer(path string) (*Peer, error) {
	if _, err := peerName(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, Errors{{File: path, Problem: "not a regular file"}}
	}
	if problem := exposed(path, info); problem != "" {
		return nil, Errors{{File: path, Problem: problem}}
	}
	return ParsePeer(path, f)
}

// exposed returns why the secret in a file may be known to others, "" if it is safe.
func exposed(path string, info os.FileInfo) string {
	switch {
	case !isOurs(info):
		return "belongs to another user; it must belong to root or to the user of the daemon"
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Sprintf("others may read or write the secret (mode %04o); say: chmod 600 %s", info.Mode().Perm(), path)
	}
	return ""
}

// isOurs reports whether a file belongs to root or to who runs this.
func isOurs(info os.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && isOwn(stat.Uid, os.Geteuid())
}

func isOwn(owner uint32, user int) bool { return owner == 0 || int(owner) == user }

// ReadPeers reads the files of the peers directory in the order of their names. One
// with a mistake, or that takes what belongs to the hub or to one before it, is left
// out; problems has one error for each mistake. The error says that the directory
// could not be read.
func (c *Config) ReadPeers() (peers []*Peer, problems []error, err error) {
	return c.readPeers(maxPeers)
}

func (c *Config) readPeers(most int) (peers []*Peer, problems []error, err error) {
	entries, err := os.ReadDir(c.Peers)
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w; make it: mkdir -m 700 %s", err, c.Peers)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: peers: %w", c.Where("peers"), err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), PeerSuffix) {
			continue
		}
		p, err := readPeer(filepath.Join(c.Peers, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // just removed
		}
		if err == nil && len(peers) == most {
			err = Errors{{File: p.file, Problem: fmt.Sprintf("there are %d clients before this one, and no more can be", most)}}
		}
		if err == nil {
			err = c.checkPeer(p, peers)
		}
		if err != nil {
			problems = append(problems, err)
			continue
		}
		peers = append(peers, p)
	}
	return peers, problems, nil
}

// checkPeer judges what a peer may have, given those before it. One that is not
// enabled takes nothing.
func (c *Config) checkPeer(p *Peer, before []*Peer) error {
	if !p.Enabled {
		return nil
	}
	var errs Errors
	for _, a := range p.Addrs {
		switch in := func(n netip.Prefix) bool { return n.Contains(a) }; {
		case slices.Contains(c.Local, a):
			errs = append(errs, p.problem("address", "%s is the hub's own address", a))
		case len(c.Pool) > 0 && !slices.ContainsFunc(c.Pool, in):
			errs = append(errs, p.problem("address", "%s is outside the pool (%s)", a, c.Where("pool")))
		}
	}
	if len(p.Addrs) == 0 && len(c.Pool) == 0 {
		errs = append(errs, p.problem("address", `missing; say "address ADDRESS", or give the hub a pool`))
	}
	for _, n := range p.Subnets {
		if slices.ContainsFunc(c.Local, n.Contains) {
			errs = append(errs, p.problem("subnet", "%s holds the hub's own address", n))
		} else if slices.ContainsFunc(c.Pool, n.Overlaps) {
			errs = append(errs, p.problem("subnet", "%s has addresses of the pool (%s)", n, c.Where("pool")))
		}
	}
	for _, other := range before {
		if other.Enabled {
			errs = append(errs, p.collisions(other)...)
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// collisions says what of a peer's is another's.
func (p *Peer) collisions(other *Peer) (errs Errors) {
	if p.PublicKey == other.PublicKey {
		errs = append(errs, p.problem("publickey", "%s has the same key; each client has a key of its own", other.Where("publickey")))
	}
	for _, a := range p.Addrs {
		if slices.Contains(other.Addrs, a) {
			errs = append(errs, p.problem("address", "%s is the address of %s", a, other.Where("address")))
		} else if slices.ContainsFunc(other.Subnets, func(n netip.Prefix) bool { return n.Contains(a) }) {
			errs = append(errs, p.problem("address", "%s is in a subnet of %s", a, other.Where("subnet")))
		}
	}
	for _, n := range p.Subnets {
		if slices.ContainsFunc(other.Subnets, n.Overlaps) {
			errs = append(errs, p.problem("subnet", "%s has addresses of a subnet of %s", n, other.Where("subnet")))
		} else if slices.ContainsFunc(other.Addrs, n.Contains) {
			errs = append(errs, p.problem("subnet", "%s has the address of %s", n, other.Where("address")))
		}
	}
	return errs
}
