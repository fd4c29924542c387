package conf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
)

func (c *Config) addServer(l line) error {
	e, err := endpoint(l)
	c.Server = append(c.Server, e)
	return err
}

func (c *Config) setClient(l line) (err error) {
	c.Client, err = endpoint(l)
	return err
}

// endpoint parses ADDRESS [PORT] or DEVICE; a number alone is a port on any
// address.
func endpoint(l line) (e Endpoint, err error) {
	if len(l.args) == 0 || len(l.args) > 2 {
		return e, errUsage
	}
	if strings.HasPrefix(l.args[0], "/") {
		if len(l.args) > 1 {
			return e, errors.New(`a device stands alone; the speed is a keyword, "speed BITRATE"`)
		}
		e.Device = filepath.Clean(l.args[0])
		return e, nil
	}
	address, port := l.args[0], "0"
	if len(l.args) == 2 {
		port = l.args[1]
	} else if isDigits(address) {
		address, port = "0", address
	}
	if e.Host, err = host(address); err != nil {
		return e, err
	}
	n, err := whole(port, "", 0, math.MaxUint16)
	if err != nil {
		return e, fmt.Errorf("%s is not a port from 0 to %d", quote(port), math.MaxUint16)
	}
	e.Port = uint16(n)
	return e, nil
}

// host parses an address or a name; any address is "".
func host(s string) (string, error) {
	if s == "0" {
		return "", nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		switch a = a.Unmap(); {
		case a.IsUnspecified():
			return "", nil
		case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
			return "", fmt.Errorf("%s is the address of a single link; say on which interface, such as %s%%eth0", a, a)
		}
		return a.String(), nil
	}
	if scheme, _, found := strings.Cut(s, "://"); found {
		return "", fmt.Errorf("%s is a URL; say the host alone, without %s", quote(s), quote(scheme+"://"))
	}
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		if _, err := host(a.String()); err != nil {
			return "", err // it would be refused without them, too
		}
		return "", fmt.Errorf("%s has brackets; say %s", quote(s), a)
	}
	if h, p, err := net.SplitHostPort(s); err == nil {
		if _, err := host(h); err != nil && h != "" {
			return "", err // it would be refused alone, too
		}
		return "", fmt.Errorf("%s holds address and port; put a blank between them: %s", quote(s), quote(strings.TrimSpace(h+" "+p)))
	}
	if !isName(s) {
		return "", fmt.Errorf("%s is not an IPv4 address, an IPv6 address or a host name", quote(s))
	}
	return s, nil
}

// isName reports whether s can be a DNS name. One that ends in a number is a
// broken IPv4 address instead.
func isName(s string) bool {
	const maxName, maxLabel = 253, 63
	s = strings.TrimSuffix(s, ".")
	labels := strings.Split(s, ".")
	for _, label := range labels {
		strange := func(r rune) bool { return !isLetter(r) && !isDigit(r) && r != '-' && r != '_' }
		if label == "" || len(label) > maxLabel || strings.Trim(label, "-") != label || strings.ContainsFunc(label, strange) {
			return false
		}
	}
	return len(s) <= maxName && !isDigits(labels[len(labels)-1])
}

func isLetter(r rune) bool { return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' }
func isDigit(r rune) bool  { return '0' <= r && r <= '9' }

func isDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !isDigit(r) }) < 0
}

func (c *Config) addLocal(l line) error {
	auto := slices.Equal(l.args, []string{"auto"})
	if c.LocalAuto || auto && len(c.Local) > 0 {
		return errors.New(`"auto" takes all addresses from the server; keep it or the others`)
	}
	if auto {
		c.LocalAuto = true
		return nil
	}
	return addInner(&c.Local, l)
}

func (c *Config) addRemote(l line) error { return addInner(&c.Remote, l) }

// addInner parses an address that one end of the tunnel can have.
func addInner(list *[]netip.Addr, l line) error {
	return one(func(arg string) error {
		a, err := netip.ParseAddr(arg)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("%s is not an IPv4 or IPv6 address (no name, no prefix length, no zone)", quote(arg))
		}
		a = a.Unmap()
		if !isHost(a) {
			return fmt.Errorf("%s cannot be the address of one host", a)
		}
		if hasFamily(*list, a) {
			return fmt.Errorf("%s is a second %s address; keep one of the two", a, family(a))
		}
		*list = append(*list, a)
		return nil
	})(l)
}

