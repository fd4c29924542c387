package tunnel

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMeterRetry reads back the longest wait of a real connection.
func TestMeterRetry(t *testing.T) {
	near, _ := tcpPair(t)
	raw, err := near.SyscallConn()
	must(t, err)
	wait := func() (ms int, err error) {
		raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, rtoMax) })
		return ms, err
	}
	_, err = wait()
	if errors.Is(err, unix.ENOPROTOOPT) {
		t.Skip("this kernel has no TCP_RTO_MAX_MS")
	}
	must(t, err)
	m := meterOf(near)
	for _, want := range []time.Duration{time.Second, longestRetry} {
		m.retry(want)
		if ms, err := wait(); err != nil || ms != int(want.Milliseconds()) {
			t.Errorf("the longest wait is %d ms, want %v", ms, want)
		}
	}
}

func TestMeterTries(t *testing.T) {
	near, _ := tcpPair(t)
	if g, ok := meterOf(near).measure(); !ok || g.tries < 1 || g.again != 0 || g.asked != 0 || g.full {
		t.Errorf("%+v", g)
	}
}
