package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

// hookAttack is a linkup that does what it should not, or what somebody has made of
// one that was good when the daemon started.
type hookAttack struct {
	name   string
	script string
	spoil  func(path string) error // nil: nothing
	says   string                  // in the log, in the end
}

// killedAfter is what is said of one that does not end in its time.
const killedAfter = "killed after 1s"

var hookAttacks = []hookAttack{
	{"is good", "echo fine", nil, `line="?fine`},
	{"prints a megabyte", "head -c 1048576 /dev/zero | tr '\\0' x | fold -w 100", nil, "hook output cut"},
	{"prints for ever", "while :; do echo on and on; done", nil, killedAfter},
	{"prints a line without end", "exec cat /dev/zero", nil, killedAfter},
	{"prints noise", "exec cat /dev/urandom", nil, killedAfter},
	{"forges the log", `printf 'a\033[2Jb\rlevel=ERROR\302\233\377\n'`, nil, `line="a\\\\x1b\[2Jb\\\\rlevel=ERROR\\\\u009b\\\\xff"`},
	{"never ends", "trap '' TERM; while :; do sleep 1; done", nil, killedAfter},
	{"waits for what never ends", "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & wait", nil, killedAfter},
	{"forks away", "setsid sh -c 'while echo chatter; do sleep 0.01; done' &\necho away", nil, "line=away"},
	{"forks away and never ends", "setsid sh -c 'while echo chatter; do sleep 0.01; done' &\nexec sleep 1000", nil, killedAfter},
	{"fails", "exit 3", nil, "hook failed.*exit status 3"},
	{"dies", "kill -SEGV $$", nil, "hook failed.*segmentation fault"},
	{"is not for this machine", "", func(path string) error { return os.WriteFile(path, []byte("\x7fELF"), 0o755) }, "hook failed.*exec format error"},
	{"is missing", "", os.Remove, "hook failed.*no such file or directory; write it, or remove the keyword"},
	{"is not executable", "", func(path string) error { return os.Chmod(path, 0o644) }, "hook failed.*not executable"},
	{"can be written by others", "", func(path string) error { return os.Chmod(path, 0o757) }, "hook failed.*writable by group or others"},
	{"belongs to somebody else", "", func(path string) error { return os.Chown(path, nobody, -1) }, "hook failed.*belongs to user 65534"},
	{"is where others can write", "", func(path string) error { return os.Chmod(filepath.Dir(path), 0o775) }, "hook failed.*hooks is writable by group or others"},
	{"is a link of somebody else", "", func(path string) error {
		if err := os.Rename(path, path+"-real"); err != nil {
			return err
		}
		if err := os.Symlink(path+"-real", path); err != nil {
			return err
		}
		return os.Lchown(path, nobody, -1)
	}, "hook failed.*belongs to user 65534"},
	{"is a directory", "", func(path string) error { os.Remove(path); return os.Mkdir(path, 0o755) }, "hook failed.*not a regular file"},
	{"is another one of the same owner", "echo new", nil, "line=new"},
}

