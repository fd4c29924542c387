package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
)

// limitFiles bounds the numbers of the daemon's descriptors. With noFiles it keeps
// those that it has, and gets no more.
func (s *site) limitFiles(n uint64) {
	s.t.Helper()
	must(s.t, unix.Prlimit(s.PID(), unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: manyFiles}, nil))
}

const noFiles, manyFiles = 3, 4096

// idles checks that the daemon does next to nothing for a while.
func (s *site) idles(what string) {
	s.t.Helper()
	const while, most = 2 * time.Second, 400 * time.Millisecond
	before, err := s.Usage()
	must(s.t, err)
	time.Sleep(while) // this is what is measured
	after, err := s.Usage()
	must(s.t, err)
	s.t.Logf("%s: %s uses %v of CPU in %v", s.name, what, after.CPU-before.CPU, while)
	if used := after.CPU - before.CPU; used > most {
		s.t.Errorf("%s: %s uses %v of CPU in %v, more than %v", s.name, what, used, while, most)
	}
}

// TestNoDescriptorsServer leaves a server with a link no descriptor for a caller.
func TestNoDescriptorsServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	s := w.server
	s.also("linkup "+s.script("linkup", "echo up"), "linkdown "+s.script("linkdown", "echo down"))
	w.up()
	s.says("hook=.*up")
	inner := w.talk()
	s.limitFiles(noFiles)
	caller := w.dial(w.client) // the kernel takes it, the server does not
	s.says(`level=WARN msg=accept error="accept tcp .*: .*too many open files"`)
	s.idles("a server without descriptors")
	inner.goesOn()
	if n := strings.Count(s.Stderr.String(), "msg=accept"); n > 2 {
		t.Errorf("logged %d times in a few seconds", n)
	}
	if _, ok := s.status(); ok {
		t.Error("the control socket answers without a descriptor")
	}

	s.limitFiles(manyFiles)
	caller.Close()
	s.reaches(clientInner)
	s.until("up", isUp)
	must(t, w.client.Signal(syscall.SIGUSR1))
	s.until("up once more", func(r report) bool { return isUp(r) && r.Links == 2 })
	inner.goesOn()
	s.conserved()
}

// TestNoDescriptorsClient takes a client its descriptors away: it keeps its link,
// runs no script, makes no new link, says why, and goes on when it can.
func TestNoDescriptorsClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	c.also("linkup "+c.script("linkup", "echo hook runs"), "linkdown "+c.script("linkdown", "echo hook runs"))
	w.up()
	c.says("hook runs")
	inner := w.talk()
	c.limitFiles(noFiles)
	inner.goesOn()
	c.hears(`msg="hook failed" error="hook \S+linkdown: .*too many open files"`, func() {
		must(t, c.Signal(syscall.SIGUSR1))
	})
	c.says(`msg="no link" cause=".*too many open files"`)
	c.idles("a client without descriptors")
	if n := strings.Count(c.Stderr.String(), `msg="no link"`); n > 3 {
		t.Errorf("logged %d times in a few seconds", n)
	}
	c.hears("hook runs", func() { c.limitFiles(manyFiles) })
	c.until("up", isUp)
	c.reaches(serverInner)
	inner.goesOn()
	c.conserved()
}

// TestInheritedDescriptors starts a daemon as a shell does that reads what it
// prints, or ssh: who waits for the end of that waits for the command only.
func TestInheritedDescriptors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	s := w.server
	s.also("slipup " + s.script("slipup", "ls -l /proc/$$/fd > "+s.file("open")+"; sleep 1000 > /dev/null 2>&1 &"))
	log := newSystemLog(t, s.file("log"))
	output, out, err := os.Pipe()
	must(t, err)
	defer output.Close()
	extra, held, err := os.Pipe()
	must(t, err)
	defer extra.Close()
	cmd := stage{Log: log.path}.on(s.command("-f", s.config()))
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{held, held, held} // 3 is where the daemon has another one
	p, err := s.ns.Start(cmd)
	must(t, err)
	out.Close()
	held.Close()
	for _, pipe := range []*os.File{output, extra} {
		must(t, pipe.SetReadDeadline(time.Now().Add(patience)))
		if text, err := io.ReadAll(pipe); err != nil || len(text) > 0 {
			t.Errorf("read %q, %v: the daemon holds it", text, err)
		}
	}
	s.Process = p
	s.exits(exit.OK)
	s.adopt()
	if text, err := os.ReadFile(s.file("open")); err != nil || regexp.MustCompile(` [3-9] -> pipe`).Match(text) {
		t.Errorf("a script has inherited: %v\n%s", err, text)
	}
	s.stopAdopted()
}

// TestCrashIsKept crashes a detached daemon: what the runtime says is kept, the next
// start points to it, and a daemon that does not crash leaves no such file.
func TestCrashIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	s := w.server
	log := newSystemLog(t, s.file("log"))
	crash := s.file("state/server.crash")
	for _, sig := range []syscall.Signal{syscall.SIGABRT, syscall.SIGQUIT} {
		os.Remove(crash)
		checkEnded(t, "start", s.detach(stage{Log: log.path}), exit.OK, `^$`)
		s.adopt()
		must(t, s.Signal(sig))
		<-s.Done()
		info, err := os.Stat(crash)
		must(t, err)
		text, err := os.ReadFile(crash)
		must(t, err)
		if !strings.Contains(string(text), "goroutine ") || !strings.Contains(string(text), "main.(*options).runDaemon") || info.Mode() != 0o600 {
			t.Errorf("%v: mode %v, text:\n%s", sig, info.Mode(), text)
		}
		const says = `vpnd has crashed before, please report it and remove the file.* file=\S+/state/server\.crash`
		checkEnded(t, "start again", s.detach(stage{Log: log.path}), exit.OK, says)
		log.says(`^<28>.*` + says)
		s.adopt()
		s.stopAdopted()
		if kept, err := os.ReadFile(crash); err != nil || string(kept) != string(text) {
			t.Errorf("%v: the file has %d bytes, had %d: %v", sig, len(kept), len(text), err)
		}
	}
	must(t, os.WriteFile(crash, make([]byte, 1<<20+1), 0o600))
	checkEnded(t, "start with a long file", s.detach(stage{Log: log.path}), exit.OK, `crashed before`)
	s.adopt()
	s.stopAdopted()
	if left, err := filepath.Glob(s.file("state/*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
