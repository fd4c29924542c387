package tunnel

import (
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// meterOf returns what measures a TCP connection, nil if nobody can.
func meterOf(conn net.Conn) meter {
	if m, ok := conn.(meter); ok {
		return m
	}
	s, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	m := &tcpMeter{raw: raw}
	m.ask = func(fd uintptr) {
		if m.pending, m.err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); m.err == nil {
			m.err = tcpInfo(fd, &m.info)
		}
	}
	if _, ok := m.measure(); !ok {
		return nil
	}
	return m
}

// tcpMeter asks the kernel. It belongs to one goroutine at a time.
type tcpMeter struct {
	raw     syscall.RawConn
	ask     func(fd uintptr)
	pending int
	info    unix.TCPInfo
	err     error
}

// tcpInfo does what unix.GetsockoptTCPInfo does, without an allocation.
func tcpInfo(fd uintptr, info *unix.TCPInfo) error {
	size := uint32(unsafe.Sizeof(*info))
	_, _, e := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.IPPROTO_TCP, unix.TCP_INFO,
		uintptr(unsafe.Pointer(info)), uintptr(unsafe.Pointer(&size)), 0)
	if e != 0 {
		return e
	}
	return nil
}

func (m *tcpMeter) measure() (gauge, bool) {
	if m.raw.Control(m.ask) != nil || m.err != nil {
		return gauge{}, false
	}
	const disorder, recovery = 1, 3 // TCP_CA_Disorder, TCP_CA_Recovery; 4 is TCP_CA_Loss
	return gauge{
		acked:   int64(m.info.Bytes_acked),
		pending: m.pending,
		unsent:  int(m.info.Notsent_bytes),
		segment: int(m.info.Snd_mss),
		rtt:     time.Duration(m.info.Rtt) * time.Microsecond,
		least:   time.Duration(m.info.Min_rtt) * time.Microsecond,
		losing:  m.info.Ca_state >= recovery,
		mending: m.info.Ca_state >= recovery || m.info.Ca_state == disorder,
		again:   int(m.info.Retransmits),
		asked:   int(m.info.Probes),
		full:    m.info.Snd_wnd == 0,
		tries:   tries(),
	}, true
}

func (m *tcpMeter) hold(on bool) {
	value := 0
	if on {
		value = 1
	}
	m.set(unix.TCP_CORK, value)
}

const rtoMax = 44 // TCP_RTO_MAX_MS, since Linux 6.15

func (m *tcpMeter) retry(most time.Duration) { m.set(rtoMax, int(most.Milliseconds())) }

// tries is how often Linux sends again before it gives up a connection.
var tries = sync.OnceValue(func() int {
	const few = 8 // as some hosts have
	text, err := os.ReadFile("/proc/sys/net/ipv4/tcp_retries2")
	n, nerr := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || nerr != nil {
		return few
	}
	return n
})

func (m *tcpMeter) patient() { m.set(unix.TCP_QUICKACK, 0) }

// set sets an option. A kernel that refuses has none of what it is good for.
func (m *tcpMeter) set(option, value int) {
	m.raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, value) })
}
