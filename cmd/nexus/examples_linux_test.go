package main

import (
	"testing"

	"vpnd/cmd/internal/meshlab"
)

// TestUnit has the program read the command of the systemd unit.
func TestUnit(t *testing.T) {
	t.Parallel()
	commands, err := meshlab.UnitCommands("../../examples/dynvpn/nexus.service", "")
	must(t, err)
	words := commands["ExecStart"]
	if len(commands) != 1 || len(words) == 0 || words[0] != "/usr/local/sbin/nexus" {
		t.Fatalf("there are %q", commands)
	}
	if o, err := parseOptions(words[1:]); err != nil || o.file != defaultFile || o.makeKey || o.check || o.version || o.help {
		t.Errorf("%q: %+v, %v", words, o, err)
	}
}
