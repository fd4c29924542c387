package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel"
)

// hubAddr is the hub's inner address. Client n has the n-th one behind it, and calls
// from the n-th one behind 127.1.0.0.
var hubAddr = netip.AddrFrom4([4]byte{10, 128, 0, 1})

func nth(network [4]byte, n int) netip.Addr {
	binary.BigEndian.PutUint32(network[:], binary.BigEndian.Uint32(network[:])+uint32(n)+2)
	return netip.AddrFrom4(network)
}

func innerOf(n int) netip.Addr { return nth([4]byte{10, 128, 0, 0}, n) }
func outerOf(n int) netip.Addr { return nth([4]byte{127, 1, 0, 0}, n) }

// common is what all ends have: what vpnd has when its configuration says nothing.
func common() (tunnel.Config, error) {
	key, err := crypto.NewKey(bytes.Repeat([]byte{1}, 32))
	return tunnel.Config{
		MTU: packetSize, Keys: []*crypto.Key{key}, Random: rand.Reader, Ciphers: []crypto.Cipher{crypto.Blowfish},
		KeyBits: 448, KeyTTL: 10 * time.Minute, Log: slog.New(slog.DiscardHandler),
		Tuning: tunnel.Tuning{Keepalive: 20 * time.Second, NoAnswer: 6, Retry: time.Minute, Compress: "auto", SendBuf: 16384},
	}, err
}

// newHub returns a hub that knows every client by its number.
func newHub(l net.Listener, d tunnel.Device) (*tunnel.Tunnel, error) {
	c, err := common()
	if err != nil {
		return nil, err
	}
	c.Listener, c.Device, c.Local = l, d, []netip.Addr{hubAddr}
	c.Hub = &tunnel.Hub{Guest: func(id crypto.ClientID, _ []netip.Addr, _ func(string) bool) (tunnel.HubPeer, error) {
		n := int(binary.BigEndian.Uint32(id[:]))
		return tunnel.HubPeer{Name: fmt.Sprintf("client%d", n), Addrs: []netip.Addr{innerOf(n)}}, nil
	}}
	return tunnel.New(c)
}

// fleet is simulated clients.
type fleet struct {
	up   atomic.Int64 // how many have a link
	all  sync.WaitGroup
	stop context.CancelFunc
}

// launch starts clients 0 to n-1 of the hub at an address, with these devices.
func launch(n int, hub func(i int) string, device func(i int) tunnel.Device) (*fleet, error) {
	f := &fleet{}
	ctx, stop := context.WithCancel(context.Background())
	f.stop = stop
	for i := range n {
		c, err := common()
		if err != nil {
			return nil, err
		}
		binary.BigEndian.PutUint32(c.Client[:], uint32(i))
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(outerOf(i), 0))}
		c.Device, c.Auto = device(i), true
		c.Servers = []tunnel.Dial{func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", hub(i)) }}
		c.Up = func(tunnel.Link) {
			f.up.Add(1)
			if b, ok := c.Device.(*busy); ok {
				b.came(window)
			}
		}
		c.Down = func(tunnel.Link, error) { f.up.Add(-1) }
		t, err := tunnel.New(c)
		if err != nil {
			return nil, err
		}
		f.all.Go(func() { t.Run(ctx) })
	}
	return f, nil
}

// await waits until so many clients are there.
func (f *fleet) await(n int, limit time.Duration) (took time.Duration, err error) {
	began := time.Now()
	for f.up.Load() != int64(n) {
		if took = time.Since(began); took > limit {
			return took, fmt.Errorf("%d of %d clients are there after %v", f.up.Load(), n, limit)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return time.Since(began), nil
}

// close ends all clients.
func (f *fleet) close() {
	f.stop()
	f.all.Wait()
}
