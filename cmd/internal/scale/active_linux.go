package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"vpnd/tunnel"
)

// measureActive measures what clients send together, beside one that is alone, and
// with their hub beside another one.
func (o options) measureActive(out io.Writer) error {
	alone, _, err := o.throughput(1, 1)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "1 client sends %.2f Gbit/s\n", alone/1e9)
	for hubs := 1; hubs <= 2; hubs++ {
		together, least, err := o.throughput(o.active, hubs)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d clients of %d hubs send %.2f Gbit/s, %.2f of one; the slowest has %.2f of its share\n",
			o.active, hubs, together/1e9, together/alone, least*float64(o.active)/together)
	}
	return nil
}

// throughput returns the bits per second that clients send together, and those of the
// slowest.
func (o options) throughput(clients, hubs int) (all, least float64, err error) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	devices := make([]*busy, clients)
	for i := range devices {
		devices[i] = newBusy(innerOf(i), netip.AddrFrom4([4]byte{10, 200, 0, 1}))
	}
	addresses := make([]string, hubs)
	for i := range addresses {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, err
		}
		addresses[i] = l.Addr().String()
		t, err := newHub(l, &collector{newSilent(), devices})
		if err != nil {
			return 0, 0, err
		}
		running.Go(func() { t.Run(ctx) })
	}
	f, err := launch(clients, func(i int) string { return addresses[i%hubs] }, func(i int) tunnel.Device { return devices[i] })
	if err != nil {
		return 0, 0, err
	}
	defer f.close()
	if _, err := f.await(clients, patience); err != nil {
		return 0, 0, err
	}
	time.Sleep(o.time / 5)
	return measure(devices, o.time)
}

// measure watches what arrives of the clients.
func measure(devices []*busy, d time.Duration) (all, least float64, err error) {
	before := make([]int64, len(devices))
	for i, b := range devices {
		before[i] = b.bytes.Load()
	}
	began := time.Now()
	time.Sleep(d)
	took := time.Since(began).Seconds()
	for i, b := range devices {
		rate := float64(8*(b.bytes.Load()-before[i])) / took
		all += rate
		if i == 0 || rate < least { // 0 is a rate, too
			least = rate
		}
	}
	return all, least, nil
}

// collector is a hub's device. It tells the client's device what has come.
type collector struct {
	*silent
	clients []*busy
}

// BatchSize is that of a TUN device.
func (c *collector) BatchSize() int { return 128 }

// Write takes packets.
func (c *collector) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		from := binary.BigEndian.Uint32(b[offset+12:])
		first := [4]byte(innerOf(0).AsSlice())
		client := c.clients[from-binary.BigEndian.Uint32(first[:])]
		client.bytes.Add(int64(len(b) - offset))
		client.came(1)
	}
	return len(bufs), nil
}
