package conf

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
)

// defaultPort is where a server listens, as in 1998.
const defaultPort = 379

// minIPv6 is the smallest MTU that IPv6 runs over.
const minIPv6 = 1280

// check judges what only all lines together show, and settles what depends on
// several keywords.
func (p *parser) check() {
	if p.given("mode", errors.New(`missing; say "mode client" or "mode server"`)) {
		p.settleLine()
		p.checkServer()
		p.settleKeys()
		p.checkHub()
	}
	p.checkInner()
	p.checkNoIPv6()
	p.settleRoutes()
	p.checkSizes()
	p.checkFiles()
}

// sound reports whether none of the keywords has had a problem.
func (p *parser) sound(keywords ...string) bool {
	return !slices.ContainsFunc(keywords, func(k string) bool { return p.bad[k] })
}

// given reports whether keyword stands in the file without a problem; that it
// is missing is one.
func (p *parser) given(keyword string, missing error) bool {
	if p.sound(keyword) && p.conf.line(keyword) == 0 {
		p.report(0, keyword, missing)
	}
	return p.sound(keyword)
}

func (p *parser) checkServer() {
	c := p.conf
	if c.Device != "" {
		return
	}
	if c.Mode == Client {
		p.given("server", errors.New(`missing; say "server ADDRESS [PORT]", where to connect`))
	}
	if !p.sound("server") {
		return
	}
	lines := c.lines["server"]
	if c.Mode == Server && len(lines) > 1 {
		p.report(lines[1], "server", fmt.Errorf("a server listens in one place, and line %d names it already", lines[0]))
	}
	for i := range c.Server {
		if c.Mode == Client && c.Server[i].Host == "" {
			p.report(lines[i], "server", errors.New("a client needs the address of the server, not any address"))
		}
		if c.Server[i].Port == 0 {
			c.Server[i].Port = defaultPort
		}
	}
}

// The files that vpnd -x makes.
const (
	serverKey = "vpnd.lcl.key"
	clientKey = "vpnd.rmt.key"
)

// settleKeys finds the key file of this end, and sees that the other keywords fit it.
func (p *parser) settleKeys() {
	c := p.conf
	if !p.sound("auth", "oldkeyfile", "passphrase") {
		return
	}
	strong := c.Auth == Strong
	switch old := c.OldKeyFile != ""; {
	case old && strong:
		p.report(c.line("oldkeyfile"), "oldkeyfile", errors.New(`only for "auth psk"; remove the line`))
	case old && c.Mode == Client:
		p.report(c.line("oldkeyfile"), "oldkeyfile", errors.New("only a server accepts an old key; remove the line"))
	}
	if c.Passphrase != "" && !strong {
		p.report(c.line("passphrase"), "passphrase", errors.New(`only for "auth strong": a shared key is not sealed; remove the line`))
	}
	if c.Key != "" {
		p.checkKey()
		return
	}
	if strong && c.line("keyfile") == 0 {
		name := map[Mode]string{Server: serverKey, Client: clientKey}[c.Mode]
		c.KeyFile = filepath.Join(filepath.Dir(c.Path), name)
	}
}

// checkKey judges a key that stands in the configuration itself.
func (p *parser) checkKey() {
	c, at := p.conf, p.conf.line("key")
	switch {
	case c.Mode == Server:
		p.report(at, "key", errors.New(`only for a client; a server says "keyfile PATH"`))
	case c.Auth != Strong:
		p.report(at, "key", errors.New(`a key of the client's own needs "auth strong"`))
	case c.line("keyfile") > 0:
		p.report(at, "key", fmt.Errorf("line %d names a file that holds the key; keep one of the two", c.line("keyfile")))
	case c.Passphrase != "":
		p.report(c.line("passphrase"), "passphrase", fmt.Errorf("the key on line %d is not sealed; remove the line", at))
	}
	c.KeyFile = ""
}

