package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

// systemLog is what listens on /dev/log.
type systemLog struct {
	t     *testing.T
	path  string
	conn  *net.UnixConn
	done  chan struct{}
	mu    sync.Mutex
	lines []string
}

func newSystemLog(t *testing.T, path string) *systemLog {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	l := &systemLog{t: t, path: path, conn: conn, done: make(chan struct{})}
	go l.read()
	t.Cleanup(l.close)
	return l
}

func (l *systemLog) read() {
	defer close(l.done)
	message := make([]byte, 1<<16)
	for {
		n, err := l.conn.Read(message)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.lines = append(l.lines, string(message[:n]))
		l.mu.Unlock()
	}
}

// close ends the log, and takes its socket away, as when it is restarted.
func (l *systemLog) close() {
	l.conn.Close()
	<-l.done
	os.Remove(l.path)
}

// says waits for a message that matches, and returns its groups.
func (l *systemLog) says(pattern string) []string {
	l.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, line := range l.all() {
			if m := re.FindStringSubmatch(line); m != nil {
				return m
			}
		}
	}
	l.t.Fatalf("the system's log has no %q:\n%s", pattern, strings.Join(l.all(), "\n"))
	return nil
}

func (l *systemLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// detach runs vpnd as a user does who wants a daemon: the file is named as seen
// from here, where the daemon does not stay.
func (s *site) detach(st stage) ended {
	s.t.Helper()
	return s.finish(st.on(s.command("-f", filepath.Base(s.config()))))
}

// adopt takes the daemon that has written vpnd.pid.
func (s *site) adopt() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	p, err := s.ns.Adopt(ctx, s.file("vpnd.pid"), binary)
	must(s.t, err)
	s.Process = p
}

// leftNothing checks that a daemon that ended took everything with it.
func (s *site) leftNothing(host string) {
	s.t.Helper()
	if after := s.dump(); after != host {
		s.t.Errorf("%s: left behind:\nbefore\n%s\nafter\n%s", s.name, host, after)
	}
	for _, name := range []string{"vpnd.pid", "control.sock", "state/*"} {
		left, err := filepath.Glob(s.file(name))
		if left = slices.DeleteFunc(left, isNumber); err != nil || len(left) > 0 {
			s.t.Errorf("%s: left behind: %v %v", s.name, left, err)
		}
	}
}

// isNumber reports whether a file is one of transaction numbers, which outlive the
// daemon.
func isNumber(path string) bool {
	path = strings.TrimSuffix(path, ".lock")
	return strings.HasSuffix(path, ".number") || strings.HasSuffix(path, ".numbers")
}

// TestDetach looks at a daemon in the way the system sees it.
func TestDetach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	log := newSystemLog(t, w.server.file("log"))
	host := w.server.dump()
	e := w.server.detach(stage{Log: log.path})
	checkEnded(t, "detach", e, exit.OK, `^$`)
	// From here on nothing may have to be waited for: this is what the command's
	// end promises.
	w.dial(w.client).Close()
	if d := w.server.dump(); !strings.Contains(d, "link vpn0 tuntap mtu 1500 up") || !strings.Contains(d, "addr vpn0 10.77.0.1/32 peer 10.77.0.2/32") {
		t.Errorf("the interface is not ready:\n%s", d)
	}
	w.server.adopt()
	pid := w.server.PID()
	if text, err := os.ReadFile(w.server.file("vpnd.pid")); err != nil || string(text) != fmt.Sprintln(pid) {
		t.Errorf("pidfile holds %q: %v", text, err)
	}
	checkDaemon(t, pid)

	m := log.says(`^<(\d+)>(\w{3} [ \d]\d \d\d:\d\d:\d\d) vpnd\.server\[(\d+)\]: msg="interface is up" interface=vpn0`)
	const daemonInfo = "30"
	if _, err := time.Parse(time.Stamp, m[2]); err != nil || m[1] != daemonInfo || m[3] != strconv.Itoa(pid) {
		t.Errorf("message %q: want priority %s and pid %d", m[0], daemonInfo, pid)
	}
	w.client.start()
	w.client.until("up", isUp)
	log.says(`^<30>.*msg="link is up"`)

	// A restarted log is found again; warnings and errors have other priorities.
	log.close()
	log = newSystemLog(t, log.path)
	w.server.also("mtu 1400")
	must(t, w.server.Signal(syscall.SIGHUP))
	log.says(`^<28>.*vpnd\.server\[\d+\]: msg="change needs a restart" keyword=mtu`)
	w.server.also("nonsense")
	must(t, w.server.Signal(syscall.SIGHUP))
	log.says(`^<27>.*msg="configuration not reloaded" error=".*nonsense: unknown keyword`)

	must(t, w.server.Signal(syscall.SIGTERM))
	w.server.exits(lab.ExitUnknown)
	w.client.says(`msg="link is down".*cause="peer closed the link: shutdown"`)
	w.server.leftNothing(host)
	for _, line := range log.all() {
		if strings.Count(line, "\n") > 0 {
			t.Errorf("message with a line break: %q", line)
		}
	}
}

