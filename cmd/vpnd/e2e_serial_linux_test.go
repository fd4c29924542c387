package main

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/serial/serialtest"
)

// lineSpeed is that of the lines that carry data in these tests.
const lineSpeed = 3_000_000

// comesBack waits for a ping's first reply over a slow line and returns the time it
// took.
func (s *site) comesBack(to netip.Addr) time.Duration {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	took, err := s.ns.WaitPing(ctx, to, 100*time.Millisecond)
	if err != nil {
		s.t.Fatalf("%s does not reach %v: %v\n%s", s.name, to, err, s.Stderr)
	}
	return took
}

// TestSerialLink moves data over a line, and looks at all that says that it is one.
func TestSerialLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.cable(serialtest.Wire{Rate: lineSpeed})
	w.configureLine("speed 3000000", "linkup linkup")
	for _, s := range []*site{w.server, w.client} {
		s.script("linkup", `echo "$VPND_EVENT:$*:$VPND_TRANSPORT:$VPND_PEER:$VPND_PEER_ADDR:$VPND_PEER_PORT:$VPND_DEVICE:$VPND_SPEED:$DEVICE:$SPEED"`)
	}
	before := w.server.dump() + w.client.dump()
	w.up()
	w.client.comesBack(serverInner)
	w.server.comesBack(clientInner)
	began, used := time.Now(), w.cpu()
	moved, err := lab.Ends{Client: w.client.ns, Server: w.server.ns, Dst: serverInner}.Transfer(t.Context(), lab.Load{Up: 1 << 20, Down: 1 << 20})
	must(t, err)
	t.Logf("up %.0f kB/s, down %.0f kB/s; %.1f %% of a core for each end", moved.Up.Rate()/1e3, moved.Down.Rate()/1e3,
		100*(w.cpu()-used).Seconds()/2/time.Since(began).Seconds())
	for _, s := range []*site{w.server, w.client} {
		inner := map[string]string{"server": "10.77.0.1 10.77.0.2", "client": "10.77.0.2 10.77.0.1"}[s.name]
		dev := regexp.QuoteMeta(s.device())
		s.says(`line="?linkup:vpn0 ` + dev + ` 3000000 ` + inner + ` ` + s.name + `:serial:` + dev + `:::` + dev + `:3000000:` + dev + `:3000000`)
		r := s.conserved()
		if r.Line == nil || r.Line.Device != s.device() || r.Line.Speed != lineSpeed || r.Outer != s.device() || r.MTU != 576 ||
			r.Link.Transport != "serial" || r.Link.Peer != s.device() || r.Damaged != 0 {
			t.Errorf("%s: report %+v, line %+v, link %+v", s.name, r, r.Line, r.Link)
		}
		text := s.run("--status", "-f", s.config()).stdout
		for _, row := range []string{
			`  daemon +pid \d+, ` + s.name + ` at ` + dev + `, up \S+$`,
			`  peer +` + dev + ` \(serial\), blowfish, key [0-9a-f]{16}$`,
			`  line +` + dev + ` at 3000000 bit/s, 0 damaged frames$`,
		} {
			if !regexp.MustCompile("(?m)^" + row).MatchString(text) {
				t.Errorf("%s: --status has no line %q:\n%s", s.name, row, text)
			}
		}
	}
	for _, d := range []*tty{a, b} {
		if _, err := os.Stat(d.lock()); err != nil {
			t.Error(err)
		}
	}
	w.client.stop()
	w.server.stop()
	for _, d := range []*tty{a, b} {
		if _, err := os.Stat(d.lock()); err == nil {
			t.Errorf("%s is left", d.lock())
		}
	}
	if after := w.server.dump() + w.client.dump(); after != before {
		t.Errorf("left behind:\nbefore\n%s\nafter\n%s", before, after)
	}
}

// cpu is how long both ends have computed.
func (w *world) cpu() (sum time.Duration) {
	for _, s := range []*site{w.server, w.client} {
		u, err := s.Usage()
		must(s.t, err)
		sum += u.CPU
	}
	return sum
}

// TestSerialUnplug takes an adapter away and puts it back.
func TestSerialUnplug(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a, b := w.cable(serialtest.Wire{Rate: lineSpeed})
	w.configureLine("speed 3000000")
	w.up()
	w.client.comesBack(serverInner)
	for _, end := range []struct {
		*site
		*tty
	}{{w.client, b}, {w.server, a}, {w.client, b}} {
		end.pull()
		end.until("down", func(r report) bool { return r.State == "down" })
		end.plug()
		took := w.client.comesBack(serverInner)
		t.Logf("%s: back %v after it was plugged in", end.site.name, took)
		if took > 10*time.Second { // a hail that is missed is repeated after 5 s
			t.Errorf("%s: back only after %v", end.site.name, took)
		}
	}
	w.client.stop()
	w.server.stop()
}

func TestSerialKill(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cable(serialtest.Wire{Rate: lineSpeed})
	w.configureLine("speed 3000000")
	w.survivesKills()
}

