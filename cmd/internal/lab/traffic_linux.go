package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// trafficTick is the time between two bursts of a track.
	trafficTick = 10 * time.Millisecond
	// trafficBuffer is the receive buffer of a track.
	trafficBuffer = 4 << 20
	// markerPatience is how long a datagram that ends a burst is waited for before
	// another one follows it.
	markerPatience = 200 * time.Millisecond

	headersIPv4, headersIPv6 = 28, 48 // with that of UDP
)

// Traffic is UDP datagrams of every size under a sequence of numbers, several
// tracks for each pair of ends, until it is closed. What arrives is checked bit
// by bit, see stamp. It needs the same memory however long it runs.
type Traffic struct {
	ways   [][]*track // as the ends were given
	rate   atomic.Int64
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// TrafficCounts is what became of the datagrams from one end to the other.
type TrafficCounts struct {
	Sent     uint64 // taken by the kernel
	Refused  uint64 // not taken by the kernel, which had no way to the server
	Received uint64
	Bytes    uint64 // of those received
	Overflow uint64 // dropped at the receiver's socket

	Altered, Duplicate, Reordered uint64

	Sizes int // different ones among those received
}

// NewTraffic opens the tracks from the client to the server of each pair of
// ends, which must have a Src, for packets of up to mtu bytes. Nothing is sent
// before Rate.
func NewTraffic(mtu int, all ...Ends) (*Traffic, error) {
	t := &Traffic{}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	for i, e := range all {
		s := stamp{largest: mtu - headersIPv4, run: 1}
		if e.Dst.Is6() {
			s.largest = mtu - headersIPv6
		}
		var way []*track
		for j, kind := range []stamp{{run: 1}, {run: 1, text: true}, {run: 8}} { // runs are what a kernel joins
			s.id, s.run, s.text = uint32(i<<8|j), kind.run, kind.text
			k, err := newTrack(e, s)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("open traffic: %w", err), t.Close())
			}
			way = append(way, k)
			t.wg.Go(k.receive)
			t.wg.Go(func() { t.drive(k) })
			t.ways = append(t.ways[:i], way)
		}
	}
	return t, nil
}

// Close ends the traffic.
func (t *Traffic) Close() error {
	t.cancel()
	var errs []error
	for _, k := range t.tracks() {
		errs = append(errs, k.out.Close(), k.in.Close())
	}
	t.wg.Wait()
	return errors.Join(errs...)
}

// Rate sets how many datagrams each track sends every 10 ms. After Rate(0) has
// returned none is sent.
func (t *Traffic) Rate(n int) {
	t.rate.Store(int64(n))
	for _, k := range t.tracks() {
		k.sending.Lock()
		k.sending.Unlock()
	}
}

// drive sends at the rate of the moment.
func (t *Traffic) drive(k *track) {
	ticker := time.NewTicker(trafficTick)
	defer ticker.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return
		case <-ticker.C:
			k.send(func() int { return int(t.rate.Load()) })
		}
	}
}

// Settle stops the traffic and sends single datagrams until the last one of each
// track has arrived: nothing is on the way any more, since a track keeps its
// order.
func (t *Traffic) Settle(ctx context.Context) error {
	t.Rate(0)
	for _, k := range t.tracks() {
		if err := k.settle(ctx); err != nil {
			return fmt.Errorf("settle traffic to %v: %w", k.in.LocalAddr(), err)
		}
	}
	return nil
}

// Counts returns what became of the datagrams so far, for each pair of ends.
func (t *Traffic) Counts() ([]TrafficCounts, error) {
	counts := make([]TrafficCounts, len(t.ways))
	for i, way := range t.ways {
		for _, k := range way {
			if err := k.addTo(&counts[i]); err != nil {
				return nil, fmt.Errorf("count traffic to %v: %w", k.in.LocalAddr(), err)
			}
		}
	}
	return counts, nil
}

func (t *Traffic) tracks() (all []*track) {
	for _, way := range t.ways {
		all = append(all, way...)
	}
	return all
}

// track is numbered datagrams from one socket to another.
type track struct {
	out, in *net.UDPConn

	sending sync.Mutex
	stamp
	next    uint64 // number to be sent
	refused uint64
	buf     []byte

	receiving sync.Mutex
	check     *checker
	counts    TrafficCounts // the receiver's part
}

func newTrack(e Ends, s stamp) (*track, error) {
	k := &track{stamp: s, buf: make([]byte, s.largest+stampHeader), check: newChecker(s)}
	err := e.Server.Do(func() (err error) {
		k.in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Dst, 0)))
		if err == nil {
			err = setBuffer(k.in)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = e.Client.Do(func() (err error) {
		k.out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.Src, 0)), k.in.LocalAddr().(*net.UDPAddr))
		return err
	})
	if err != nil {
		return nil, errors.Join(err, k.in.Close())
	}
	return k, nil
}

// send sends a burst. The number is asked for when nobody else is sending.
func (k *track) send(number func() int) {
	k.sending.Lock()
	defer k.sending.Unlock()
	for range number() {
		if _, err := k.out.Write(k.stamp.write(k.buf, k.next)); err != nil {
			k.refused++ // the number is used again
			return
		}
		k.next++
	}
}

func (k *track) receive() {
	buf := make([]byte, maxPacket)
	for {
		n, _, err := k.in.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			k.take(buf[:n])
		}
	}
}

func (k *track) take(b []byte) {
	k.receiving.Lock()
	defer k.receiving.Unlock()
	k.counts.Received++
	k.counts.Bytes += uint64(len(b))
	switch k.check.take(b) {
	case altered:
		k.counts.Altered++
	case duplicate:
		k.counts.Duplicate++
	case reordered:
		k.counts.Reordered++
	}
}

func (k *track) settle(ctx context.Context) error {
	for {
		wait, cancel := context.WithTimeout(ctx, markerPatience)
		err := poll(wait, k.complete)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		k.send(func() int { return 1 })
	}
}

// complete returns nil when the last datagram sent has arrived.
func (k *track) complete() error {
	k.sending.Lock()
	defer k.sending.Unlock()
	k.receiving.Lock()
	defer k.receiving.Unlock()
	if k.next != k.check.next {
		return fmt.Errorf("%d sent, %d the last that came", k.next, k.check.next)
	}
	return nil
}

func (k *track) addTo(c *TrafficCounts) error {
	overflow, err := dropped(k.in)
	if err != nil {
		return err
	}
	k.sending.Lock()
	defer k.sending.Unlock()
	k.receiving.Lock()
	defer k.receiving.Unlock()
	c.Sent += k.next
	c.Refused += k.refused
	c.Received += k.counts.Received
	c.Bytes += k.counts.Bytes
	c.Overflow += overflow
	c.Altered += k.counts.Altered
	c.Duplicate += k.counts.Duplicate
	c.Reordered += k.counts.Reordered
	c.Sizes = max(c.Sizes, len(k.check.came))
	return nil
}

// setBuffer gives a socket a large receive buffer, whatever the host's limit.
func setBuffer(c *net.UDPConn) error {
	return control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, trafficBuffer)
	})
}

// dropped returns how many datagrams a socket had no room for.
func dropped(c *net.UDPConn) (n uint64, err error) {
	const drops = 8 // SK_MEMINFO_DROPS of linux/sock_diag.h
	var info [drops + 1]uint32
	err = control(c, func(fd int) error {
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return fmt.Errorf("read SO_MEMINFO: %w", errno)
		}
		return nil
	})
	return uint64(info[drops]), err
}

func control(c *net.UDPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	if err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) }); err != nil {
		return err
	}
	return ferr
}