// isHost reports whether one host of a network can have the address a.
func isHost(a netip.Addr) bool {
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a != broadcast
}

func hasFamily(list []netip.Addr, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(b netip.Addr) bool { return a.Is4() == b.Is4() })
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// appendRoute adds a route that the line l asks for.
func (c *Config) appendRoute(l line, r Route) error {
	for _, other := range c.Routes {
		if other.Dest == r.Dest {
			return fmt.Errorf("%s has a route at %s already; keep one of the two", r.Dest, other.Where)
		}
	}
	r.Where, r.Keyword = c.at(l.num), l.keyword
	c.Routes = append(c.Routes, r)
	return nil
}

// addRoute parses CIDR [metric N].
func (c *Config) addRoute(l line) error {
	if len(l.args) != 1 && (len(l.args) != 3 || l.args[1] != "metric") {
		return errUsage
	}
	dest, err := prefix(l.args[0])
	if err != nil {
		return err
	}
	metric := 0
	if len(l.args) == 3 {
		if metric, err = whole(l.args[2], "", 1, math.MaxInt32); err != nil {
			return fmt.Errorf("metric %w", err)
		}
	}
	return c.appendRoute(l, Route{Dest: dest, Metric: metric})
}

func prefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.Prefix{}, fmt.Errorf("%s lacks a prefix length; for this one host say %s/%d", quote(s), s, a.BitLen())
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%s is not a network such as 192.0.2.0/24 or 2001:db8::/32", quote(s))
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%s has bits set behind the prefix; say %s for the network or %s/%d for the one host",
			quote(s), p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return p, nil
}

// addClassicRoute parses DEST NETMASK GATEWAY, all IPv4. What the gateway means
// is settled when local is known.
func (c *Config) addClassicRoute(l line) error {
	if len(l.args) != 3 {
		return errUsage
	}
	var addrs [3]netip.Addr
	for i, name := range []string{"DEST", "NETMASK", "GATEWAY"} {
		a, _ := netip.ParseAddr(l.args[i])
		if !a.Is4() {
			return fmt.Errorf("%s %s is not an IPv4 address%s", name, quote(l.args[i]), classicAdvice(name, l.args[i]))
		}
		addrs[i] = a
	}
	dest, mask, gateway := addrs[0], addrs[1], addrs[2]
	length, err := maskLength(mask)
	if err != nil {
		return err
	}
	network := netip.PrefixFrom(dest, length).Masked()
	if network.Addr() != dest {
		return fmt.Errorf("DEST %s has bits set behind NETMASK %s; say %s", dest, mask, network.Addr())
	}
	if !gateway.IsUnspecified() && !isHost(gateway) {
		return fmt.Errorf("GATEWAY %s cannot be the address of one host", gateway)
	}
	return c.appendRoute(l, Route{Dest: network, Gateway: gateway})
}

// classicAdvice says what may stand in place of a word in a classic route.
func classicAdvice(name, arg string) string {
	if _, err := netip.ParsePrefix(arg); err == nil {
		return `; a network with its prefix length stands behind "route", alone`
	}
	if n, err := whole(arg, "", 1, 32); err == nil && name == "NETMASK" {
		return "; say " + net.IP(net.CIDRMask(n, 32)).String()
	}
	return ""
}

// maskLength returns how many ones a netmask begins with, if nothing but zeros
// follows.
func maskLength(mask netip.Addr) (int, error) {
	b := mask.As4()
	m := binary.BigEndian.Uint32(b[:])
	length := bits.LeadingZeros32(^m)
	if m == ones(length) {
		return length, nil
	}
	advice := ones(length)
	if zeros := bits.LeadingZeros32(m); ^m == ones(zeros) {
		advice = ^m // the mask is written inside out, as some routers do
	}
	if advice == 0 {
		return 0, errors.New("NETMASK " + mask.String() + " must begin with ones, such as 255.255.255.0")
	}
	binary.BigEndian.PutUint32(b[:], advice)
	return 0, fmt.Errorf("NETMASK %s has ones behind a zero; say %s if that is meant", mask, netip.AddrFrom4(b))
}

func ones(length int) uint32 { return ^uint32(0) << (32 - length) }
