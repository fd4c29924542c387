package main

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// zeroSumPayload returns the two bytes that make the checksum of a UDP datagram
// come out as zero, which is sent as 0xffff (RFC 768): 0 means that there is none.
func zeroSumPayload(src, dst netip.AddrPort) []byte {
	const protocol, length = 17, 8 + 2
	words := slices.Concat(src.Addr().AsSlice(), dst.Addr().AsSlice())
	for _, n := range []uint16{protocol, length, src.Port(), dst.Port(), length} {
		words = append(words, byte(n>>8), byte(n))
	}
	sum := uint32(0)
	for ; len(words) > 0; words = words[2:] {
		sum += uint32(words[0])<<8 + uint32(words[1])
	}
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return []byte{^byte(sum >> 8), ^byte(sum)}
}

// TestZeroChecksum sends the one datagram of 65536 whose checksum the kernel has
// to fill in with another zero. A program on the host leaves that to the TUN
// device.
func TestZeroChecksum(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.up()
	for _, ends := range [][2]netip.Addr{{clientInner, serverInner}, {clientIPv6, serverIPv6}} {
		in, out := w.client.datagrams(w.server, ends[0], ends[1])
		special := zeroSumPayload(addrPort(out.LocalAddr()), addrPort(out.RemoteAddr()))
		for _, payload := range [][]byte{special, []byte("end")} {
			_, err := out.Write(payload)
			must(t, err)
		}
		must(t, in.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 100)
		n, err := in.Read(buf)
		must(t, err)
		if !slices.Equal(buf[:n], special) {
			t.Errorf("to %v: %x arrived first, want %x", ends[1], buf[:n], special)
		}
	}
}

func addrPort(a net.Addr) netip.AddrPort { return a.(*net.UDPAddr).AddrPort() }

// datagrams opens a way for datagrams to another site.
func (s *site) datagrams(to *site, src, dst netip.Addr) (in, out *net.UDPConn) {
	t := s.t
	t.Helper()
	must(t, to.ns.Do(func() (err error) {
		in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(dst, 0)))
		return err
	}))
	t.Cleanup(func() { in.Close() })
	must(t, s.ns.Do(func() (err error) {
		out, err = net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(src, 0)), in.LocalAddr().(*net.UDPAddr))
		return err
	}))
	t.Cleanup(func() { out.Close() })
	return in, out
}
