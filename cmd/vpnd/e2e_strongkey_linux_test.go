package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"

	"vpnd/cmd/internal/exit"
	"vpnd/crypto"
)

const (
	phrase      = "correct horse battery"
	otherPhrase = "staple, and more"
)

// giving gives a command text on descriptor 3.
func giving(t *testing.T, text string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		r, w, err := os.Pipe()
		must(t, err)
		_, err = w.WriteString(text)
		must(t, err)
		must(t, w.Close())
		t.Cleanup(func() { r.Close() })
		cmd.ExtraFiles = []*os.File{r}
	}
}

// crediting gives it a systemd credential.
func crediting(t *testing.T, text string) func(*exec.Cmd) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, credential), []byte(text), 0o400))
	return func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), credentialsEnv+"="+dir) }
}

// keysIn loads the pair in a directory. Without a pass phrase it must not be sealed.
func keysIn(t *testing.T, dir, passphrase string) (server, client *crypto.StrongKey) {
	t.Helper()
	for _, f := range []struct {
		name string
		key  **crypto.StrongKey
	}{{"vpnd.lcl.key", &server}, {"vpnd.rmt.key", &client}} {
		path := filepath.Join(dir, f.name)
		*f.key = keyAt(t, path, passphrase)
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v: %v", path, info.Mode(), err)
		}
	}
	if server.Role() != crypto.ServerRole || client.Role() != crypto.ClientRole || server.ID() != client.ID() {
		t.Errorf("the keys are those of a %s and a %s, of the links %v and %v", server.Role(), client.Role(), server.ID(), client.ID())
	}
	return server, client
}

func keyAt(t *testing.T, path, passphrase string) *crypto.StrongKey {
	t.Helper()
	file, err := crypto.LoadStrong(path)
	must(t, err)
	if file.Sealed() != (passphrase != "") {
		t.Fatalf("%s is sealed: %v", path, file.Sealed())
	}
	key, err := file.Open([]byte(passphrase))
	must(t, err)
	return key
}

func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if !os.IsNotExist(err) {
		must(t, err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// newPair makes a pair and returns its directory.
func newPair(t *testing.T, passphrase string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pair")
	args, before := []string{"-x", dir}, func(*exec.Cmd) {}
	if passphrase != "" {
		args, before = append(args, "--passphrase-fd", "3"), giving(t, passphrase+"\n")
	}
	if e := alone(t, before, args...); e.code != exit.OK {
		t.Fatalf("exit code %d\n%s", e.code, e.stderr)
	}
	return dir
}

func TestMakeStrong(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	e := alone(t, nil, "-x", dir)
	checkEnded(t, "-x", e, exit.OK, `^$`)
	server, _ := keysIn(t, dir, "")
	for _, want := range []string{dir + "/vpnd.lcl.key for the server", dir + "/vpnd.rmt.key for the client", "(link " + server.ID().String() + ")"} {
		if !strings.Contains(e.stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, e.stdout)
		}
	}
	// What exists is left alone, whichever of the two it is.
	for _, name := range []string{"vpnd.lcl.key", "vpnd.rmt.key"} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600))
		e = alone(t, nil, "-x", dir)
		checkEnded(t, "-x again", e, exit.Internal, `^vpnd: key file .*/`+name+` exists already: it was left as it is\n$`)
		if got := filesIn(t, dir); !slices.Equal(got, []string{name}) {
			t.Errorf("the directory holds %v", got)
		}
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "old" {
			t.Errorf("the file holds %q: %v", text, err)
		}
	}
}

// TestMakeStrongSealed gets the pass phrase in each of the ways.
func TestMakeStrongSealed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		before func(t *testing.T) func(*exec.Cmd)
		args   string
	}{
		{"descriptor", func(t *testing.T) func(*exec.Cmd) { return giving(t, phrase+"\n") }, "--passphrase --passphrase-fd 3"},
		{"descriptor, no line end", func(t *testing.T) func(*exec.Cmd) { return giving(t, phrase) }, "--passphrase-fd 3"},
		{"standard input", func(t *testing.T) func(*exec.Cmd) {
			return func(cmd *exec.Cmd) { cmd.Stdin = strings.NewReader(phrase + "\n") }
		}, "--passphrase-fd 0"},
		{"credential", func(t *testing.T) func(*exec.Cmd) { return crediting(t, phrase+"\n") }, "--passphrase"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			e := alone(t, tt.before(t), append([]string{"-x", dir}, strings.Fields(tt.args)...)...)
			checkEnded(t, "-x", e, exit.OK, `^$`)
			keysIn(t, dir, phrase)
		})
	}
	// Without the option a credential is not looked at.
	dir := filepath.Join(t.TempDir(), "keys")
	checkEnded(t, "-x", alone(t, crediting(t, phrase), "-x", dir), exit.OK, `^$`)
	keysIn(t, dir, "")
}

