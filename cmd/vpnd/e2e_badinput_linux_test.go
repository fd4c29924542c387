package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"vpnd/cmd/internal/exit"
)

// nobody is a user without any privilege.
const nobody = 65534

// checkEnded compares how a command ended with an exit code and a regular
// expression for standard error.
func checkEnded(t *testing.T, what string, e ended, code int, says string) {
	t.Helper()
	if e.code != code {
		t.Errorf("%s: exit code %d, want %d:\n%s", what, e.code, code, e.stderr)
	}
	if !regexp.MustCompile(says).MatchString(e.stderr) {
		t.Errorf("%s: standard error does not match %q:\n%s", what, says, e.stderr)
	}
}

// untouched checks that a command that failed has left the host and the site's
// files as they were.
func (s *site) untouched(run func()) {
	s.t.Helper()
	files := func() []string {
		names, err := filepath.Glob(s.file("*"))
		must(s.t, err)
		return names
	}
	host, before := s.dump(), files()
	run()
	if after := s.dump(); after != host {
		s.t.Errorf("the host has changed:\nbefore\n%s\nafter\n%s", host, after)
	}
	if after := files(); strings.Join(after, " ") != strings.Join(before, " ") {
		s.t.Errorf("files before %v, after %v", before, after)
	}
}

func TestTenMistakes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	text := []string{
		"mode sideways",
		"server 192.0.2.1:24741",
		"local 10.77.0.2/24",
		"remote 10.77.0.1",
		"remote 10.77.0.3",
		"",
		"keepalive often",
		"mtu 12",
		"route1 10.1.0.0 255.0.255.0 10.77.0.1",
		"keepalve 10",
		"compress lzo # no longer",
		"cipher none",
	}
	want := []string{"1: mode", "2: server", "3: local", "5: remote", "7: keepalive", "8: mtu", "9: route1", "10: keepalve", "11: compress", "12: cipher"}
	must(t, os.WriteFile(w.client.config(), []byte(strings.Join(text, "\n")+"\n"), 0o644))
	for _, how := range [][]string{{"-n"}, {}, {"--check"}, {"--status"}} {
		w.client.untouched(func() {
			e := w.client.run(append(how, "-f", w.client.config())...)
			checkEnded(t, fmt.Sprint(how), e, exit.Config, "")
			lines := strings.Split(strings.TrimSuffix(e.stderr, "\n"), "\n")
			if len(lines) != len(want) || e.stdout != "" {
				t.Errorf("%v: %d lines, want %d:\n%s%s", how, len(lines), len(want), e.stdout, e.stderr)
			}
			for i := range min(len(lines), len(want)) {
				if problem, ok := strings.CutPrefix(lines[i], w.client.config()+":"+want[i]+": "); !ok || problem == "" {
					t.Errorf("%v: line %d is %q, want it to begin with file:%s:", how, i+1, lines[i], want[i])
				}
			}
		})
	}
}

// TestBadHooks names scripts that must not be run.
func TestBadHooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	ran := c.file("ran")
	open := c.file("open")
	must(t, os.Mkdir(open, 0o755))
	must(t, os.Chmod(open, 0o777))
	hooks := []struct{ keyword, path, says string }{
		{"linkup", c.file("missing"), "no such file"},
		{"linkdown", c.script("plain", "touch "+ran), "is not executable"},
		{"slipup", c.script("writable", "touch "+ran), "is writable by group or others"},
		{"slipdown", c.script("open/script", "touch "+ran), "open is writable by group or others"},
	}
	must(t, os.Chmod(c.file("plain"), 0o644))
	must(t, os.Chmod(c.file("writable"), 0o775))
	text, err := os.ReadFile(c.config())
	must(t, err)
	line := strings.Count(string(text), "\n")
	for _, h := range hooks {
		c.also(h.keyword + " " + h.path)
	}
	for _, how := range [][]string{{"-n"}, {}, {"--check"}} {
		c.untouched(func() {
			e := c.run(append(how, "-f", c.config())...)
			checkEnded(t, fmt.Sprint(how), e, exit.Config, "")
			if n := strings.Count(e.stderr, "\n"); n != len(hooks) {
				t.Errorf("%v: %d lines, want %d:\n%s", how, n, len(hooks), e.stderr)
			}
			for i, h := range hooks {
				want := fmt.Sprintf("(?m)^%s:%d: %s: hook %s: .*%s", regexp.QuoteMeta(c.config()), line+i+1, h.keyword, regexp.QuoteMeta(h.path), h.says)
				checkEnded(t, fmt.Sprint(how), e, exit.Config, want)
			}
		})
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("a hook was run")
	}
}