// checkInner pairs the inner addresses.
func (p *parser) checkInner() {
	c := p.conf
	local := p.given("local", errors.New(`missing; say "local ADDRESS", the inner address of this end`))
	switch {
	case local && c.LocalAuto:
		p.checkAuto()
		return
	case c.Hub() || !p.sound("pool", "peers"):
		if local && p.sound("pool") {
			p.checkHubInner()
		}
		slices.SortFunc(c.Local, netip.Addr.Compare) // puts IPv4 first
		return
	}
	remote := p.given("remote", p.noRemote())
	if !local || !remote || !p.paired("local", c.Local, "remote", c.Remote) || !p.paired("remote", c.Remote, "local", c.Local) {
		return
	}
	for i, a := range c.Remote {
		if slices.Contains(c.Local, a) {
			p.report(c.lines["remote"][i], "remote", fmt.Errorf("%s is the local address; the two ends need two addresses", a))
		}
	}
	slices.SortFunc(c.Local, netip.Addr.Compare) // puts IPv4 first
	slices.SortFunc(c.Remote, netip.Addr.Compare)
}

func (p *parser) noRemote() error {
	const missing = `missing; say "remote ADDRESS", the inner address of the other end`
	if p.conf.Mode == Server {
		return errors.New(missing + `, or "pool CIDR" for a hub of many clients`)
	}
	return errors.New(missing)
}

// checkAuto judges a client that takes its address from the server.
func (p *parser) checkAuto() {
	c := p.conf
	if p.sound("mode") && c.Mode == Server {
		p.report(c.line("local"), "local", errors.New(`"auto" is for clients; a server gives the addresses`))
	}
	slices.SortFunc(c.Remote, netip.Addr.Compare)
}

// paired reports whether each address of keyword has one of its family among
// those of the other keyword.
func (p *parser) paired(keyword string, addrs []netip.Addr, other string, others []netip.Addr) bool {
	for i, a := range addrs {
		if !hasFamily(others, a) {
			p.report(p.conf.lines[keyword][i], keyword, fmt.Errorf("%s needs an %s address as %s too", a, family(a), other))
			return false
		}
	}
	return true
}

// settleRoutes puts the routes in order. A gateway that is this end of the
// tunnel says what no gateway says.
func (p *parser) settleRoutes() {
	c := p.conf
	for i, r := range c.Routes {
		if r.Gateway.IsUnspecified() || slices.Contains(c.Local, r.Gateway) {
			c.Routes[i].Gateway = netip.Addr{}
		}
	}
	last := func(r Route) byte { return r.Keyword[len(r.Keyword)-1] } // "1" to "9" come before the "e" of route
	slices.SortStableFunc(c.Routes, func(a, b Route) int { return cmp.Compare(last(a), last(b)) })
}

func (p *parser) checkSizes() {
	c := p.conf
	if ipv6 := c.firstIPv6(); p.sound("mtu") && c.MTU < minIPv6 && ipv6 != "" {
		p.report(c.line("mtu"), "mtu", fmt.Errorf("%d is too small for IPv6 (%s); say at least %d", c.MTU, ipv6, minIPv6))
	}
	if !p.sound("mtu", "sendbuf") || c.SendBuf >= c.MTU {
		return
	}
	if c.line("sendbuf") == 0 {
		c.SendBuf = c.MTU
		return
	}
	p.report(c.line("sendbuf"), "sendbuf", fmt.Errorf("%d is less than one packet of mtu %d; say at least that", c.SendBuf, c.MTU))
}

// firstIPv6 returns an IPv6 address or route inside the tunnel, or "".
func (c *Config) firstIPv6() string {
	for _, a := range c.Local {
		if a.Is6() {
			return a.String()
		}
	}
	for _, r := range c.Routes {
		if r.Dest.Addr().Is6() {
			return r.Dest.String()
		}
	}
	for _, pool := range c.Pool {
		if pool.Addr().Is6() {
			return pool.String()
		}
	}
	return ""
}

// checkFiles keeps the daemon from writing over a file that it reads.
func (p *parser) checkFiles() {
	c := p.conf
	files := []struct{ keyword, path string }{
		{"keyfile", c.KeyFile}, {"oldkeyfile", c.OldKeyFile}, {"passphrase", c.Passphrase}, {"pidfile", c.PidFile}, {"control", c.Control}, {"modemchat", c.ModemChat},
	}
	taken := map[string]string{c.Path: "the configuration"}
	for _, f := range files {
		if f.path == "" {
			continue
		}
		if what := taken[f.path]; what != "" {
			p.report(c.line(f.keyword), f.keyword, fmt.Errorf("%s is %s already; name another file", quote(f.path), what))
		}
		taken[f.path] = "the " + f.keyword
	}
}
