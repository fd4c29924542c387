package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/crypto"
)

// TestStrongSealed starts a daemon whose key is sealed, with each source of a pass
// phrase.
func TestStrongSealed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("auth strong", "pidfile vpnd.pid")
	w.strongKeys([]byte(phrase))
	s := w.server
	must(t, os.WriteFile(s.file("phrase"), []byte(phrase+"\n"), 0o600))
	plain, err := os.ReadFile(s.config())
	must(t, err)
	foreground := func(before func(*exec.Cmd), args ...string) {
		cmd := s.command(append([]string{"-n", "-f", s.config()}, args...)...)
		before(cmd)
		s.startAs(cmd)
		s.says("interface is up")
		s.stop()
	}
	detached := func(before func(*exec.Cmd), args ...string) {
		cmd := s.command(append([]string{"-f", s.config()}, args...)...)
		before(cmd)
		cmd = stage{Log: newSystemLog(t, filepath.Join(t.TempDir(), "log")).path}.on(cmd)
		checkEnded(t, "detached", s.finish(cmd), exit.OK, `^$`)
		s.adopt()
		s.stopAdopted()
	}
	nothing := func(*exec.Cmd) {}
	for _, tt := range []struct {
		name string
		run  func()
	}{
		{"descriptor", func() { foreground(giving(t, phrase+"\n"), "--passphrase-fd", "3") }},
		{"credential", func() { foreground(crediting(t, phrase)) }},
		{"file", func() { s.also("passphrase phrase"); foreground(nothing) }},
		{"detached, descriptor", func() { detached(giving(t, phrase), "--passphrase-fd", "3") }},
		{"detached, credential", func() { detached(crediting(t, phrase+"\n")) }},
		{"detached, file", func() { s.also("passphrase phrase"); detached(nothing) }},
		{"detached, terminal", func() {
			cmd := stage{Log: newSystemLog(t, filepath.Join(t.TempDir(), "log")).path}.on(s.command("-f", s.config()))
			k := atTerminal(t, cmd, s.ns.Do)
			k.types("Pass phrase of "+s.file(crypto.ServerFile), phrase+"\n")
			if text := k.ends(exit.OK); strings.Contains(text, "horse") {
				t.Errorf("the terminal shows the pass phrase:\n%s", text)
			}
			s.adopt()
			s.stopAdopted()
		}},
	} {
		must(t, os.WriteFile(s.config(), plain, 0o644))
		t.Run(tt.name, func(*testing.T) { tt.run() })
	}
}

// TestStrongReload re-reads a configuration whose key is sealed: nobody is asked.
func TestStrongReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("auth strong")
	w.strongKeys([]byte(phrase))
	s := w.server
	cmd := s.command("-n", "-f", s.config(), "--passphrase-fd", "3")
	giving(t, phrase)(cmd)
	s.startAs(cmd)
	s.says("interface is up")
	s.also("retry 33")
	must(t, s.Signal(syscall.SIGHUP))
	s.says("configuration reloaded")
	s.stop()
}

