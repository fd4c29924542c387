package conf

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An RS485 says how long the driver holds the direction of a bus beyond the data.
type RS485 struct{ Before, After time.Duration }

// The limits of a bit rate: below, a packet takes longer than anybody waits;
// above, there is no UART.
const (
	minSpeed = 300
	maxSpeed = 12_000_000
)

// fastLine is the bit rate from which a packet of 576 bytes does not hold up the
// next one for more than 100 ms.
const fastLine = 57600

// What holds for a serial line in the place of the table's default.
const (
	slowMTU     = 296
	fastMTU     = 576
	lineSendBuf = 4096
)

// serialOnly are the keywords that mean nothing to a link over TCP.
var serialOnly = strings.Fields("speed localline nortscts xfilter telnet rs485 halfduplex modemchat demand idle")

// setRS485 parses [BEFORE AFTER]. The kernel holds RTS for at most 100 ms.
func (c *Config) setRS485(l line) error {
	var ms [2]int
	if len(l.args) != 0 && len(l.args) != len(ms) {
		return errUsage
	}
	for i, arg := range l.args {
		var err error
		if ms[i], err = whole(arg, "milliseconds", 0, 100); err != nil {
			return err
		}
	}
	c.RS485 = &RS485{Before: time.Duration(ms[0]) * time.Millisecond, After: time.Duration(ms[1]) * time.Millisecond}
	return nil
}

// settleLine finds out which serial line the link runs over, if it does. The
// keyword of this end's own mode comes first; the other one may name the device at
// the far end.
func (p *parser) settleLine() {
	c := p.conf
	if !p.sound("server", "client") {
		return
	}
	server := slices.IndexFunc(c.Server, func(e Endpoint) bool { return e.Device != "" })
	if server < 0 && c.Client.Device == "" {
		p.checkNoLine()
		return
	}
	if lines := c.lines["server"]; len(lines) > 1 {
		p.report(lines[1], "server", fmt.Errorf("a serial line leads to one place, and line %d names it already; keep one of the two", lines[0]))
		return
	}
	own, other := c.Server[max(server, 0)].Device, c.Client.Device
	if c.Mode == Client {
		own, other = other, own
	}
	c.Device = cmp.Or(own, other)
	if e := c.Server[0]; e.Device == "" && (e.Host != "" || e.Port != 0 && e.Port != defaultPort) {
		p.mixed("server", "client")
	}
	if e := c.Client; e.Device == "" && e != (Endpoint{}) {
		p.mixed("client", "server")
	}
	p.checkLine()
}

// mixed reports that keyword has an address or a port, and other a device.
func (p *parser) mixed(keyword, other string) {
	c := p.conf
	p.report(c.line(keyword), keyword, fmt.Errorf("an address or a port, but line %d names the serial line %s; remove one of the two",
		c.line(other), quote(c.Device)))
}

// checkNoLine judges a link over TCP.
func (p *parser) checkNoLine() {
	c := p.conf
	for _, keyword := range serialOnly {
		if line := c.line(keyword); line > 0 && p.sound(keyword) {
			p.report(line, keyword, fmt.Errorf(`only for a serial line; name its device with "%s DEVICE", or remove the line`, c.Mode))
		}
	}
}

// checkLine judges a link over a serial line, and settles what follows from that.
func (p *parser) checkLine() {
	c := p.conf
	if line := c.line("ipopts"); line > 0 {
		p.report(line, "ipopts", errors.New("a serial line has no outer packets; remove the line"))
	}
	if c.Demand && c.Mode == Server {
		p.report(c.line("demand"), "demand", errors.New("a server waits for calls and does not dial; remove the line"))
	}
	if c.RS485 != nil && c.ModemChat != "" && p.sound("rs485", "modemchat") {
		p.report(c.line("modemchat"), "modemchat", fmt.Errorf("an RS-485 bus, line %d, has no modem to talk to; remove one of the two", c.line("rs485")))
	}
	if c.RS485 != nil { // RTS is the direction, and a bus has no carrier
		c.LocalLine, c.NoRTSCTS, c.HalfDuplex = true, true, true
	}
	if c.line("mtu") == 0 {
		c.MTU = slowMTU
		if c.Speed >= fastLine {
			c.MTU = fastMTU
		}
		if c.firstIPv6() != "" {
			c.MTU = minIPv6
		}
	}
	if c.line("sendbuf") == 0 {
		c.SendBuf = lineSendBuf
	}
}

// checkNoIPv6 finds addresses and routes that noipv6 makes useless.
func (p *parser) checkNoIPv6() {
	c := p.conf
	if ipv6 := c.firstIPv6(); c.NoIPv6 && ipv6 != "" {
		p.report(c.line("noipv6"), "noipv6", fmt.Errorf("no IPv6 passes then, but there is %s; remove one of the two", ipv6))
	}
}
