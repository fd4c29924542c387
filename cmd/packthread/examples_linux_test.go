package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vpnd/cmd/internal/meshlab"
)

const examples = "../../examples/dynvpn/"

// installed is where "make install" puts the program, as the examples have it.
const installed = "/usr/local/sbin/packthread"

// TestUnit has the program read the commands of the systemd unit.
func TestUnit(t *testing.T) {
	t.Parallel()
	commands, err := meshlab.UnitCommands(examples+"packthread@.service", "lahm")
	must(t, err)
	for name, foreground := range map[string]bool{"ExecStart": true, "ExecReload": false} {
		words := commands[name]
		if len(words) == 0 || words[0] != installed {
			t.Errorf("%s is %q", name, words)
			continue
		}
		o, err := parseOptions(words[1:])
		if err != nil || !o.isGateway("lahm") || o.foreground != foreground {
			t.Errorf("%s=%q: %+v, %v", name, words, o, err)
		}
	}
	if len(commands) != 2 {
		t.Errorf("there are %q", commands)
	}
}

// isGateway reports whether this is the command that keeps a gateway in the mesh.
func (o *options) isGateway(name string) bool {
	return o.name == name && o.file == defaultFile && !o.makeKey && !o.status && !o.version && !o.help
}

// TestUp runs the script of ip-up.d, with another program in the place of packthread.
func TestUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	told, stub, script := filepath.Join(dir, "told"), filepath.Join(dir, "packthread"), filepath.Join(dir, "up")
	must(t, os.WriteFile(stub, []byte("#!/bin/sh\nprintf '%s\\n' \"$@\" >"+told+"\n"), 0o755))
	text, err := os.ReadFile(examples + "packthread-up")
	must(t, err)
	if !strings.Contains(string(text), installed) {
		t.Fatalf("the script does not run %s:\n%s", installed, text)
	}
	must(t, os.WriteFile(script, []byte(strings.ReplaceAll(string(text), installed, stub)), 0o755))
	// So pppd calls it: interface, terminal, speed, local and remote address, and a word.
	if out, err := exec.Command(script, "ppp0", "/dev/ttyS0", "115200", "192.0.2.7", "192.0.2.1", "").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	words, err := os.ReadFile(told)
	must(t, err)
	args := slices.Collect(strings.SplitSeq(strings.TrimSuffix(string(words), "\n"), "\n"))
	if o, err := parseOptions(args); err != nil || !o.isGateway("lahm") || o.foreground {
		t.Errorf("arguments %q: %+v, %v", args, o, err)
	}
}
