package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/serial/serialtest"
)

// TestSerialBadInput starts an end whose line, or what is said of it, is wrong.
func TestSerialBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cable(serialtest.Wire{})
	w.configureLine()
	c := w.client
	plain, err := os.ReadFile(c.config())
	must(t, err)
	must(t, os.WriteFile(c.file("chat"), []byte("ABORT BUSY\nTIMEOUT soon\n'' ATZ\nOK 'ATD\n"), 0o644))
	must(t, os.WriteFile(c.file("empty"), []byte("# nothing\n"), 0o644))
	must(t, os.Symlink("/dev/null", c.file("null")))
	must(t, os.WriteFile(c.file("dry"), nil, 0o644))
	must(t, os.Mkdir(c.file("state"), 0o700))
	config := regexp.QuoteMeta(c.config())
	for _, tt := range []struct {
		name   string
		change func(text string) string
		code   int
		says   string
	}{
		{"no such device", with("/tty", "/nowhere"), exit.Unavailable, `^vpnd: ` + config + `:\d+: open .*/nowhere: no such file or directory\n$`},
		{"no line", with("/tty", "/null"), exit.Unavailable, `^vpnd: ` + config + `:\d+: open .*/null: not a serial line: .*\n$`},
		{"a file", with("/tty", "/dry"), exit.Unavailable, `^vpnd: ` + config + `:\d+: open .*/dry: not a serial line: .*\n$`},
		{"refused mode", plus("rs485 1 1"), exit.Unavailable, `^vpnd: ` + config + `:\d+: open .*/tty: not possible on this line: RS-485: .*\n$`},
		{"no chat script", plus("modemchat nowhere"), exit.Config, `^` + config + `:8: modemchat: open .*/nowhere: no such file or directory\n$`},
		{"empty chat script", plus("modemchat empty"), exit.Config, `^` + config + `:8: modemchat: .*/empty: the chat script is empty\n$`},
		{"mistakes in the chat script", plus("modemchat chat"), exit.Config,
			`^.*/chat:4: the quote ' is not closed\n.*/chat:2: TIMEOUT "soon": a number of seconds is wanted, 1 to 86400\n$`},
		{"mistakes everywhere", plus("modemchat chat\nlinkup nowhere"), exit.Config,
			`^.*/chat:4: .*\n.*/chat:2: .*\n` + config + `:9: linkup: .*\n$`},
		{"conflicts", plus("ipopts 4\nmodemchat chat\nrs485\nspeed 0\nserver 192.0.2.1"), exit.Config,
			`^` + config + `:8: ipopts: .*\n` + config + `:9: modemchat: .*\n` + config + `:11: speed: .*\n` + config + `:12: server: an address or a port, but line 3 names the serial line ".*/tty"; remove one of the two\n$`},
	} {
		must(t, os.WriteFile(c.config(), []byte(tt.change(string(plain))), 0o644))
		hows := [][]string{{"-n"}, {}}
		if tt.code == exit.Config {
			hows = append(hows, []string{"--check"}, []string{"-t"})
		}
		for _, how := range hows {
			c.untouched(func() {
				checkEnded(t, fmt.Sprint(tt.name, how), c.run(append(how, "-f", c.config())...), tt.code, tt.says)
			})
		}
	}
}

func with(old, new string) func(string) string {
	return func(text string) string { return strings.ReplaceAll(text, old, new) }
}

func plus(lines string) func(string) string {
	return func(text string) string { return text + lines + "\n" }
}

// TestSerialInUse starts two daemons, and a test of the chat, on one line.
func TestSerialInUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, line := w.cable(serialtest.Wire{})
	w.configureLine()
	c := w.client
	second := c.sibling("second")
	second.writeLike(c)
	second.also("modemchat chat")
	must(t, os.WriteFile(c.file("chat"), []byte("'' AT"), 0o644))
	c.start()
	c.says("interface is up")
	c.until("holding the line", func(report) bool { // it was only tried before
		_, err := os.Stat(line.lock())
		return err == nil
	})
	for _, how := range [][]string{{"-n"}, {}, {"-t"}} {
		e := second.run(append(how, "-f", second.config())...)
		checkEnded(t, fmt.Sprint(how), e, exit.Unavailable, fmt.Sprintf(`(?m)^vpnd: .*second\.conf:\d+: open .*/tty: in use by process %d \(vpnd\), says /run/lock/LCK\.\.pts_\d+$`, c.PID()))
	}
	c.stop()
}

