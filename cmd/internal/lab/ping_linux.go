package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

const (
	// pingLinger is how long replies are waited for after the last request.
	pingLinger = time.Second
	// maxPingCount keeps sequence numbers unique within one run.
	maxPingCount = 1 << 16
	// replyBacklog is how many replies wait to be counted.
	replyBacklog = 1024
	// maxPacket is the size of the largest IP packet.
	maxPacket = 1 << 16
)

// PingOptions says how Ping pings.
type PingOptions struct {
	Size     int           // bytes of payload
	Count    int           // requests
	Interval time.Duration // between requests; 0 waits for each reply
}

// PingStats is what came of the requests of one Ping.
type PingStats struct {
	Sent    int
	RTT     []time.Duration // of the replies, shortest first
	Damaged int             // replies with a payload other than the request's
	Err     error           // the last that sending or an ICMP error reported
}

// Percentile returns the round-trip time that p percent of the replies do
// not exceed, 0 without replies.
func (s PingStats) Percentile(p float64) time.Duration {
	if len(s.RTT) == 0 {
		return 0
	}
	rank := int(math.Ceil(p / 100 * float64(len(s.RTT))))
	return s.RTT[min(max(rank, 1), len(s.RTT))-1]
}

// Ping sends echo requests to dst and collects the replies. Loss is no
// error: it shows in the statistics.
func (n *Namespace) Ping(ctx context.Context, dst netip.Addr, o PingOptions) (PingStats, error) {
	if o.Count > maxPingCount {
		return PingStats{}, fmt.Errorf("ping %s: %d requests exceed %d", dst, o.Count, maxPingCount)
	}
	p, err := n.newPinger(ctx, dst, o.Size)
	if err != nil {
		return PingStats{}, err
	}
	defer p.close()
	r := pingRun{pinger: p, sent: make([]time.Time, 0, o.Count)}
	for len(r.sent) < o.Count && ctx.Err() == nil {
		r.sent = append(r.sent, time.Now())
		p.send(len(r.sent) - 1)
		if o.Interval > 0 {
			r.collect(ctx, o.Interval, func() bool { return false })
		} else {
			r.collect(ctx, pingLinger, r.lastAnswered)
		}
	}
	if o.Interval > 0 {
		r.collect(ctx, pingLinger, r.allAnswered)
	}
	if ctx.Err() != nil {
		return r.result(), fmt.Errorf("ping %s from %s: %w", dst, n.name, context.Cause(ctx))
	}
	return r.result(), nil
}

// WaitPing sends a request to dst every interval and returns the time until
// the first reply.
func (n *Namespace) WaitPing(ctx context.Context, dst netip.Addr, every time.Duration) (time.Duration, error) {
	start := time.Now()
	p, err := n.newPinger(ctx, dst, 0)
	if err != nil {
		return 0, err
	}
	defer p.close()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for seq := 0; ; seq++ {
		p.send(seq % maxPingCount)
		select {
		case reply := <-p.replies:
			return reply.at.Sub(start), nil
		case <-ticker.C:
		case <-ctx.Done():
			err := errors.Join(context.Cause(ctx), p.lastError())
			return 0, fmt.Errorf("no reply from %s to %s: %w", dst, n.name, err)
		}
	}
}

// pingRun matches replies with requests.
type pingRun struct {
	*pinger
	sent  []time.Time // zero once answered
	stats PingStats
}