// TestStrongBadKey starts with what is not the right key. Each says so in one line.
func TestStrongBadKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("auth strong")
	w.strongKeys(nil)
	s := w.server
	sealed := newPair(t, phrase)
	good, err := os.ReadFile(s.file(crypto.ServerFile))
	must(t, err)
	read := func(path string) string {
		text, err := os.ReadFile(path)
		must(t, err)
		return string(text)
	}
	config := read(s.config())
	private := regexp.MustCompile(`private:\S+`)
	public := keyAt(t, s.file(crypto.ServerFile), "").Identity().Public().String()
	nothing := func(*exec.Cmd) {}
	for _, tt := range []struct {
		name   string
		key    string // what stands in the file; "": there is none
		before func(*exec.Cmd)
		more   string // of the configuration
		fd     bool
		says   string
	}{
		{"missing", "", nothing, "", false, `key file \S+vpnd\.lcl\.key does not exist: make a pair with vpnd -x`},
		{"shared", read(s.file("vpnd.key")), nothing, "", false, `line 3: this is a shared key \(vpnd -m\): a strong key is needed here \(vpnd -x\)`},
		{"the client's", read(w.client.file(crypto.ClientFile)), nothing, "", false, `this is the key of the client: the server needs the other one of the pair \(vpnd\.lcl\.key\)`},
		{"public in place of private", private.ReplaceAllString(string(good), public), nothing, "", false, `own: this is a public key: the private key belongs here`},
		{"wrong pass phrase", read(sealed + "/vpnd.lcl.key"), giving(t, otherPhrase), "", true, `wrong pass phrase, or the file was changed`},
		{"no pass phrase", read(sealed + "/vpnd.lcl.key"), giving(t, ""), "", true, `descriptor 3 gives no pass phrase`},
		{"no terminal", read(sealed + "/vpnd.lcl.key"), func(cmd *exec.Cmd) { cmd.SysProcAttr = nil }, "", false, `there is no terminal to ask for the pass phrase: use --passphrase-fd, or give the service a credential vpnd\.passphrase`},
		{"open pass phrase", read(sealed + "/vpnd.lcl.key"), nothing, "passphrase vpnd.open", false, `file of the pass phrase \S+vpnd\.open can be read or changed by others`},
		{"no file of the pass phrase", read(sealed + "/vpnd.lcl.key"), nothing, "passphrase vpnd.none", false, `file of the pass phrase: open \S+vpnd\.none: no such file`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			must(t, os.RemoveAll(s.file(crypto.ServerFile)))
			if tt.key != "" {
				must(t, os.WriteFile(s.file(crypto.ServerFile), []byte(tt.key), 0o600))
			}
			must(t, os.WriteFile(s.file("vpnd.open"), []byte(phrase), 0o644))
			must(t, os.WriteFile(s.config(), []byte(config+tt.more+"\n"), 0o644))
			args := []string{"-f", s.config()}
			if tt.fd {
				args = append(args, "--passphrase-fd", "3")
			}
			before := tt.before
			if tt.name == "no terminal" {
				before = nothing
			}
			e := alone(t, before, args...) // it does not come to making an interface
			checkEnded(t, "start", e, exit.Config, `^(vpnd: )?[^\n]*server\.conf\S*: keyfile: [^\n]*`+tt.says+`[^\n]*\n$`)
		})
	}
	must(t, os.WriteFile(s.config(), []byte(strings.ReplaceAll(config, "auth strong", "auth psk\nkeyfile "+crypto.ServerFile)), 0o644))
	must(t, os.WriteFile(s.file(crypto.ServerFile), good, 0o600))
	e := alone(t, nil, "--check", "-f", s.config())
	checkEnded(t, "strong key as shared", e, exit.Config, `line 4: this is a strong key \(vpnd -x\): a shared key is needed here \(vpnd -m\), or "auth strong"\n$`)
}

// TestStrongCheck checks configurations whose key is sealed.
func TestStrongCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure("auth strong")
	link := w.strongKeys([]byte(phrase))
	for _, tt := range []struct {
		name   string
		before func(*exec.Cmd)
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"without", nil, nil, exit.OK, `is right: server, key sealed, and not opened without a pass phrase\n$`, `^$`},
		{"descriptor", giving(t, phrase), []string{"--passphrase-fd", "3"}, exit.OK, `is right: server, link ` + link, `^$`},
		{"credential", crediting(t, phrase), nil, exit.OK, `is right: server, link ` + link, `^$`},
		{"wrong", crediting(t, otherPhrase), nil, exit.Config, `^$`, `keyfile: key file \S+: wrong pass phrase`},
	} {
		e := alone(t, tt.before, append([]string{"--check", "-f", w.server.config()}, tt.args...)...)
		checkEnded(t, tt.name, e, tt.code, tt.stderr)
		if !regexp.MustCompile(tt.stdout).MatchString(e.stdout) {
			t.Errorf("%s: it says %q, want %q", tt.name, e.stdout, tt.stdout)
		}
	}
}
