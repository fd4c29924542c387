package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Hub reports whether this is a server of many clients.
func (c *Config) Hub() bool { return len(c.Pool) > 0 || c.Peers != "" }

// addPool parses CIDR, the addresses of a hub's clients.
func (c *Config) addPool(l line) error {
	return one(func(arg string) error {
		p, err := prefix(arg)
		if err != nil {
			return err
		}
		if p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsUnspecified() {
			return fmt.Errorf("%s holds no addresses for hosts", p)
		}
		if p.Addr().BitLen()-p.Bits() < 2 {
			return fmt.Errorf("%s has no room for clients; the longest prefix is /%d", p, p.Addr().BitLen()-2)
		}
		for _, other := range c.Pool {
			if other.Addr().Is4() == p.Addr().Is4() {
				return fmt.Errorf("%s is a second %s pool; keep one of the two", p, family(p.Addr()))
			}
		}
		c.Pool = append(c.Pool, p)
		return nil
	})(l)
}

// checkHub judges what a hub needs, and who cannot be one.
func (p *parser) checkHub() {
	c := p.conf
	if !p.sound("pool", "peers", "mode") {
		return
	}
	slices.SortFunc(c.Pool, func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }) // puts IPv4 first
	if !c.Hub() {
		if c.ClientToClient && p.sound("clienttoclient") {
			p.report(c.line("clienttoclient"), "clienttoclient", errors.New(`only for a hub; say "pool CIDR" too, or remove the line`))
		}
		return
	}
	keyword := "pool"
	if len(c.Pool) == 0 {
		keyword = "peers"
	}
	at := c.line(keyword)
	switch {
	case c.Mode == Client:
		p.report(at, keyword, errors.New("only a server has clients; remove the line"))
	case c.Device != "":
		p.report(at, keyword, errors.New("a serial line has one other end; remove the line"))
	case c.line("remote") > 0:
		p.report(c.line("remote"), "remote", fmt.Errorf("a hub has many other ends, and line %d makes this one; remove the line", at))
	}
	if strong := c.Auth == "strong"; p.sound("auth") && strong != (c.Peers != "") {
		p.checkHubAuth(strong)
	}
}

// checkHubAuth says what a hub lacks: keys of its clients' own go with files that
// hold them.
func (p *parser) checkHubAuth(strong bool) {
	c := p.conf
	if strong {
		p.report(c.line("auth"), "auth", errors.New(`"strong" on a hub needs "peers PATH", the directory with the clients' keys`))
		return
	}
	p.report(c.line("peers"), "peers", errors.New(`clients with keys of their own need "auth strong"; clients that share a key need a pool and no files`))
}

// checkHubInner sees that a hub has an address of each family that it gives away.
func (p *parser) checkHubInner() {
	c := p.conf
	for i, pool := range c.Pool {
		if !hasFamily(c.Local, pool.Addr()) {
			p.report(c.lines["pool"][min(i, len(c.lines["pool"])-1)], "pool", fmt.Errorf("%s needs an %s address as local too", pool, family(pool.Addr())))
		}
	}
	for _, a := range c.Local {
		if len(c.Pool) > 0 && !slices.ContainsFunc(c.Pool, func(pool netip.Prefix) bool { return pool.Addr().Is4() == a.Is4() }) {
			p.report(c.line("local"), "local", fmt.Errorf("%s needs an %s pool too", a, family(a)))
		}
	}
}