// checkDaemon checks that a process has let go of everything.
func checkDaemon(t *testing.T, pid int) {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", pid)
	text, err := os.ReadFile(proc + "stat")
	must(t, err)
	// pid (name) state ppid pgrp session tty_nr ...
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if f[2] != strconv.Itoa(pid) || f[3] != strconv.Itoa(pid) || f[4] != "0" {
		t.Errorf("process group %s, session %s, terminal %s; want %d, %d, 0", f[2], f[3], f[4], pid, pid)
	}
	links := map[string]string{"cwd": "/", "fd/0": "/dev/null", "fd/1": "/dev/null", "fd/2": "/dev/null"}
	for name, want := range links {
		if got, err := os.Readlink(proc + name); err != nil || got != want {
			t.Errorf("%s is %s, want %s: %v", name, got, want, err)
		}
	}
	// The pipe that said that it is up may be open for a moment after that.
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if to, err := os.Readlink(proc + "fd/3"); err != nil || !strings.HasPrefix(to, "pipe:") {
			return
		}
	}
	t.Errorf("the pipe to the first process stays open")
}

// TestDetachWithoutLog warns the user who starts a daemon that nobody will hear.
func TestDetachWithoutLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	checkEnded(t, "server", w.server.detach(stage{}), exit.OK, `no system log here \(/dev/log\)`)
	checkEnded(t, "client", w.client.detach(stage{}), exit.OK, `no system log here \(/dev/log\)`)
	w.server.adopt()
	w.client.adopt()
	w.client.until("up", isUp)
	w.client.reaches(serverInner)
	w.client.stopAdopted()
	w.server.stopAdopted()
}

// stopAdopted ends a detached daemon, whose exit code nobody learns.
func (s *site) stopAdopted() {
	s.t.Helper()
	must(s.t, s.Signal(syscall.SIGTERM))
	s.exits(lab.ExitUnknown)
}

// TestSignalAfterDetach ends a daemon as soon as the command that started it has
// ended.
func TestSignalAfterDetach(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	host := w.server.dump()
	for range 10 {
		checkEnded(t, "server", w.server.detach(stage{}), exit.OK, "")
		w.server.adopt()
		w.server.stopAdopted()
		w.server.leftNothing(host)
	}
}

// TestDetachInterrupted interrupts the command while slipup holds it up: nothing
// of the daemon stays.
func TestDetachInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.server
	w.configure("pidfile vpnd.pid")
	host := s.dump()
	s.also("slipup "+s.script("slipup", "while ! test -e "+s.file("go")+"; do sleep 0.02; done; echo up >> "+s.file("hooks")),
		"slipdown "+s.script("slipdown", "echo down >> "+s.file("hooks")))
	log := newSystemLog(t, s.file("log")) // without it the daemon would talk to a terminal that is gone
	p, err := s.ns.Start(stage{Log: log.path}.on(s.command("-f", s.config())))
	must(t, err)
	s.adopt() // slipup runs after the pidfile is written
	daemon := s.Process
	must(t, p.Signal(syscall.SIGTERM)) // SIGINT may be ignored where tests run in the background
	s.Process = p
	s.exits(128 + int(syscall.SIGTERM))
	must(t, os.WriteFile(s.file("go"), nil, 0o644))
	s.Process = daemon
	s.exits(lab.ExitUnknown)
	s.leftNothing(host)
	if got := s.hookText(); got != "up\ndown\n" {
		t.Errorf("hooks %q", got)
	}
}