// collect takes replies until enough says so or the time is over.
func (r *pingRun) collect(ctx context.Context, wait time.Duration, enough func() bool) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for !enough() {
		select {
		case reply := <-r.replies:
			r.take(reply)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// take counts the first reply to each request.
func (r *pingRun) take(e echo) {
	if e.seq >= len(r.sent) || r.sent[e.seq].IsZero() {
		return
	}
	if e.damaged {
		r.stats.Damaged++
	} else {
		r.stats.RTT = append(r.stats.RTT, e.at.Sub(r.sent[e.seq]))
	}
	r.sent[e.seq] = time.Time{}
}

func (r *pingRun) lastAnswered() bool { return r.sent[len(r.sent)-1].IsZero() }

func (r *pingRun) allAnswered() bool { return len(r.stats.RTT)+r.stats.Damaged == len(r.sent) }

func (r *pingRun) result() PingStats {
	r.stats.Sent = len(r.sent)
	slices.Sort(r.stats.RTT)
	r.stats.Err = r.lastError()
	return r.stats
}

// echo is a reply as it came in.
type echo struct {
	seq     int
	at      time.Time
	damaged bool
}

// pinger sends echo requests through a raw socket; a goroutine reads the
// replies.
type pinger struct {
	conn    *net.IPConn
	dst     *net.IPAddr
	kind    pingKind
	id      int
	payload []byte
	replies chan echo
	errs    chan error // the latest one
	done    chan struct{}
	stop    func() bool
}

// pingKind is what ICMP and ICMPv6 have different names for.
type pingKind struct {
	network        string
	request, reply icmp.Type
}

func pingKindOf(a netip.Addr) pingKind {
	if a.Is4() {
		return pingKind{"ip4:icmp", ipv4.ICMPTypeEcho, ipv4.ICMPTypeEchoReply}
	}
	return pingKind{"ip6:ipv6-icmp", ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply}
}

// body returns what follows the IP header, which comes along in IPv4 only.
func (k pingKind) body(b []byte) []byte {
	if k.reply != ipv4.ICMPTypeEchoReply || len(b) == 0 {
		return b
	}
	return b[min(int(b[0]&0xf)*4, len(b)):]
}

func (n *Namespace) newPinger(ctx context.Context, dst netip.Addr, size int) (*pinger, error) {
	p := &pinger{
		dst:     &net.IPAddr{IP: dst.AsSlice(), Zone: dst.Zone()},
		kind:    pingKindOf(dst),
		id:      rand.IntN(1 << 16),
		payload: pattern(size),
		replies: make(chan echo, replyBacklog),
		errs:    make(chan error, 1),
		done:    make(chan struct{}),
	}
	err := n.Do(func() (err error) {
		// Not connected, so that it works before there is a route, and hears
		// what routers report.
		p.conn, err = net.ListenIP(p.kind.network, nil)
		return err
	})
	if err == nil {
		err = stampArrivals(p.conn)
	}
	if err != nil {
		return nil, fmt.Errorf("ping %s from %s: %w", dst, n.name, err)
	}
	p.stop = context.AfterFunc(ctx, func() { _ = p.conn.Close() })
	go p.read()
	return p, nil
}

func (p *pinger) close() {
	p.stop()
	_ = p.conn.Close()
	<-p.done
}

func (p *pinger) send(seq int) {
	m := icmp.Message{Type: p.kind.request, Body: &icmp.Echo{ID: p.id, Seq: seq, Data: p.payload}}
	b, err := m.Marshal(nil) // the kernel fills in the checksum of ICMPv6
	if err == nil {
		_, err = p.conn.WriteToIP(b, p.dst)
	}
	p.note(err)
}

func (p *pinger) read() {
	defer close(p.done)
	buf, control := make([]byte, maxPacket), make([]byte, arrivalSpace)
	for {
		n, m, _, from, err := p.conn.ReadMsgIP(buf, control)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.parse(p.kind.body(buf[:n]), from.IP, arrival(control[:m]))
		}
	}
}

// parse takes what concerns this pinger's requests out of all the ICMP that
// the namespace receives.
func (p *pinger) parse(b []byte, from net.IP, at time.Time) {
	m, err := icmp.ParseMessage(p.kind.reply.Protocol(), b)
	if err != nil {
		return
	}
	switch body := m.Body.(type) {
	case *icmp.Echo:
		if m.Type != p.kind.reply || body.ID != p.id || !from.Equal(p.dst.IP) {
			return
		}
		select {
		case p.replies <- echo{seq: body.Seq, at: at, damaged: !bytes.Equal(body.Data, p.payload)}:
		default: // far more replies than requests
		}
	case *icmp.DstUnreach:
		if p.quoted(body.Data) {
			p.note(fmt.Errorf("%s: %s, code %d", from, m.Type, m.Code))
		}
	}
}

// quoted reports whether an ICMP error quotes a request of this pinger.
func (p *pinger) quoted(packet []byte) bool {
	header := ipv6.HeaderLen
	if len(packet) > 0 && packet[0]>>4 == ipv4.Version {
		header = int(packet[0]&0xf) * 4
	}
	const id = 4 // offset in the echo
	return len(packet) >= header+id+2 && int(binary.BigEndian.Uint16(packet[header+id:])) == p.id
}

// note keeps err as the latest.
func (p *pinger) note(err error) {
	if err == nil {
		return
	}
	select {
	case <-p.errs:
	default:
	}
	select {
	case p.errs <- err:
	default:
	}
}

func (p *pinger) lastError() error {
	select {
	case err := <-p.errs:
		return err
	default:
		return nil
	}
}
