// Package conf turns keyword lines into one validated [Config] that remembers
// where each keyword stood.
//
// A configuration is text with one keyword a line:
//
//	file     = { line newline } [ line ] .
//	line     = { blank } [ keyword { blank { blank } argument } ] { blank } [ comment ] .
//	keyword  = word .
//	argument = word .
//	word     = plain { plain } | '"' { any byte but '"' } '"' .
//	plain    = any byte but blank, newline, '"' and '#' .
//	comment  = "#" { any byte } .
//	blank    = space | tab .
//	newline  = [ CR ] LF .
//
// The order of the lines means nothing, except among several server lines of
// a client and several route lines. Words are UTF-8; a comment may hold any
// bytes, because old files have comments in other encodings.
//
// A text of bounded size is read to its end whatever it says, so that all its
// problems come back at once, as [Errors]. What can only be judged when every line is known,
// such as anything that depends on mode, is checked after the last line, and
// only when the keywords that it depends on had no problem of their own.
package conf

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The limits of an input. They are far above what a person writes and keep a
// wrong file, such as a device or a log, from being taken for a configuration.
const (
	maxFile  = 1 << 20 // bytes
	maxLine  = 4096    // bytes
	maxLines = 10000   // bounds every list of a Config as well
)

// A Mode says which end of the link this is.
type Mode string

// The two modes.
const (
	Client Mode = "client"
	Server Mode = "server"
)

// The ways in which the two ends prove who they are.
const (
	PSK    = "psk"
	Strong = "strong"
)

// An Endpoint is one end of the outer connection, or the device of a serial line.
type Endpoint struct {
	Host   string // an IPv4 or IPv6 literal without brackets, a DNS name, or "" for any address
	Port   uint16 // 0 for any port
	Device string // "" without; then Host and Port mean nothing
}

// String returns host:port, with an IPv6 host in brackets, or the device.
func (e Endpoint) String() string {
	if e.Device != "" {
		return e.Device
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// A Route is one network that is reached through this host's tunnel.
type Route struct {
	Dest    netip.Prefix
	Gateway netip.Addr // invalid: straight into the tunnel
	Metric  int        // 0: the system's choice
	Where   string     // "file:line"
	Keyword string     // "route", or "route1" to "route9"
}

// A Config is a whole and valid configuration. Paths in it are absolute.
type Config struct {
	Path string // of the configuration itself
	Name string // of the instance: the base name of Path without ".conf"

	Mode   Mode
	Server []Endpoint // server: the one to listen on; client: those to connect to, in order; no port is 0
	Client Endpoint   // server: whom to accept; client: the local end to bind
	Device string     // of the serial line to run over, as Server or Client has it; "": over TCP

	Speed       int    // bit/s
	LocalLine   bool   // ignore the modem control lines
	NoRTSCTS    bool   // no flow control by RTS and CTS
	XFilter     bool   // escape XON and XOFF
	Telnet      bool   // escape IAC
	RS485       *RS485 // nil without
	HalfDuplex  bool   // the ends take turns
	ModemChat   string // "" without
	Demand      bool
	Idle        time.Duration // 0: never
	NoIPv6      bool
	NoMulticast bool

	// Local and Remote are paired by index: at most one IPv4 and one IPv6, IPv4 first.
	// A hub has no Remote; with LocalAuto there is no Local, and there may be no Remote.
	Local, Remote []netip.Addr
	LocalAuto     bool

	Pool           []netip.Prefix // of a hub
	Peers          string         // directory with the files of a hub's clients; "" without
	ClientToClient bool

	Routes    []Route // route1 to route9, then route in the order of the file
	AutoRoute bool

	KeyFile, OldKeyFile string // OldKeyFile: "" without; KeyFile: "" with Key
	Key                 string // a strong key that stands in the configuration itself; "" without
	Passphrase          string // file with that of a sealed key; "" without
	KeySize             int    // bits
	PidFile, RandomDev  string // "" without

	Keepalive time.Duration
	NoAnswer  int
	KeyTTL    time.Duration
	MaxDelay  time.Duration // 0: off
	Retry     time.Duration

	MTU                                 int
	LinkUp, LinkDown, SlipUp, SlipDown  string // "" without
	HookTimeout                         time.Duration
	IPOpts                              int      // 1 reliability | 2 throughput | 4 low delay | 8 priority
	SendBuf                             int      // at least MTU
	Auth                                string   // PSK or Strong
	Ciphers                             []string // in the order given
	Compress, TunDev, StateDir, Control string   // TunDev: "" for the system's choice

	file  string           // as the caller named it, for messages
	lines map[string][]int // on which lines each keyword stood
}

// Where returns "file:line" of the first line with the keyword, or the file
// when there is none.
func (c *Config) Where(keyword string) string {
	if line := c.line(keyword); line > 0 {
		return c.at(line)
	}
	return c.file
}

// line returns the first line with the keyword, or 0.
func (c *Config) line(keyword string) int {
	if lines := c.lines[keyword]; len(lines) > 0 {
		return lines[0]
	}
	return 0
}

func (c *Config) at(line int) string { return fmt.Sprintf("%s:%d", c.file, line) }

// ParseFile reads and checks the configuration at path. The error is [Errors]
// when the file could be read.
func ParseFile(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	c, err := Parse(path, f)
	if err != nil || c.Key == "" {
		return c, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	if problem := exposed(path, info); problem != "" {
		return nil, Errors{{File: path, Line: c.line("key"), Keyword: "key", Problem: problem}}
	}
	return c, nil
}

// Parse reads and checks a configuration from r. Messages name it by path, and
// relative paths in it begin at path's directory. The error is [Errors] when r
// could be read.
func Parse(path string, r io.Reader) (*Config, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find directory of %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	if line, problem := unreadable(text); problem != "" {
		return nil, Errors{{File: path, Line: line, Problem: problem}}
	}
	p := newParser(&Config{
		Path:  abs,
		Name:  instance(abs),
		file:  path,
		lines: map[string][]int{},
	})
	p.obey(string(text))
	p.defaults()
	p.check()
	if len(p.errs) > 0 {
		return nil, p.errs.sorted()
	}
	return p.conf, nil
}

func instance(path string) string {
	base := filepath.Base(path)
	if name := strings.TrimSuffix(base, ".conf"); name != "" {
		return name
	}
	return base
}

// unreadable returns the line and the reason why text is no configuration at
// all, so that reporting each of its lines would only bury that.
func unreadable(text []byte) (line int, problem string) {
	if len(text) > maxFile {
		return lineAt(text, maxFile), fmt.Sprintf("the file is larger than %d bytes; is it the right one?", maxFile)
	}
	if nul := bytes.IndexByte(text, 0); nul >= 0 {
		return lineAt(text, nul), "holds a NUL byte; this is no plain text file"
	}
	if body := bytes.TrimSuffix(text, []byte("\n")); lineAt(body, len(body)) > maxLines {
		return maxLines + 1, fmt.Sprintf("the file has more than %d lines; is it the right one?", maxLines)
	}
	return 0, ""
}

func lineAt(text []byte, offset int) int {
	return 1 + bytes.Count(text[:offset], []byte("\n"))
}