func TestMakeStrongOnTerminal(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	k := newTypist(t, nil, "-x", "--passphrase", dir)
	k.types("Pass phrase for the keys in "+dir, phrase+"\n")
	k.types("The same again", phrase+"\n")
	text := k.ends(exit.OK)
	if strings.Contains(text, "horse") {
		t.Errorf("the terminal shows the pass phrase:\n%s", text)
	}
	keysIn(t, dir, phrase)
}

// TestMakeStrongRefused checks that nothing is made without a good pass phrase.
func TestMakeStrongRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		before func(t *testing.T) func(*exec.Cmd)
		args   string
		code   int
		says   string
	}{
		{"no terminal", nil, "--passphrase", exit.Config, `there is no terminal to ask for the pass phrase: use --passphrase-fd, or give the service a credential vpnd.passphrase`},
		{"empty", func(t *testing.T) func(*exec.Cmd) { return giving(t, "") }, "--passphrase-fd 3", exit.Config, `descriptor 3 gives no pass phrase`},
		{"empty line", func(t *testing.T) func(*exec.Cmd) { return giving(t, "\n") }, "--passphrase-fd 3", exit.Config, `the pass phrase is empty`},
		{"short", func(t *testing.T) func(*exec.Cmd) { return giving(t, "seven77\n") }, "--passphrase-fd 3", exit.Config, `the pass phrase has 7 characters: at least 8`},
		{"long", func(t *testing.T) func(*exec.Cmd) { return giving(t, strings.Repeat("a", 1025)) }, "--passphrase-fd 3", exit.Config, `1025 bytes: at most 1024`},
		{"endless", func(t *testing.T) func(*exec.Cmd) { return giving(t, strings.Repeat("a", 4000)) }, "--passphrase-fd 3", exit.Config, `descriptor 3 holds more than a pass phrase or two`},
		{"three lines", func(t *testing.T) func(*exec.Cmd) { return giving(t, "a\nb\nc\n") }, "--passphrase-fd 3", exit.Config, `more than two lines`},
		{"closed descriptor", nil, "--passphrase-fd 77", exit.Config, `pass phrase: descriptor 77: bad file descriptor`},
		{"directory", func(t *testing.T) func(*exec.Cmd) {
			return func(cmd *exec.Cmd) {
				dir, err := os.Open("/")
				must(t, err)
				t.Cleanup(func() { dir.Close() })
				cmd.ExtraFiles = []*os.File{dir}
			}
		}, "--passphrase-fd 3", exit.Config, `is a directory`},
		{"terminal as descriptor", func(t *testing.T) func(*exec.Cmd) {
			return func(cmd *exec.Cmd) {
				master, tty, err := pty.Open()
				must(t, err)
				t.Cleanup(func() { master.Close(); tty.Close() })
				cmd.ExtraFiles = []*os.File{tty}
			}
		}, "--passphrase-fd 3", exit.Config, `descriptor 3 is a terminal, which would show the pass phrase`},
		{"empty credential", func(t *testing.T) func(*exec.Cmd) { return crediting(t, "\n") }, "--passphrase", exit.Config, `vpnd.passphrase is not one line`},
		{"two credentials", func(t *testing.T) func(*exec.Cmd) { return crediting(t, phrase+"\n"+phrase) }, "--passphrase", exit.Config, `vpnd.passphrase is not one line`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			before := func(*exec.Cmd) {}
			if tt.before != nil {
				before = tt.before(t)
			}
			e := alone(t, before, append([]string{"-x", dir}, strings.Fields(tt.args)...)...)
			checkEnded(t, "-x", e, tt.code, `^vpnd: .*`+tt.says+`.*\n$`)
			if _, err := os.Stat(dir); !os.IsNotExist(err) {
				t.Errorf("the directory holds %v", filesIn(t, dir))
			}
		})
	}
}

