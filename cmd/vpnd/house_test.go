package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vpnd/compress"
	"vpnd/conf"
	"vpnd/crypto"
)

// patience bounds every wait: far more than a healthy link needs on a slow
// machine.
const patience = 60 * time.Second

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestImports holds the packages to the one way in which they may use each
// other.
func TestImports(t *testing.T) {
	allowed := map[string]string{
		"cmd/vpnd":                "cmd/internal/background cmd/internal/exit conf crypto serial serial/chat tunnel tunnel/frame tunnel/hook tunnel/link tunnel/loglimit tunnel/netif tunnel/number tunnel/pool",
		"cmd/internal/background": "cmd/internal/exit tunnel/netif",
		"cmd/internal/bench":      "cmd/internal/lab cmd/internal/router serial/serialtest",
		"cmd/internal/demo":       "cmd/internal/lab cmd/internal/meshlab serial/serialtest",
		"cmd/internal/dictionary": "",
		"cmd/internal/exit":       "",
		"cmd/internal/lab":        "",
		"cmd/internal/mutate":     "",
		"cmd/internal/router":     "cmd/internal/lab",
		"cmd/internal/scale":      "crypto tunnel tunnel/link",
		"compress":                "",
		"conf":                    "",
		"crypto":                  "",
		"serial":                  "",
		"serial/chat":             "",
		"serial/serialtest":       "",
		"tunnel":                  "compress crypto tunnel/frame tunnel/lobby tunnel/loglimit tunnel/number tunnel/queue",
		"tunnel/frame":            "",
		"tunnel/hook":             "",
		"tunnel/link":             "serial serial/chat",
		"tunnel/lobby":            "",
		"tunnel/loglimit":         "",
		"tunnel/netif":            "",
		"tunnel/number":           "",
		"tunnel/pool":             "",
		"tunnel/queue":            "",

		"cmd/nexus":             "cmd/internal/exit cmd/internal/registry cmd/internal/settings crypto tunnel/lobby",
		"cmd/packthread":        "cmd/internal/background cmd/internal/exit cmd/internal/mesh cmd/internal/registry cmd/internal/settings crypto tunnel tunnel/link tunnel/netif",
		"cmd/internal/mesh":     "cmd/internal/background cmd/internal/registry crypto",
		"cmd/internal/meshlab":  "cmd/internal/lab",
		"cmd/internal/registry": "cmd/internal/settings crypto tunnel/loglimit",
		"cmd/internal/settings": "crypto",
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "vpnd/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		name := strings.TrimPrefix(words[0], "vpnd/")
		may, ok := allowed[name]
		if !ok {
			t.Errorf("package %s is not in the table", name)
		}
		for _, path := range words[1:] {
			if used, ours := strings.CutPrefix(path, "vpnd/"); ours && !slices.Contains(strings.Fields(may), used) {
				t.Errorf("%s may not import %s", name, used)
			}
		}
	}
}

// TestNames checks that the configuration, which knows no other package, has the
// names that the others have.
func TestNames(t *testing.T) {
	accepts := func(line string) bool {
		_, err := conf.Parse("vpnd.conf", strings.NewReader("mode server\nlocal 10.0.0.1\nremote 10.0.0.2\n"+line+"\n"))
		return err == nil
	}
	for _, name := range []string{"blowfish", "aes-256-gcm", "chacha20-poly1305", "none", "aes-128-cbc", ""} {
		if _, err := crypto.ParseCipher(name); (err == nil) != accepts("cipher "+name) {
			t.Errorf("cipher %q: conf accepts it %v, crypto says %v", name, accepts("cipher "+name), err)
		}
	}
	for c := range crypto.Cipher(8) {
		if _, err := crypto.ParseCipher(c.String()); err == nil && !accepts("cipher "+c.String()) {
			t.Errorf("conf does not know the cipher %v", c)
		}
	}
	for _, name := range []string{"auto", "off", "asym", "s2", "deflate", "zstd", "lzo", "on", ""} {
		if _, err := compress.Accepts(name); (err == nil) != accepts("compress "+name) {
			t.Errorf("compress %q: conf accepts it %v, compress says %v", name, accepts("compress "+name), err)
		}
	}
}