// TestNoDevice starts vpnd where it cannot have its TUN device.
func TestNoDevice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client
	for name, owner := range map[string]uint32{"theirs": 4711, "bare": nobody} {
		link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: name}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, Owner: owner, Group: owner}
		must(t, c.ns.Do(func() error { return netlink.LinkAdd(link) }))
	}
	w.configure()
	plain, err := os.ReadFile(c.config())
	must(t, err)
	must(t, os.Chown(c.dir, nobody, nobody))
	for _, tt := range []struct {
		name   string
		stage  stage
		tundev string
		code   int
		says   string
	}{
		{"no driver", stage{TUN: "none", User: nobody}, "", exit.Unavailable,
			`open /dev/net/tun: .*no TUN driver, try modprobe tun`},
		{"closed", stage{TUN: "closed", User: nobody}, "", exit.NoPerm,
			`open /dev/net/tun: missing privilege: .*chmod 0666 /dev/net/tun`},
		{"no privilege", stage{User: nobody}, "", exit.NoPerm,
			`open TUN device vpnN: missing privilege: .*CAP_NET_ADMIN is missing: run as root, or let root make a device for you: ip tuntap add dev vpn0 mode tun user 65534`},
		{"name that is not there", stage{User: nobody}, "vpn9", exit.NoPerm,
			`open TUN device vpn9: missing privilege: .*CAP_NET_ADMIN is missing: .*ip tuntap add dev vpn9 mode tun user 65534`},
		{"another user's device", stage{User: nobody}, "theirs", exit.NoPerm,
			`open TUN device theirs: missing privilege: .*it belongs to another user and CAP_NET_ADMIN is missing`},
		{"own device that root did not prepare", stage{User: nobody}, "bare", exit.NoPerm,
			`configure bare: .*missing privilege`},
		{"no TUN device", stage{}, "eth0", exit.Unavailable,
			`open TUN device eth0: not available: .*is of type veth, not a TUN device`},
	} {
		key, text := c.file("vpnd.key"), string(plain)
		must(t, os.Chown(key, tt.stage.User, tt.stage.User))
		if tt.tundev != "" {
			text += "tundev " + tt.tundev + "\n"
		}
		must(t, os.WriteFile(c.config(), []byte(text), 0o644))
		before := c.dump()
		e := c.finish(tt.stage.on(c.command("-n", "-f", c.config())))
		checkEnded(t, tt.name, e, tt.code, "(?m)^vpnd: .*"+tt.says)
		if after := c.dump(); after != before {
			t.Errorf("%s: the host has changed:\nbefore\n%s\nafter\n%s", tt.name, before, after)
		}
	}
}

// TestDeviceInUse names the interface of a running daemon.
func TestDeviceInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	w.client.also("tundev mine")
	second := w.client.sibling("second")
	second.writeLike(w.client)
	w.client.start()
	w.client.says("interface is up")
	before := w.client.dump()
	checkEnded(t, "second", second.run("-n", "-f", second.config()), exit.Unavailable,
		`(?m)^vpnd: open TUN device mine: not available: .*another process has it open`)
	if after := w.client.dump(); after != before {
		t.Errorf("the host has changed:\nbefore\n%s\nafter\n%s", before, after)
	}
}

func TestPortNotToBeHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.server
	s.write("mode server", fmt.Sprintf("local %v\nremote %v", serverInner, clientInner), "server 24741")
	l, err := s.ns.Listen(netip.MustParseAddrPort("0.0.0.0:24741"))
	must(t, err)
	where := regexp.QuoteMeta(s.config()) + ":4: "
	for _, how := range [][]string{{"-n"}, {}} {
		before := s.dump()
		checkEnded(t, fmt.Sprint("port in use ", how), s.run(append(how, "-f", s.config())...), exit.Unavailable,
			`(?m)^vpnd: `+where+`port in use: .*:24741`)
		if after := s.dump(); after != before {
			t.Errorf("the host has changed:\nbefore\n%s\nafter\n%s", before, after)
		}
	}
	must(t, l.Close())

	s.write("mode server", fmt.Sprintf("local %v\nremote %v", serverInner, clientInner), "server 379")
	must(t, os.Chown(s.dir, nobody, nobody))
	must(t, os.Chown(s.file("vpnd.key"), nobody, nobody))
	checkEnded(t, "port below 1024", s.finish(stage{User: nobody}.on(s.command("-n", "-f", s.config()))), exit.NoPerm,
		`(?m)^vpnd: `+where+`.*:379.*ports below 1024 need root \(CAP_NET_BIND_SERVICE\)`)
}

// TestRunningAlready starts what runs already, and what shares a pidfile with it.
func TestRunningAlready(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("pidfile vpnd.pid")
	s := w.server
	s.start()
	s.says("interface is up")
	before := s.dump()
	other := s.sibling("other")
	other.write("mode server", "server 24742", "local 10.78.0.1", "remote 10.78.0.2", "pidfile vpnd.pid")
	for _, how := range [][]string{{"-n"}, {}} {
		checkEnded(t, fmt.Sprint("same instance ", how), s.run(append(how, "-f", s.config())...), exit.Unavailable,
			fmt.Sprintf(`(?m)^vpnd: instance server: already running, pid %d$`, s.PID()))
		checkEnded(t, fmt.Sprint("same pidfile ", how), other.run(append(how, "-f", other.config())...), exit.Unavailable,
			fmt.Sprintf(`(?m)^vpnd: pidfile .*vpnd\.pid: process %d holds it`, s.PID()))
	}
	if after := s.dump(); after != before {
		t.Errorf("the host has changed:\nbefore\n%s\nafter\n%s", before, after)
	}
	if text, err := os.ReadFile(s.file("vpnd.pid")); err != nil || string(text) != fmt.Sprintln(s.PID()) {
		t.Errorf("pidfile holds %q: %v", text, err)
	}
	s.stop()
}

// TestUsage gives command lines that are wrong.
func TestUsage(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"--bogus", exit.Usage, `^vpnd: unknown flag: --bogus\nusage: vpnd`},
		{"-q", exit.Usage, `^vpnd: unknown shorthand flag: 'q' in -q\nusage: vpnd`},
		{"-f", exit.Usage, `^vpnd: flag needs an argument: 'f' in -f\nusage: vpnd`},
		{"vpnd.conf", exit.Usage, `^vpnd: unexpected argument "vpnd.conf"`},
		{"-m a b", exit.Usage, `^vpnd: unexpected argument "b"`},
		{"-m --status", exit.Usage, `exclude each other`},
		{"--json", exit.Usage, `--json goes with --status`},
		{"-x", exit.Usage, `-x needs a directory`},
		{"-c", exit.Usage, `-c needs a key file`},
		{"-x -c keys", exit.Usage, `exclude each other`},
		{"--passphrase", exit.Usage, `--passphrase goes with -x`},
		{"-c --passphrase vpnd.key", exit.Usage, `--passphrase goes with -x`},
		{"-m --passphrase-fd 3", exit.Usage, `--passphrase-fd goes with -x, -c, --check, invite and the daemon`},
		{"-t --passphrase-fd 3", exit.Usage, `--passphrase-fd goes with -x, -c, --check, invite and the daemon`},
		{"--status --passphrase-fd 3", exit.Usage, `--passphrase-fd goes with -x, -c, --check, invite and the daemon`},
		{"--resync x --passphrase-fd 3", exit.Usage, `--passphrase-fd goes with -x, -c, --check, invite and the daemon`},
		{"--resync x --status", exit.Usage, `exclude each other`},
		{"--resync", exit.Usage, `flag needs an argument: --resync`},
		{"--resync x y", exit.Usage, `^vpnd: unexpected argument "y"`},
		{"-x --passphrase-fd three keys", exit.Usage, `"--passphrase-fd" flag: it is not the number of a descriptor`},
		{"-x --passphrase-fd -1 keys", exit.Usage, `"--passphrase-fd" flag: it is not the number of a descriptor`},
		{"-t --check", exit.Usage, `exclude each other`},
		{"-t vpnd.conf", exit.Usage, `^vpnd: unexpected argument "vpnd.conf"`},
		{"-t -f vpnd.conf", exit.Config, `^vpnd: read configuration: open vpnd.conf: no such file or directory\n$`},
		{"-f /nowhere/vpnd.conf", exit.Config, `^vpnd: read configuration: open /nowhere/vpnd.conf: no such file or directory\n$`},
		{"--help", exit.OK, `^$`},
		{"--version", exit.OK, `^$`},
	} {
		cmd := exec.Command(binary, strings.Fields(tt.args)...)
		var stdout, stderr strings.Builder
		cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, t.TempDir()
		_ = cmd.Run() // the exit code says it
		checkEnded(t, tt.args, ended{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}, tt.code, tt.says)
		if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
			t.Errorf("%s has made %v", tt.args, left)
		}
	}
}