func TestMakeStrongTyped(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		typed []string
		code  int
		says  string
	}{
		{"different", []string{phrase + "\n", otherPhrase + "\n"}, exit.Config, `the two pass phrases differ: nothing was changed`},
		{"nothing", []string{"\n"}, exit.Config, `the pass phrase is empty`},
		{"short", []string{"short\n"}, exit.Config, `5 characters: at least 8`},
		{"end of input", []string{"\x04"}, exit.Config, `no pass phrase was typed`},
		{"end in the middle", []string{"corr\x04"}, exit.Config, `not ended with Enter`},
		{"too long", []string{strings.Repeat("a", 2000) + "\n"}, exit.Config, `more than 1024 bytes`},
		{"interrupt", []string{"corr\x03"}, exit.Temporary, `asking for the pass phrase: interrupt`},
		{"interrupt later", []string{phrase + "\n", "\x03"}, exit.Temporary, `asking for the pass phrase: interrupt`},
		{"stop and quit are no keys", []string{"\x1a\x1c" + phrase + "\n", phrase + "\n"}, exit.Config, `the two pass phrases differ`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			k := newTypist(t, nil, "-x", "--passphrase", dir)
			for i, text := range tt.typed {
				k.types([]string{"Pass phrase for the keys in " + regexp.QuoteMeta(dir), "The same again"}[i], text)
			}
			if text := k.ends(tt.code); !regexp.MustCompile(`vpnd: .*` + tt.says).MatchString(text) {
				t.Errorf("it does not say %q:\n%s", tt.says, text)
			}
			if got := filesIn(t, dir); got != nil {
				t.Errorf("the directory holds %v", got)
			}
		})
	}
}

func TestCheckKey(t *testing.T) {
	t.Parallel()
	plain, sealed := newPair(t, ""), newPair(t, phrase)
	shared := filepath.Join(t.TempDir(), "vpnd.key")
	checkEnded(t, "-m", alone(t, nil, "-m", shared), exit.OK, `^$`)
	other := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), name)
		must(t, os.WriteFile(path, []byte(text), 0o600))
		must(t, os.Chmod(path, mode))
		return path
	}
	server, client := keysIn(t, plain, "")
	swapped, err := os.ReadFile(plain + "/vpnd.lcl.key")
	must(t, err)
	public := regexp.MustCompile(`private:\S+`).ReplaceAllString(string(swapped), server.Identity().Public().String())
	tests := []struct {
		name, path string
		before     func(*exec.Cmd)
		fd         bool
		code       int
		stdout     string
		stderr     string
	}{
		{"server's", plain + "/vpnd.lcl.key", nil, false, exit.OK, `is right: strong key of the server, link ` + server.ID().String() + `, not sealed\nits public key is ` + regexp.QuoteMeta(server.Identity().Public().String()) + `\n$`, `^$`},
		{"client's", plain + "/vpnd.rmt.key", nil, false, exit.OK, `is right: strong key of the client, link ` + client.ID().String(), `^$`},
		{"shared", shared, nil, false, exit.OK, `is right: shared key, key id [0-9a-f]{16}\n$`, `^$`},
		{"sealed, descriptor", sealed + "/vpnd.rmt.key", giving(t, phrase), true, exit.OK, `strong key of the client, link [0-9a-f]{16}, sealed under a pass phrase`, `^$`},
		{"sealed, credential", sealed + "/vpnd.lcl.key", crediting(t, phrase), false, exit.OK, `strong key of the server, link [0-9a-f]{16}, sealed under a pass phrase`, `^$`},
		{"sealed, no terminal", sealed + "/vpnd.lcl.key", nil, false, exit.Config, `^$`, `there is no terminal to ask`},
		{"wrong pass phrase", sealed + "/vpnd.lcl.key", giving(t, otherPhrase), true, exit.Config, `^$`, `^vpnd: key file .*/vpnd.lcl.key: wrong pass phrase, or the file was changed\n$`},
		{"no pass phrase", sealed + "/vpnd.lcl.key", giving(t, ""), true, exit.Config, `^$`, `descriptor 3 gives no pass phrase`},
		{"missing", plain + "/none", nil, false, exit.Config, `^$`, `key file .*/none does not exist: make a pair with vpnd -x`},
		{"open to others", other("open", string(swapped), 0o644), nil, false, exit.Config, `^$`, `chmod 600`},
		{"public key in place of the private one", other("public", public, 0o600), nil, false, exit.Config, `^$`, `key file .*/public: line 5: own: this is a public key: the private key belongs here`},
		{"no key", other("text", "hello\n", 0o600), nil, false, exit.Config, `^$`, `line 1 is not "vpnd-strong-1"`},
		{"damaged shared key", other("psk", "vpnd-psk-1 AAAA\n", 0o600), nil, false, exit.Config, `^$`, `key of 3 bytes is too short`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"-c", tt.path}
			if tt.fd {
				args = append(args, "--passphrase-fd", "3")
			}
			text, _ := os.ReadFile(tt.path)
			e := alone(t, tt.before, args...)
			checkEnded(t, "-c", e, tt.code, tt.stderr)
			if !regexp.MustCompile(tt.stdout).MatchString(e.stdout) {
				t.Errorf("it does not say %q:\n%s", tt.stdout, e.stdout)
			}
			if after, _ := os.ReadFile(tt.path); string(after) != string(text) {
				t.Errorf("the file has changed to\n%s", after)
			}
		})
	}
}

