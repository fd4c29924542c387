package main

import (
	crand "crypto/rand"
	bytesof "encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/crypto"
)

// An assault is run by a process of its own: the test binary, told so by
// assaultEnv. It works until TERM comes and then prints its tally.
const assaultEnv = "VPND_TEST_ASSAULT"

// What the callers of an assault do once they are connected.
const (
	sayNothing  = "nothing"      // until they are thrown out
	saySlowly   = "slowly"       // a byte every 5 s
	sayNoise    = "noise"        // some random bytes, and away
	sayForever  = "for ever"     // random bytes without end
	sayRecorded = "recorded"     // a first flight that the server has seen
	sayFresh    = "fresh"        // a good first flight, and then the head of a long frame
	sayNoACK    = "half a greet" // SYN, and no more: not even TCP is established
)

// assault says who calls and what they do.
type assault struct {
	To      netip.AddrPort
	From    netip.Prefix  // where the callers' addresses are
	Rate    int           // new callers a second; 0: Callers, each again and again
	Callers int           // at once, if there is no Rate
	Pause   time.Duration // of a caller before it calls again
	Say     string
	Flights [][]byte // recorded ones
	Key     string   // file, for fresh ones
}

// tally is what became of the callers.
type tally struct {
	Called  int64 // callers that reached the server
	Failed  int64 // that did not
	Heard   int64 // bytes that came back
	Elapsed time.Duration
}

// raid is an assault that is under way.
type raid struct {
	assault
	key     *crypto.Key
	noise   []byte
	next    atomic.Int64 // recorded flight
	called  atomic.Int64
	failed  atomic.Int64
	heard   atomic.Int64
	trouble atomic.Pointer[error] // the last one of a call
	quit    chan struct{}
	callers sync.WaitGroup
}

// runAssault is the whole process.
func runAssault(text string) error {
	r := &raid{quit: make(chan struct{}), noise: make([]byte, 64<<10)}
	if err := json.Unmarshal([]byte(text), &r.assault); err != nil {
		return err
	}
	_, _ = crand.Read(r.noise)
	if r.Key != "" {
		var err error
		if r.key, err = crypto.LoadKey(r.Key); err != nil {
			return err
		}
	}
	// The assailants stand for other machines: they may not take the server's share
	// of this one's processors. The process has its own group.
	if err := unix.Setpriority(unix.PRIO_PGRP, 0, 10); err != nil {
		return fmt.Errorf("set priority: %w", err)
	}
	var most unix.Rlimit // Go has raised it as far as it may
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err != nil || most.Cur < uint64(r.Callers)+100 {
		return fmt.Errorf("%d callers with %d descriptors at most (%v)", r.Callers, most.Cur, err)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	began := time.Now()
	if r.Rate > 0 {
		r.callers.Go(r.sally)
	}
	for range r.Callers {
		r.callers.Go(r.insist)
	}
	<-term
	close(r.quit)
	out := tally{r.called.Load(), r.failed.Load(), r.heard.Load(), time.Since(began)}
	if err := r.trouble.Load(); err != nil {
		fmt.Fprintln(os.Stderr, "last failure:", *err)
	}
	return json.NewEncoder(os.Stdout).Encode(out) // what is still open ends with the process
}

// sally sends callers at the rate, none of which waits for another.
func (r *raid) sally() {
	const tick = 5 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	due, last := 0.0, time.Now()
	for {
		select {
		case <-r.quit:
			return
		case now := <-ticker.C:
			due += now.Sub(last).Seconds() * float64(r.Rate)
			last = now
		}
		for ; due >= 1; due-- {
			if r.Say == sayNoACK {
				r.count(r.sendSYN())
				continue
			}
			r.callers.Go(r.once)
		}
	}
}

// insist is one caller that comes again and again.
func (r *raid) insist() {
	for {
		r.once()
		select {
		case <-r.quit:
			return
		case <-time.After(r.Pause + rand.N(r.Pause+1)):
		}
	}
}

// count counts a call. A reset comes from a server that had thrown the caller out
// before it knew that it was connected.
func (r *raid) count(err error) {
	if err == nil || errors.Is(err, syscall.ECONNRESET) {
		r.called.Add(1)
		return
	}
	r.failed.Add(1)
	r.trouble.Store(&err)
}

// once is one call.
func (r *raid) once() {
	d := net.Dialer{Timeout: 30 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.source(), 0)), Control: latePort}
	d.SetMultipathTCP(false)
	conn, err := d.Dial("tcp", r.To.String())
	r.count(err)
	if err != nil {
		return
	}
	tcp := conn.(*net.TCPConn)
	_ = tcp.SetLinger(0) // no TIME-WAIT: the ports of all addresses would be used up
	defer tcp.Close()
	r.talk(tcp)
}