// TestHookAttacks changes the linkup of a daemon that runs, and calls it. The link
// carries packets while it runs, and nothing of it stays.
func TestHookAttacks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	hook := filepath.Join(c.file("hooks"), "linkup")
	renew := func(script string) {
		must(t, os.RemoveAll(c.file("hooks")))
		must(t, os.Mkdir(c.file("hooks"), 0o755))
		must(t, os.WriteFile(hook, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	renew("echo begun")
	c.also("linkup "+hook, "hooktimeout 30")
	w.up()
	c.says("line=begun")
	quiet := c.settled(0)
	attack := func(a hookAttack) {
		renew(a.script)
		if a.spoil != nil {
			must(t, a.spoil(hook))
		}
		c.hears(a.says, func() {
			before := c.until("up", isUp)
			must(t, c.Signal(syscall.SIGUSR1))
			c.until("up again", func(r report) bool { return isUp(r) && r.Links > before.Links })
			c.reaches(serverInner)
		})
		c.settled(quiet.Files)
		c.reaches(serverInner)
	}
	// Those that are killed have a time of their own: on a busy machine the others, too, may
	// take a second.
	for _, killed := range []bool{true, false} {
		times := [2]string{"hooktimeout 1", "hooktimeout 30"}
		if killed {
			slices.Reverse(times[:])
		}
		c.replace(times[0], times[1])
		c.hears("configuration reloaded", func() { must(t, c.Signal(syscall.SIGHUP)) })
		for _, a := range hookAttacks {
			if (a.says == killedAfter) == killed {
				attack(a)
			}
		}
	}
	end := c.settled(quiet.Files)
	t.Logf("%d attacks: memory %d KiB, %d KiB before; %d descriptors, %d before",
		len(hookAttacks), end.Memory>>10, quiet.Memory>>10, end.Files, quiet.Files)
	if end.Memory > quiet.Memory+8<<20 {
		t.Errorf("memory grew from %d to %d", quiet.Memory, end.Memory)
	}
	c.stop()
}

// settled waits until the daemon has no more than so many descriptors, 0 for any
// number, and tells what it holds.
func (s *site) settled(files int) lab.Usage {
	s.t.Helper()
	var u lab.Usage
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var err error
		u, err = s.Usage()
		must(s.t, err)
		if files == 0 || u.Files <= files {
			return u
		}
	}
	s.t.Fatalf("%s has %d descriptors open, not %d", s.name, u.Files, files)
	return u
}

// TestHookNames has characters that a shell takes apart in all names that there
// are: the script, the instance, the interface.
func TestHookNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const sharp = "$(touch${IFS}hit)`id`;|&<>*?'\\!~{a,b} #%s"
	const device = "$(id);&|'*`?#"
	c := w.client
	c.name = "-x\n\"\v" + sharp
	w.configure()
	dir := c.file("d" + sharp)
	hook := filepath.Join(dir, "-"+sharp)
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(hook, []byte("#!/bin/sh\nprintf '%s\\n' \"$0\" \"$@\" \"$VPND_IFNAME\" \"$VPND_INSTANCE\" \"$VPND_CONFIG\" \"$(pwd)\" > '"+c.file("told")+"'\necho told\n"), 0o755))
	c.also(`linkup "`+hook+`"`, `tundev "`+device+`"`)
	w.up()
	c.says("line=told")
	told, err := os.ReadFile(c.file("told"))
	must(t, err)
	want := strings.Join([]string{hook, device, "192.0.2.1:24741", "0", "10.77.0.2", "10.77.0.1", c.name, device, c.name, c.config(), "/"}, "\n") + "\n"
	if string(told) != want {
		t.Errorf("told\n%q, want\n%q", told, want)
	}
	c.stop()
	for _, dir := range []string{c.dir, dir, "/"} {
		if _, err := os.Lstat(filepath.Join(dir, "hit")); err == nil {
			t.Errorf("a command in a name was run: %s/hit", dir)
		}
	}
}

// TestHooksThatHoldUp has a slipup and a slipdown that never end: the daemon goes
// on when their time is up.
func TestHooksThatHoldUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	never := c.script("never", `echo "$VPND_EVENT begins"; trap '' TERM; while :; do sleep 1; done`)
	c.also("slipup "+never, "slipdown "+never, "hooktimeout 5") // less may be over before it begins
	w.up()
	c.says("slipup begins")
	c.says("hook ended with an error.*killed after 5s")
	c.hears("killed after 5s", func() { must(t, c.Signal(syscall.SIGTERM)) })
	c.exits(exit.OK)
}

// TestSecondSignalInSlipup ends a daemon at once that waits for its slipup.
func TestSecondSignalInSlipup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	c.also("slipup "+c.script("slow", "echo slipup begins; while ! test -e "+c.file("go")+"; do sleep 0.1; done"), "hooktimeout 300")
	defer os.WriteFile(c.file("go"), nil, 0o644)
	c.start()
	c.says("slipup begins")
	gone := make(chan struct{})
	var repeats sync.WaitGroup
	defer repeats.Wait()
	defer close(gone)
	repeats.Go(func() { // the kernel makes one of two that come at a time
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			_ = c.Signal(syscall.SIGTERM) // one that is gone has an exit code that tells
			select {
			case <-gone:
				tick.Stop()
				return
			case <-tick.C:
			}
		}
	})
	c.exits(128 + int(syscall.SIGTERM))
}

// TestHookOfStranger refuses scripts that somebody else could replace: by a link
// in a sticky directory, and by a link on the way to a good one.
func TestHookOfStranger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	good := c.script("good", "echo good")
	sticky, theirs := c.file("tmp"), c.file("home")
	must(t, os.Mkdir(sticky, 0o700))
	must(t, os.Chmod(sticky, 0o777|os.ModeSticky))
	must(t, os.Mkdir(theirs, 0o755))
	must(t, os.Chown(theirs, nobody, -1))
	for _, link := range []string{sticky + "/mine", sticky + "/hook", theirs + "/hook"} {
		must(t, os.Symlink(good, link))
	}
	must(t, os.Lchown(sticky+"/hook", nobody, -1))
	must(t, os.Symlink(theirs+"/hook", c.file("chain")))
	for _, test := range []struct{ hook, says string }{
		{sticky + "/mine", ""},
		{sticky + "/hook", "belongs to user 65534"},
		{theirs + "/hook", "belongs to user 65534"},
		{c.file("chain"), "home belongs to user 65534"},
	} {
		w.configure()
		c.also("slipup " + test.hook)
		e := c.run("--check", "-f", c.config())
		if want := map[bool]int{true: exit.OK, false: exit.Config}[test.says == ""]; e.code != want || !strings.Contains(e.stderr, test.says) {
			t.Errorf("%s: exit code %d, want %d:\n%s", test.hook, e.code, want, e.stderr)
		}
	}
}
