package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/tunnel"
)

// maxReport bounds what is read from a control socket.
const maxReport = 16 << 20

// runStatus is vpnd --status.
func (o *options) runStatus(sys system) error {
	c, err := o.config()
	if err != nil {
		return err
	}
	answer, err := ask(c.Control)
	if err != nil {
		return noAnswer(exit.Unknown, c, err)
	}
	text, up, err := show(answer, o.json, time.Now())
	if err != nil {
		return exit.Withf(exit.Unknown, "answer from %s: %w", c.Control, err)
	}
	_, err = io.WriteString(sys.stdout, text)
	if err == nil && !up {
		return &exit.Error{Code: exit.Down}
	}
	return err
}

// noAnswer says why a control socket does not answer; most often there is no daemon.
func noAnswer(code int, c *conf.Config, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return exit.Withf(exit.NoPerm, "no answer from %s: only root and the user of the daemon may ask (%w)", c.Name, err)
	}
	return exit.Withf(code, "no answer from %s: is vpnd running? (%w)", c.Name, err)
}

// ask asks for the report.
func ask(socket string) ([]byte, error) { return request(socket, "") }

// request says a line at a control socket, and returns the answer.
func request(socket, line string) ([]byte, error) {
	conn, err := net.DialTimeout("unix", socket, controlTimeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(controlTimeout))
	if _, err := io.WriteString(conn, line); err != nil {
		return nil, err
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, maxReport))
}

// show returns an answer as it is printed, and whether the link is up. Whoever
// made the socket, nothing but printable characters reaches the terminal.
func show(answer []byte, asJSON bool, now time.Time) (text string, up bool, err error) {
	var r report
	if json.Unmarshal(answer, &r) != nil {
		return "", false, errors.New("not the report of a vpnd") // what it is may be anything
	}
	text = r.text(now)
	if asJSON {
		var b bytes.Buffer
		if err := json.Compact(&b, answer); err != nil {
			return "", false, err
		}
		text = printable(b.String()) + "\n"
	}
	return text, r.State == "up", nil
}

// printable returns s with an escape, as JSON has it, for all that could disturb
// a terminal or forge a line.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// text is the report for people.
func (r report) text(now time.Time) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: %s since %s (%s)\n", printable(r.Instance), printable(r.State), r.Since.Local().Format(time.DateTime), age(now, r.Since))
	if r.State != "up" && r.Reason != "" {
		row("reason", "%s", r.Reason)
	}
	row("daemon", "pid %d, %s at %s, up %s", r.PID, r.Mode, r.Outer, age(now, r.Started))
	row("interface", "%s, mtu %d, local %s, remote %s", r.Interface, r.MTU, strings.Join(r.Local, " "), r.remote())
	if l := r.Link; l != nil {
		row("peer", "%s (%s), %s, key %s", l.Peer, l.Transport, l.Cipher, l.KeyID)
		row("keys", "epoch %d, %d ratchets, %d rekeys", l.Epoch, l.Ratchets, l.Rekeys)
		row("last packet", "%s ago, keepalive round trip %s", age(now, l.LastPacket), l.RoundTrip.Round(10*time.Microsecond))
	}
	if l := r.Line; l != nil {
		row("line", "%s at %d bit/s, %d damaged frames%s", l.Device, l.Speed, r.Damaged, l.uart())
	}
	row("links", "%d since the start", r.Links)
	row("sent", "%d packets, %s inside, %s on the wire, compression %.2f", r.Wire.PacketsOut, size(r.Inside.BytesIn), size(r.Wire.BytesOut), r.CompressionOut)
	row("received", "%d packets, %s inside, %s on the wire, compression %.2f", r.Wire.PacketsIn, size(r.Inside.BytesOut), size(r.Wire.BytesIn), r.CompressionIn)
	row("dropped out", "%s", nonZero(r.DropsOut))
	row("dropped in", "%s", nonZero(r.DropsIn))
	if r.Mode == "server" {
		row("refused", "%s", nonZero(r.Refused))
	}
	for _, p := range r.Peers {
		row("client", "%s", clientText(p, now))
	}
	return b.String()
}

// remote is the other end, or how many of a hub's clients are there.
func (r report) remote() string {
	if r.Peers == nil {
		return strings.Join(r.Remote, " ")
	}
	there := 0
	for _, p := range r.Peers {
		if p.State == "up" {
			there++
		}
	}
	return fmt.Sprintf("%d of %d clients", there, len(r.Peers))
}

// clientText is a hub's client on one line.
func clientText(p tunnel.PeerStats, now time.Time) string {
	text := fmt.Sprintf("%s %s %s, %s, sent %s, received %s", p.Name, p.State, age(now, p.Since), joined(p.Networks), size(p.Inside.BytesIn), size(p.Inside.BytesOut))
	if p.Link != nil {
		text += ", at " + p.Link.Peer
	} else if p.Reason != "" {
		text += ", " + p.Reason
	}
	if len(p.DropsOut) > 0 {
		text += ", dropped out " + nonZero(p.DropsOut)
	}
	if len(p.DropsIn) > 0 {
		text += ", dropped in " + nonZero(p.DropsIn)
	}
	return text
}

func joined(networks []netip.Prefix) string {
	texts := make([]string, len(networks))
	for i, n := range networks {
		if texts[i] = n.String(); n.IsSingleIP() {
			texts[i] = n.Addr().String()
		}
	}
	return strings.Join(texts, " ")
}

// uart is what a driver has counted, if it is worth a word.
func (l *lineReport) uart() string {
	if faults := nonZero(l.UART); faults != "none" {
		return ", uart: " + faults
	}
	return ""
}

func age(now, then time.Time) time.Duration {
	d := max(0, now.Sub(then))
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond)
	}
	return d.Round(time.Second)
}

// size is a number of bytes for people.
func size(n uint64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, prefix := float64(n)/unit, 0
	for ; f >= unit && prefix < len("kMGTPE")-1; prefix++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %cB", f, "kMGTPE"[prefix])
}

func nonZero(counts map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}