// survivesKills kills the ends of a link over a line one by one and starts them again.
func (w *world) survivesKills() {
	w.client.t.Helper()
	w.up()
	w.client.comesBack(serverInner)
	for _, s := range []*site{w.server, w.client} {
		s.kill()
		s.start()
		s.t.Logf("%s: back %v after it was started", s.name, w.client.comesBack(serverInner))
	}
	w.client.stop()
	w.server.stop()
}

// TestSerialReload changes what a running daemon cannot follow.
func TestSerialReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cable(serialtest.Wire{Rate: lineSpeed})
	w.configureLine("speed 3000000")
	w.client.also("modemchat dial")
	must(t, os.WriteFile(w.client.file("dial"), []byte("'' AT"), 0o644))
	w.client.start()
	w.client.says("interface is up")
	text, err := os.ReadFile(w.client.config())
	must(t, err)
	must(t, os.WriteFile(w.client.file("dial"), []byte("'' ATZ"), 0o644))
	must(t, os.WriteFile(w.client.config(), []byte(strings.Replace(string(text), "speed 3000000", "speed 9600\nnoipv6\nidle 5\nmtu 576", 1)), 0o644))
	must(t, w.client.Signal(syscall.SIGHUP))
	w.client.says("configuration reloaded")
	for keyword, want := range map[string]bool{"speed": true, "noipv6": true, "idle": true, "modemchat": true, "mtu": false, "client": false, "rs485": false} {
		if got := strings.Contains(w.client.Stderr.String(), `msg="change needs a restart" keyword=`+keyword+"\n"); got != want {
			t.Errorf("%s needs a restart: %v, want %v", keyword, got, want)
		}
	}
	w.client.stop()
}

// TestSerialOrdinaryUser runs an end without privilege: on a device that root
// prepared for it, and with a line that its group may use.
func TestSerialOrdinaryUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cable(serialtest.Wire{Rate: lineSpeed})
	w.configureLine("speed 3000000")
	c := w.client
	c.also("tundev tunjoe", "mtu 1400")
	must(t, c.ns.Do(func() error { return persistentTUN("tunjoe", nobody, 1400) }))
	must(t, os.Chmod(w.Dir(), 0o755))
	for _, f := range []string{c.dir, c.file("vpnd.key"), c.config()} {
		must(t, os.Chown(f, nobody, nobody))
	}
	device, err := os.Readlink(c.device())
	must(t, err)
	must(t, os.Chmod(device, 0o660))
	must(t, os.Chown(device, 0, 0))
	usable := filepath.Join(w.Dir(), "vpnd") // the other copy lies where only root can look
	must(t, exec.Command("cp", binary, usable).Run())
	checkEnded(t, "not in the group", c.finish(stage{User: nobody}.on(exec.Command(usable, "-n", "-f", c.config()))), exit.NoPerm,
		`(?m)^vpnd: `+regexp.QuoteMeta(c.config())+`:\d+: open .*tty: permission denied: the user has to be in the group of the device, dialout as a rule$`)
	must(t, os.Chown(device, 0, nobody))
	w.server.start()
	for _, closed := range []bool{false, true} {
		p, err := c.ns.Start(stage{User: nobody, Closed: closed}.on(exec.Command(usable, "-n", "-f", c.config())))
		must(t, err)
		c.Process = p
		c.until("up", isUp)
		c.comesBack(serverInner)
		if warned := strings.Contains(p.Stderr.String(), `msg="no lock file for the line`); warned != closed {
			t.Errorf("warning %v, locks for root only %v:\n%s", warned, closed, p.Stderr)
		}
		c.stop()
	}
	w.server.stop()
}

// TestSerialDemand dials when there is something to say, and hangs up when there is
// not.
func TestSerialDemand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var calls atomic.Int32
	x := &serialtest.Exchange{Ring: 500 * time.Millisecond, Training: time.Millisecond, Fault: func(string) string {
		calls.Add(1)
		return ""
	}}
	modems := []*serialtest.Jack{w.server.modem(x, "1"), w.client.modem(x, "2")}
	w.configureLine("modemchat chat", "idle 3", "noipv6", "nomulticast")
	w.client.also("demand")
	must(t, os.WriteFile(w.server.file("chat"), []byte("'' ATH OK \\c TIMEOUT 3600 RING ATA CONNECT \\c"), 0o644))
	must(t, os.WriteFile(w.client.file("chat"), []byte("ABORT 'NO CARRIER' ABORT BUSY ABORT 'NO ANSWER' '' ATH OK ATD1 CONNECT \\c"), 0o644))
	w.server.start()
	w.client.start()
	w.client.says("interface is up")
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if calls.Load() > 0 {
			t.Fatal("dials though there is nothing to say")
		}
	}
	for range 2 {
		before := calls.Load()
		t.Logf("first reply after %v", w.client.comesBack(serverInner))
		if calls.Load() == before {
			t.Error("nobody has dialled")
		}
		for _, s := range []*site{w.client, w.server} {
			s.until("idle", func(r report) bool { return r.State == "down" && strings.Contains(r.Reason, "no packets for a while") })
		}
		for _, m := range modems {
			for deadline := time.Now().Add(patience); m.Modem().Online(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the call goes on")
				}
			}
		}
	}
	w.client.stop()
	w.server.stop()
}