// latePort lets connect choose the port: the pair of addresses has to be unlike
// all others, not the local address alone.
func latePort(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(cerr, err)
}

// source returns any address of the prefix.
func (r *raid) source() netip.Addr {
	a := r.From.Masked().Addr().As4()
	n := bytesof.BigEndian.Uint32(a[:]) + 1 + rand.Uint32N(1<<(32-r.From.Bits())-2)
	bytesof.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}

// talk says what the assault is about and listens to the end.
func (r *raid) talk(conn *net.TCPConn) {
	switch r.Say {
	case saySlowly:
		go func() {
			for i := 0; ; i++ {
				if _, err := conn.Write(r.noise[i%crypto.F1Size:][:1]); err != nil {
					return
				}
				time.Sleep(5 * time.Second)
			}
		}()
	case sayNoise:
		_, _ = conn.Write(r.noise[:1+rand.IntN(2000)]) // the server may have thrown it out
		return
	case sayForever:
		go func() {
			for {
				if _, err := conn.Write(r.noise); err != nil {
					return
				}
			}
		}()
	case sayRecorded:
		_, _ = conn.Write(r.Flights[r.next.Add(1)%int64(len(r.Flights))])
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // long enough for an answer
	case sayFresh:
		_, f1, err := crypto.Initiate(r.key, crand.Reader, helloOf(2))
		if err != nil {
			r.trouble.Store(&err)
			return
		}
		_, _ = conn.Write(append(f1, 0xff, 0xff))
	}
	var buf [256]byte
	for {
		n, err := conn.Read(buf[:])
		r.heard.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// sendSYN sends the first packet of a connection from an address that nobody has.
func (r *raid) sendSYN() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, syn(r.source(), r.To), 0, &unix.SockaddrInet4{Addr: r.To.Addr().As4()})
}

// syn returns an IPv4 packet with nothing but a TCP header that has SYN set (RFC
// 9293, 3.1). The kernel fills in the header's checksum of IPv4.
func syn(from netip.Addr, to netip.AddrPort) []byte {
	const ipSize, tcpSize = 20, 20
	p := make([]byte, ipSize+tcpSize)
	p[0] = 0x45
	bytesof.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[8], p[9] = 64, unix.IPPROTO_TCP
	src, dst := from.As4(), to.Addr().As4()
	copy(p[12:], src[:])
	copy(p[16:], dst[:])
	t := p[ipSize:]
	bytesof.BigEndian.PutUint16(t[0:], uint16(1024+rand.IntN(60000)))
	bytesof.BigEndian.PutUint16(t[2:], to.Port())
	bytesof.BigEndian.PutUint32(t[4:], rand.Uint32())
	t[12] = tcpSize / 4 << 4
	t[13] = 1 << 1 // SYN
	bytesof.BigEndian.PutUint16(t[14:], 0xffff)
	sum := uint32(unix.IPPROTO_TCP + tcpSize)
	for _, part := range [][]byte{p[12:20], t} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(bytesof.BigEndian.Uint16(part[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	bytesof.BigEndian.PutUint16(t[16:], ^uint16(sum))
	return p
}
