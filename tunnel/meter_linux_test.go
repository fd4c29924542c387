package tunnel

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestEndure has a connection not give up while its link lasts, and no longer.
func TestEndure(t *testing.T) {
	near, _ := tcpPair(t)
	var a allowance
	a.init(near, func(int) {})
	timeout := func() (ms int) {
		t.Helper()
		raw, err := near.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) })
		if err != nil {
			t.Fatal(err)
		}
		return ms
	}
	for _, step := range []struct {
		do   func()
		want time.Duration
	}{{func() {}, 0}, {func() { a.endure(true) }, 24 * time.Hour}, {func() { a.endure(false) }, 0}} {
		if step.do(); timeout() != int(step.want.Milliseconds()) {
			t.Errorf("TCP_USER_TIMEOUT is %d ms, want %v", timeout(), step.want)
		}
	}
}