// TestDetachFails checks that what keeps a daemon from starting is said, once,
// where the user sees it, and in the system's log.
func TestDetachFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	s := w.server
	log := newSystemLog(t, s.file("log"))
	l, err := s.ns.Listen(netip.MustParseAddrPort("0.0.0.0:24741"))
	must(t, err)
	defer l.Close()
	for _, tt := range []struct {
		name string
		key  os.FileMode
		code int
		says string
	}{
		{"key readable by others", 0o644, exit.Config, `server\.conf: keyfile: key file .* can be read or changed by others`},
		{"port in use", 0o600, exit.Unavailable, `server\.conf:3: port in use`},
	} {
		must(t, os.Chmod(s.file("vpnd.key"), tt.key))
		host := s.dump()
		e := s.detach(stage{Log: log.path})
		checkEnded(t, tt.name, e, tt.code, tt.says)
		if n := len(regexp.MustCompile(tt.says).FindAllString(e.stderr, -1)); n != 1 {
			t.Errorf("%s: the terminal gets the message %d times:\n%s", tt.name, n, e.stderr)
		}
		log.says(`^<27>.*vpnd\.server\[\d+\]: msg="daemon ends" error=".*` + tt.says)
		s.leftNothing(host)
	}
}

// hookText is what hooks of a test have written.
func (s *site) hookText() string {
	text, err := os.ReadFile(s.file("hooks"))
	if err != nil {
		return ""
	}
	return string(text)
}

// TestSignalsEnd ends either end with either signal.
func TestSignalsEnd(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure("pidfile vpnd.pid", "route 10.99.0.0/16")
			for _, s := range []*site{w.server, w.client} {
				note := s.script("note", `echo "$VPND_EVENT:$VPND_REASON" >> `+s.file("hooks"))
				s.also("slipup "+note, "linkup "+note, "linkdown "+note, "slipdown "+note)
			}
			for _, end := range []struct{ ends, peer *site }{{w.client, w.server}, {w.server, w.client}} {
				os.Remove(end.ends.file("hooks"))
				host := end.ends.dump()
				end.ends.start()
				if end.peer.Process == nil {
					end.peer.start()
				}
				end.ends.until("up", isUp)
				end.peer.until("up", isUp)
				mark := end.peer.Stderr.Mark()
				must(t, end.ends.Signal(sig))
				end.ends.exits(exit.OK)
				end.ends.leftNothing(host)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if _, err := end.peer.Stderr.WaitAfter(ctx, mark, `msg="link is down".*cause="peer closed the link: shutdown"`); err != nil {
					t.Error(err)
				}
				if got, want := end.ends.hookText(), "slipup:\nlinkup:\nlinkdown:shutdown\nslipdown:\n"; got != want {
					t.Errorf("%s: hooks %q, want %q", end.ends.name, got, want)
				}
				if end.ends == w.client { // the next round has to begin with a server that is down
					w.server.stop()
					w.server.Process, w.client.Process = nil, nil
				}
			}
		})
	}
}

// TestFixedPort restarts a client that always calls from the same port. The
// connection before must not hold it.
func TestFixedPort(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.client.also(fmt.Sprintf("client %v 4711", clientOuter))
	w.server.also(fmt.Sprintf("client %v 4711", clientOuter))
	w.server.start()
	for _, tt := range []struct {
		name string
		end  func()
	}{
		{"was stopped", w.client.stop},
		{"was killed", w.client.kill},
		{"was killed without a path", func() {
			must(t, w.path.Cut())
			w.client.kill()
			must(t, w.path.Heal())
		}},
	} {
		w.client.start()
		w.client.until("up", isUp)
		f := measure(t, "first reply after a client that "+tt.name, 3, func() time.Duration {
			tt.end()
			return w.client.startAndReach(serverInner)
		})
		f.within(t, time.Second)
		w.client.stop()
	}
	// The server may be away as well, and the outage may be silent.
	w.client.start()
	w.client.until("up", isUp)
	f := measure(t, "back after a reset", 3, func() time.Duration {
		w.settled()
		must(t, w.path.Cut())
		w.reset()
		time.Sleep(500 * time.Millisecond) // this is the outage
		began := time.Now()
		must(t, w.path.Heal())
		w.client.reaches(serverInner)
		return time.Since(began)
	})
	f.within(t, 2*time.Second)
}

// TestDeviceDeleted takes the interface away under a running daemon.
func TestDeviceDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid", "route 10.99.0.0/16")
	w.server.start()
	w.server.says("interface is up")
	host := w.client.dump()
	w.client.start()
	w.client.until("up", isUp)
	w.server.until("up", isUp)
	must(t, w.client.ns.Do(func() error {
		l, err := netlink.LinkByName("vpn0")
		if err != nil {
			return err
		}
		return netlink.LinkDel(l)
	}))
	w.client.exits(exit.Unavailable)
	w.client.says(`(?m)^vpnd: interface vpn0 was deleted `)
	w.client.leftNothing(host)
	w.server.says(`msg="link is down".*cause="peer closed the link: shutdown"`)
	w.client.start()
	w.client.until("up", isUp)
	w.client.reaches(serverInner)
}
