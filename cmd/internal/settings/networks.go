package settings

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"vpnd/crypto"
)

// Network is one network of the mesh, as its network file says.
type Network struct {
	Name string
	// Line is where the name stands.
	Line int
	// Subnets are in the order of their addresses.
	Subnets []netip.Prefix
	// Key is the gateway's public key.
	Key crypto.PublicKey
	// Inner is the gateway's own address in one of the subnets.
	Inner netip.Addr
	// Address is where the gateway is reached, if it does not change.
	Address netip.Addr
	// Port is where the gateway is reached, if it is not the one that it tells.
	Port uint16
	// Disabled leaves the network out of the mesh.
	Disabled bool
}

// Bounds of a network file.
const (
	MaxNetworks = 1000 // more than fit into MaxTable
	MaxSubnets  = 64   // of one network
	MaxName     = 63
)

// CheckName says what is wrong with the name of a network. It becomes part of the
// names of files.
func CheckName(name string) error {
	isPart := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.'
	}
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isPart(r) }):
		return fmt.Errorf("%s is no name of a network: letters, digits, - _ and . belong there", quote(name))
	case strings.Trim(name[:1], "-_.") == "":
		return fmt.Errorf("%s is no name of a network: it begins with a letter or a digit", quote(name))
	case len(name) > MaxName:
		return fmt.Errorf("the name %s is longer than %d characters", quote(name), MaxName)
	}
	return nil
}

// LoadNetworks reads a network file. A file that others can change is refused.
func LoadNetworks(path string) ([]Network, error) {
	text, err := readText(path, checkPlain)
	if err != nil {
		return nil, fmt.Errorf("network file: %w", err)
	}
	return ParseNetworks(path, text)
}

// ParseNetworks reads the text of a network file. The error is of type Problems.
func ParseNetworks(file, text string) ([]Network, error) {
	p := &networkParser{collector: collector{file: file}}
	p.lines(text, p.line)
	p.finish()
	p.compare()
	if err := p.err(); err != nil {
		return nil, err
	}
	return p.networks, nil
}

// networkParser reads one network after the other.
type networkParser struct {
	collector
	networks []Network
	where    []subnetLine
	current  *Network
	seen     map[string]int // what stands under the current name, and where
}

// subnetLine is a subnet and where it stands.
type subnetLine struct {
	prefix netip.Prefix
	name   string
	line   int
}

// line takes one line: a name, or what belongs to the name above it.
func (p *networkParser) line(n int, line string) {
	word, indented := strings.TrimLeft(line, " \t"), line != "" && (line[0] == ' ' || line[0] == '\t')
	if i := strings.IndexByte(word, '#'); i >= 0 {
		word = strings.TrimRight(word[:i], " \t")
	}
	switch {
	case word == "":
	case !indented:
		p.finish()
		p.begin(n, word)
	case p.current == nil:
		p.add(n, "a line that is indented belongs to a name, and there is none above it")
	default:
		name, value, ok := strings.Cut(word, "=")
		if err := p.item(n, strings.TrimRight(name, " \t"), strings.Trim(value, " \t"), ok); err != nil {
			p.add(n, "%v", err)
		}
	}
}

func (p *networkParser) begin(n int, name string) {
	if before, _, ok := strings.Cut(name, "="); ok && slices.Contains(itemNames, strings.TrimRight(before, " \t")) {
		p.add(n, "%s: this belongs to a network, so it is indented", quote(name))
		return
	}
	if err := CheckName(name); err != nil {
		p.add(n, "%v", err)
	}
	p.current, p.seen = &Network{Name: name, Line: n}, make(map[string]int)
}

var itemNames = []string{"subnet", "key", "inner", "address", "port", "disabled"}

// item takes one indented line.
func (p *networkParser) item(n int, name, value string, hasValue bool) error {
	if !slices.Contains(itemNames, name) || hasValue != (name != "disabled") {
		return fmt.Errorf("%s is not subnet=, key=, inner=, address=, port= or disabled", quote(name))
	}
	if at := p.seen[name]; at != 0 && name != "subnet" {
		return fmt.Errorf("%s stands in line %d already", name, at)
	}
	p.seen[name] = n
	switch name {
	case "subnet":
		return p.subnet(n, value)
	case "key":
		return wrap("key: ", assign(&p.current.Key, value, crypto.ParsePublicKey))
	case "inner":
		return wrap("inner: ", assign(&p.current.Inner, value, parseInner))
	case "address":
		return wrap("address ", assign(&p.current.Address, value, parseOuter))
	case "port":
		return wrap("port "+quote(value)+" ", assign(&p.current.Port, value, parsePort))
	}
	p.current.Disabled = true
	return nil
}

func assign[T any](to *T, value string, parse func(string) (T, error)) (err error) {
	*to, err = parse(value)
	return err
}

func wrap(before string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%w", before, err)
}

func parseInner(value string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return addr, fmt.Errorf("%s is not an address", quote(value))
	}
	return addr, nil
}

func (p *networkParser) subnet(n int, value string) error {
	prefix, err := netip.ParsePrefix(value)
	switch {
	case err != nil || prefix.Addr().Is4In6():
		return fmt.Errorf("subnet: %s is not address/bits, such as 192.168.20.0/24", quote(value))
	case prefix != prefix.Masked():
		return fmt.Errorf("subnet: %v has bits behind its end: %v is the network", prefix, prefix.Masked())
	}
	if err := CheckSubnet(prefix); err != nil {
		return fmt.Errorf("subnet: %w", err)
	}
	p.current.Subnets = append(p.current.Subnets, prefix)
	p.where = append(p.where, subnetLine{prefix, p.current.Name, n})
	return nil
}

// CheckSubnet says why no network of a mesh can have these addresses.
func CheckSubnet(prefix netip.Prefix) error {
	if prefix.Bits() == 0 {
		return errors.New("this is everything, the way out to the Internet too")
	}
	for _, no := range unfit {
		if prefix.Overlaps(no) {
			return fmt.Errorf("%v overlaps %v, which no network can have", prefix, no)
		}
	}
	return nil
}

// unfit are no addresses of hosts, or of one link only.
var unfit = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::/64"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}