// TestStatusCodes asks for the state of a daemon that is not there, that has no
// link, and that has one.
func TestStatusCodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	s := w.server
	for _, how := range [][]string{{"--status"}, {"--status", "--json"}} {
		checkEnded(t, "no daemon", s.run(append(how, "-f", s.config())...), exit.Unknown, `^vpnd: no answer from server: is vpnd running\?`)
	}
	s.start()
	s.says("interface is up")
	for _, how := range [][]string{{"--status"}, {"--status", "--json"}} {
		checkEnded(t, "no link", s.run(append(how, "-f", s.config())...), exit.Down, `^$`)
	}
	w.client.start()
	s.until("up", isUp)
	for _, how := range [][]string{{"--status"}, {"--status", "--json"}} {
		checkEnded(t, "link", s.run(append(how, "-f", s.config())...), exit.OK, `^$`)
	}
}

func TestMakeKeyTwice(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "office.key")
	out, err := exec.Command(binary, "-m", path).CombinedOutput()
	must(t, err)
	if !strings.Contains(string(out), path) {
		t.Errorf("says %q", out)
	}
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	first, err := os.ReadFile(path)
	must(t, err)
	again := exec.Command(binary, "-m", path)
	out, _ = again.CombinedOutput()
	if again.ProcessState.ExitCode() == exit.OK || !strings.Contains(string(out), "exists already") {
		t.Errorf("second time: exit code %d, %s", again.ProcessState.ExitCode(), out)
	}
	if second, err := os.ReadFile(path); err != nil || string(second) != string(first) {
		t.Errorf("the key was changed: %v", err)
	}
	other := path + "2"
	must(t, exec.Command(binary, "-m", other).Run())
	if second, err := os.ReadFile(other); err != nil || string(second) == string(first) {
		t.Errorf("two keys are the same: %v", err)
	}
}

// TestLaterBuild uses what is documented and not there yet.
func TestLaterBuild(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	c := w.client
	later := []string{
		"proxy http://192.0.2.9", "redirect on", "dns 10.77.0.1", "user nobody", "metrics 127.0.0.1:1", "logformat json",
	}
	c.also(later...)
	c.untouched(func() {
		e := c.run("-n", "-f", c.config())
		checkEnded(t, "later build", e, exit.Config, "")
		for _, l := range later {
			keyword := strings.Fields(l)[0]
			checkEnded(t, l, e, exit.Config, `(?m)^`+regexp.QuoteMeta(c.config())+`:\d+: `+keyword+`: .*not in this build`)
		}
		if n := strings.Count(e.stderr, "\n"); n != len(later) {
			t.Errorf("%d lines, want %d:\n%s", n, len(later), e.stderr)
		}
	})
}