// TestChangePassphrase seals a key, and seals it anew, by a descriptor and on the
// terminal.
func TestChangePassphrase(t *testing.T) {
	t.Parallel()
	dir := newPair(t, "")
	path := dir + "/vpnd.rmt.key"
	id := keyAt(t, path, "").ID()
	changed := func(passphrase string) {
		t.Helper()
		if got := keyAt(t, path, passphrase).ID(); got != id {
			t.Errorf("the key is of link %v, want %v", got, id)
		}
		if got := filesIn(t, dir); !slices.Equal(got, []string{"vpnd.lcl.key", "vpnd.rmt.key"}) {
			t.Errorf("the directory holds %v", got)
		}
	}
	e := alone(t, giving(t, phrase+"\n"), "-c", path, "--passphrase-fd", "3")
	checkEnded(t, "seal", e, exit.OK, `^$`)
	changed(phrase)
	e = alone(t, giving(t, phrase+"\n"+otherPhrase+"\n"), "-c", path, "--passphrase-fd", "3")
	checkEnded(t, "seal anew", e, exit.OK, `^$`)
	if !strings.HasSuffix(e.stdout, path+" is sealed under the new pass phrase\n") {
		t.Errorf("it says\n%s", e.stdout)
	}
	changed(otherPhrase)
	for _, text := range []string{otherPhrase + "\n\n", otherPhrase + "\nshort\n"} {
		e = alone(t, giving(t, text), "-c", path, "--passphrase-fd", "3")
		checkEnded(t, "bad pass phrase", e, exit.Config, `the pass phrase (is empty|has 5 characters)`)
		changed(otherPhrase)
	}

	k := newTypist(t, nil, "-c", path)
	k.types("Pass phrase of "+path, otherPhrase+"\n")
	k.types(`link `+id.String()+`, sealed(?s:.*)New pass phrase for `+path+` \(empty: leave the file as it is\)`, phrase+"\n")
	k.types("The same again", phrase+"\n")
	text := k.ends(exit.OK)
	if strings.Contains(text, "horse") || strings.Contains(text, "staple") {
		t.Errorf("the terminal shows a pass phrase:\n%s", text)
	}
	changed(phrase)

	before, err := os.ReadFile(path)
	must(t, err)
	for _, tt := range []struct {
		name  string
		typed []string
		code  int
	}{
		{"left as it is", []string{phrase + "\n", "\n"}, exit.OK},
		{"wrong", []string{otherPhrase + "\n"}, exit.Config},
		{"different", []string{phrase + "\n", otherPhrase + "\n", phrase + "\n"}, exit.Config},
		{"interrupt", []string{phrase + "\n", "\x03"}, exit.Temporary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newTypist(t, nil, "-c", path)
			for i, text := range tt.typed {
				k.types([]string{"Pass phrase of " + path, "as it is\\)", "The same again"}[i], text)
			}
			k.ends(tt.code)
			if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
				t.Errorf("the file has changed: %v\n%s", err, after)
			}
		})
	}
	if k := newTypist(t, giving(t, phrase+"\n"), "-c", path, "--passphrase-fd", "3"); !strings.Contains(k.ends(exit.OK), "is right") {
		t.Error("with a descriptor the terminal is asked")
	}
}
