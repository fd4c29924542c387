package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"

	"vpnd/cmd/internal/lab"
)

// probe pings all the time, whether anything comes back or not, as a queue holds
// replies up for longer than a ping would wait for them.
type probe struct {
	trips
	conn  *net.IPConn
	dst   *net.IPAddr
	id    int
	quit  chan struct{}
	rest  func() // sends no more
	sends sync.WaitGroup
	reads sync.WaitGroup
}

func startProbe(n *lab.Namespace, dst netip.Addr, every time.Duration) (*probe, error) {
	p := &probe{dst: &net.IPAddr{IP: dst.AsSlice()}, id: rand.IntN(1 << 16), quit: make(chan struct{})}
	err := n.Do(func() (err error) {
		p.conn, err = net.ListenIP("ip4:icmp", nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ping from %s: %w", n.Name(), err)
	}
	p.rest = sync.OnceFunc(func() { close(p.quit); p.sends.Wait() })
	p.sends.Go(func() { p.send(every) })
	p.reads.Go(p.read)
	return p, nil
}

// close ends the probe. What has not come back by now does not count as answered.
func (p *probe) close() {
	p.rest()
	_ = p.conn.Close() // read ends with it
	p.reads.Wait()
}

func (p *probe) send(every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	payload := make([]byte, pingSize)
	_, _ = lab.Random(0).Read(payload) // never fails
	for {
		number := p.begin(time.Now())
		m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.id, Seq: number % (1 << 16), Data: payload}}
		if b, err := m.Marshal(nil); err == nil {
			_, _ = p.conn.WriteToIP(b, p.dst) // what does not leave is not answered
		}
		select {
		case <-ticker.C:
		case <-p.quit:
			return
		}
	}
}

func (p *probe) read() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := p.conn.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || !from.IP.Equal(p.dst.IP) {
			continue
		}
		now := time.Now()
		m, err := icmp.ParseMessage(ipv4.ICMPTypeEcho.Protocol(), buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		if body, ok := m.Body.(*icmp.Echo); ok && body.ID == p.id {
			p.end(body.Seq, now)
		}
	}
}
