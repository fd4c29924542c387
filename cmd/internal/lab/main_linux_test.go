package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// roleVariable makes the test program play a part in a test instead.
const roleVariable = "LAB_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role, os.Args[1:]))
	}
	os.Exit(m.Run())
}

func play(role string, args []string) int {
	switch role {
	case "exit":
		fmt.Println("to stdout")
		fmt.Fprintln(os.Stderr, "to stderr")
		code, _ := strconv.Atoi(args[0])
		return code
	case "time":
		fmt.Println(time.Now().Unix())
	case "serve": // until a signal
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGHUP)
		fmt.Println("ready")
		for range signals {
			fmt.Println("hangup")
		}
	case "detach": // leave a daemon behind
		daemon := exec.Command("/proc/self/exe")
		daemon.Env = []string{roleVariable + "=serve"}
		daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := daemon.Start(); err != nil {
			return fail(err)
		}
		if err := os.WriteFile(args[0], fmt.Appendln(nil, daemon.Process.Pid), 0o644); err != nil {
			return fail(err)
		}
	case "own": // a lab with a process, until killed
		if err := own(); err != nil {
			return fail(err)
		}
	case "missing":
		if err := Missing(); err != nil {
			return fail(err)
		}
	default:
		return fail(fmt.Errorf("no role %q", role))
	}
	return 0
}

func own() error {
	l, err := New()
	if err != nil {
		return err
	}
	n, err := l.Namespace("a")
	if err != nil {
		return err
	}
	p, err := n.Start(actor("serve"))
	if err != nil {
		return err
	}
	if _, err := p.Stdout.WaitFor(context.Background(), "ready"); err != nil {
		return err
	}
	fmt.Println("started", p.PID())
	<-p.Done()
	return nil
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// actor returns a command that plays role.
func actor(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	// The race detector would sleep a second at exit.
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	return cmd
}

func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New()
	check(t, err)
	t.Cleanup(func() { check(t, l.Close()) })
	return l
}

func newNamespaceIn(t *testing.T, l *Lab, name string) *Namespace {
	t.Helper()
	n, err := l.Namespace(name)
	check(t, err)
	return n
}

// route is the path that most tests use.
type route struct {
	*Path
	lab  *Lab
	a, b *Namespace
}

func newRoute(t *testing.T) route {
	t.Helper()
	l := newLab(t)
	r := route{lab: l, a: newNamespaceIn(t, l, "a"), b: newNamespaceIn(t, l, "b")}
	var err error
	r.Path, err = l.Path(r.a, r.b,
		Prefixes("192.0.2.1/24", "2001:db8:a::1/64"),
		Prefixes("198.51.100.1/24", "2001:db8:b::1/64"))
	check(t, err)
	return r
}

func (r route) ends(dst string) Ends {
	return Ends{Client: r.a, Server: r.b, Dst: netip.MustParseAddr(dst)}
}

// families names an address of b in each.
func families() []struct{ name, dst string } {
	return []struct{ name, dst string }{
		{"ipv4", "198.51.100.1"},
		{"ipv6", "2001:db8:b::1"},
	}
}

// timeout returns a context that ends long after a test should have, or
// after d.
func timeout(t *testing.T, d ...time.Duration) context.Context {
	t.Helper()
	limit := time.Minute
	if len(d) > 0 {
		limit = d[0]
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
