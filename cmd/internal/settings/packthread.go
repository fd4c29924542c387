package settings

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"vpnd/crypto"
)

// Packthread is the settings of packthread.
type Packthread struct {
	// URL is where nexus is asked.
	URL string
	// ServerKey is nexus's public key.
	ServerKey crypto.PublicKey
	// Password is what nexus and all gateways share.
	Password string
	// Port is where this gateway takes links and nudges.
	Port uint16
	// Address is where others reach this gateway, if nexus cannot see that: it is
	// published once it has answered. The zero Addr leaves it to nexus.
	Address netip.Addr
	// KeyFile is the gateway's key pair.
	KeyFile string
	// StateDir is where the last table is kept.
	StateDir string
}

// LoadPackthread reads a file of settings. A file that others can read is refused.
func LoadPackthread(path string) (*Packthread, error) { return load(path, ParsePackthread) }

// ParsePackthread reads the text of a file of settings. The error is of type Problems.
func ParsePackthread(file, text string) (*Packthread, error) {
	p := &Packthread{
		Port:     defaultPort,
		KeyFile:  filepath.Join(filepath.Dir(file), "packthread.key"),
		StateDir: "/var/lib/packthread",
	}
	server := place{scheme: "http"}
	c := &collector{file: file}
	c.assign(text, []setting{
		{"server_addr", true, server.setAddr},
		{"server_port", false, setPort(&server.port)},
		{"cgi_script", false, server.setScript},
		{"port", false, p.setPort},
		{"password", true, setPassword(&p.Password)},
		{"server_key", true, p.setServerKey},
		{"address", false, p.setAddress},
		{"key_path", false, setPath(&p.KeyFile, file)},
		{"state_path", false, setPath(&p.StateDir, file)},
	})
	if err := c.err(); err != nil {
		return nil, err
	}
	p.URL = server.url()
	return p, nil
}

// place is where nexus is asked. Without a script nexus runs without a web server.
type place struct {
	scheme, host, script string
	port                 uint16 // 0: the usual one
}

// setAddr takes a name or an address, and https:// before it if the web server wants
// that.
func (s *place) setAddr(value string) error {
	if host, ok := strings.CutPrefix(value, "https://"); ok {
		s.scheme, value = "https", host
	}
	value = strings.TrimPrefix(value, "http://")
	if addr, err := netip.ParseAddr(strings.Trim(value, "[]")); err == nil && addr.Zone() == "" {
		s.host = addr.String()
		return nil
	}
	if !isHostName(value) {
		return fmt.Errorf("%s is no name and no address of a server", quote(value))
	}
	s.host = value
	return nil
}

// isHostName reports whether s can be a name in the DNS.
func isHostName(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	for label := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || strings.Trim(label, letters) != "" {
			return false
		}
	}
	return len(s) <= 253
}

// setScript takes the path of the CGI program on its server.
func (s *place) setScript(value string) error {
	if value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || value[0] != '/' || u.Host != "" || u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.Contains(value, "#") {
		return fmt.Errorf("%s is no path on a web server, such as /cgi-bin/nexus.cgi", quote(value))
	}
	s.script = u.EscapedPath()
	return nil
}

func (s *place) url() string {
	port := s.port
	switch {
	case port != 0:
	case s.script == "":
		port = defaultPort
	case s.scheme == "https":
		port = 443
	default:
		port = 80
	}
	return s.scheme + "://" + net.JoinHostPort(s.host, strconv.Itoa(int(port))) + cmp.Or(s.script, "/")
}

func (p *Packthread) setServerKey(value string) (err error) {
	if p.ServerKey, err = crypto.ParsePublicKey(value); err != nil {
		err = fmt.Errorf("is not what nexus -m printed: %w", err)
	}
	return err
}

// callPort is where this gateway calls others from, through a third one.
const callPort = 2003

func (p *Packthread) setPort(value string) error {
	if err := setPort(&p.Port)(value); err != nil {
		return err
	}
	if p.Port == callPort {
		return fmt.Errorf("%d is where calls through a third gateway come from: choose another one", callPort)
	}
	return nil
}

func (p *Packthread) setAddress(value string) error {
	addr, err := parseOuter(value)
	if err != nil {
		return err
	}
	p.Address = addr
	return nil
}

// parseOuter reads an address at which a gateway can be reached.
func parseOuter(value string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(value)
	switch {
	case err != nil:
		return addr, fmt.Errorf("%s is not an address", quote(value))
	case addr.Zone() != "" || !addr.IsGlobalUnicast():
		return addr, errors.New("cannot be reached from another network: " + quote(value))
	}
	return addr.Unmap(), nil
}