// TestChatTest runs vpnd -t against modems of all kinds.
func TestChatTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configureLine("modemchat chat")
	c := w.client
	calls := map[string]string{"1": "BUSY", "2": serialtest.Silent, "3": "NO\x1b[2JDIALTONE"}
	x := &serialtest.Exchange{Ring: 500 * time.Millisecond, Training: time.Millisecond, Fault: func(number string) string { return calls[number] }}
	c.modem(x, "99")
	must(t, os.WriteFile(w.server.file("chat"), []byte("TIMEOUT 60\n'' AT\nOK \\c\nRING ATA\nCONNECT \\c\n"), 0o644))
	w.server.modem(x, "4")
	w.server.start() // answers
	const script = "ABORT BUSY\nREPORT CONNECT\nTIMEOUT 8\n'' \\qATE1\nOK ATDTnumber\nSAY \"called \\033\"\n"
	for _, tt := range []struct {
		name, script, number string
		code                 int
		stdout, stderr       string
	}{
		{"busy", script + "CONNECT \\c\n", "1", exit.Temporary, `receive +BUSY\n$`, `^vpnd: .*/tty: .*/chat:7: "BUSY": ABORT\n$`},
		{"silent", script + "CONNECT \\c\n", "2", exit.Temporary, `say +called \\u001b\n`, `^vpnd: .*/tty: .*/chat:7: "CONNECT": not received in time: 8s\n$`},
		{"forged", script + "CONNECT \\c\n", "3", exit.Temporary, `receive +NO\\u001b\[2JDIALTONE\n`, `"CONNECT": not received in time`},
		{"connected", "TIMEOUT 60\n" + strings.Replace(script, "TIMEOUT 8\n", "", 1) + "CONNECT \\c\n", "4", exit.OK,
			`^ +\d+\.\d send +\?{6}\n(.*\n)* +\d+\.\d receive +OK\n +\d+\.\d send +ATDT4\n(.*\n)* +\d+\.\d receive +CONNECT\n +\d+\.\d report +CONNECT 0\n(.*\n)*the script came to its end; hanging up\n$`, `^$`},
	} {
		must(t, os.WriteFile(c.file("chat"), []byte(strings.Replace(tt.script, "number", tt.number, 1)), 0o644))
		e := c.run("-t", "-f", c.config())
		checkEnded(t, tt.name, e, tt.code, tt.stderr)
		if !regexp.MustCompile(tt.stdout).MatchString(e.stdout) {
			t.Errorf("%s: standard output does not match %q:\n%s", tt.name, tt.stdout, e.stdout)
		}
	}
}

// TestChatTestOfNothing asks for a test where there is nothing to test.
func TestChatTestOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.client
	w.configureLine()
	checkEnded(t, "no script", c.run("-t", "-f", c.config()), exit.Config, `^vpnd: `+regexp.QuoteMeta(c.config())+`: there is no chat script to test; name one with "modemchat PATH"\n$`)
	w.configure()
	checkEnded(t, "no line", c.run("-t", "-f", c.config()), exit.Config, `^vpnd: `+regexp.QuoteMeta(c.config())+`: there is no serial line, so no modem to talk to\n$`)
}

// TestChatTestStopped interrupts a test of the chat.
func TestChatTestStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, client := w.cable(serialtest.Wire{})
	w.configureLine("modemchat chat")
	c := w.client
	must(t, os.WriteFile(c.file("chat"), []byte("TIMEOUT 1000\n'' AT\nOK \\c\n"), 0o644))
	p, err := c.ns.Start(exec.Command(binary, "-t", "-f", c.config()))
	must(t, err)
	c.Process = p
	if _, err := p.Stdout.WaitFor(t.Context(), "send +AT"); err != nil {
		t.Fatal(err)
	}
	must(t, c.Signal(syscall.SIGINT))
	c.exits(exit.Temporary)
	if text := p.Stderr.String(); text != "vpnd: stopped by signal: interrupt\n" {
		t.Errorf("says %q", text)
	}
	if _, err := os.Stat(client.lock()); err == nil {
		t.Error("the lock file is left")
	}
}
