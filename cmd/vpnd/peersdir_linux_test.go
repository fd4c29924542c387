package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vpnd/cmd/internal/exit"
)

// inviteHub is a hub that does not run and has let ann and bob in, with what its
// commands say.
func inviteHub(t *testing.T) *site {
	t.Helper()
	b := newInviteBench(t)
	s := &site{t: t, name: "hub", dir: b.dir, ns: b.ns}
	for _, name := range []string{"ann", "bob"} {
		if e := s.run("invite", name, "-f", s.config(), "-o", s.file(name+".conf")); e.code != exit.OK {
			t.Fatal(e.stderr)
		}
	}
	return s
}

// TestInviteMistakes invites a client while something is wrong with what the hub has:
// nothing is changed.
func TestInviteMistakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		cause  func(*site) error
		output string
		code   int
		says   string
	}{
		{"client that others may read", func(s *site) error { return os.Chmod(s.file("peers/bob.peer"), 0o644) }, "zoe.conf", exit.Config,
			`^\S+/bob\.peer: others may read or write the secret \(mode 0644\); say: chmod 600 \S+/bob\.peer\n.*mend that, or revoke the client`},
		{"mistake, and a file in the place of the client's", func(s *site) error {
			return os.WriteFile(s.file("peers/bob.peer"), append(read(s.t, s.file("peers/bob.peer")), "enabeld\n"...), 0o600)
		}, "bob.conf", exit.Config, `^\S+/bob\.peer:\d+: enabeld: unknown keyword`},
		{"client of somebody else", func(s *site) error { return os.Chown(s.file("peers/bob.peer"), nobody, -1) }, "zoe.conf", exit.Config,
			`^\S+/bob\.peer: belongs to another user`},
		{"directory of somebody else", func(s *site) error { return os.Chown(s.file("peers"), nobody, -1) }, "zoe.conf", exit.Config,
			`^vpnd: directory of the clients: \S+/peers belongs to user 65534, and this is user 0: invite as the user that the hub runs as\n$`},
		{"directory that others may read", func(s *site) error { return os.Chmod(s.file("peers"), 0o750) }, "zoe.conf", exit.Config,
			`^vpnd: directory of the clients: \S+/peers is open to others \(mode 0750\); say: chmod 700 \S+/peers\n$`},
		{"pipe in the directory's place", func(s *site) error {
			return errors.Join(os.RemoveAll(s.file("peers")), syscall.Mkfifo(s.file("peers"), 0o600))
		}, "zoe.conf", exit.Internal, `^vpnd: directory of the clients: open \S+/peers: not a directory\n$`},
		{"file among those of the hub", func(*site) error { return nil }, "peers/zoe.peer", exit.Usage,
			`^vpnd: --output: \S+/peers/zoe\.peer is among the files of the hub's clients; name a file in another directory\n$`},
		{"pipe in the file's place", func(s *site) error { return syscall.Mkfifo(s.file("zoe.conf"), 0o600) }, "zoe.conf", exit.Internal,
			`^vpnd: \S+/zoe\.conf exists already: it was left as it is; name another file with --output\n$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := inviteHub(t)
			must(t, tt.cause(s))
			before := tree(t, s.dir)
			checkEnded(t, tt.name, s.run("invite", "zoe", "-f", s.config(), "-o", s.file(tt.output)), tt.code, tt.says)
			if after := tree(t, s.dir); after != before {
				t.Errorf("files before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// TestRevokeMistake revokes a client whose file has a mistake: the next one is let in.
func TestRevokeMistake(t *testing.T) {
	t.Parallel()
	s := inviteHub(t)
	must(t, os.WriteFile(s.file("peers/bob.peer"), []byte("publikkey\n"), 0o600))
	checkEnded(t, "revoke", s.run("revoke", "bob", "-f", s.config()), exit.OK, `^$`)
	checkEnded(t, "invite", s.run("invite", "zoe", "-f", s.config(), "-o", s.file("zoe.conf")), exit.OK, `^$`)
}

// TestPeersSweep opens a directory with what killed processes have left, and what looks
// a little like it.
func TestPeersSweep(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o700))
	kept := []string{"ann.peer", "ann.peer.new-", "ann.peer.new-1.peer", "ann.peer.new-laptop.peer", "ann.peer.new-x1", "notes.new-1"}
	for _, name := range append(kept, "ann.peer.new-1", "ann.peer.new-1.peer.new-20") {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("text"), 0o600))
	}
	d, err := openPeers(dir)
	must(t, err)
	defer d.close()
	if left := filesIn(t, dir); strings.Join(left, " ") != strings.Join(kept, " ") {
		t.Errorf("left are %q, want %q", left, kept)
	}
}

// TestWriteWholeSweep writes a file beside those of others.
func TestWriteWholeSweep(t *testing.T) {
	dir := t.TempDir()
	kept := []string{"ann.conf", "ann.conf.new-laptop.conf", "bob.ann.conf.new-1", "bob.conf.new-1"}
	for _, name := range append(kept[1:], "ann.conf.new-1") {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("text"), 0o600))
	}
	must(t, writeWhole(filepath.Join(dir, "ann.conf"), "new"))
	if left := filesIn(t, dir); strings.Join(left, " ") != strings.Join(kept, " ") {
		t.Errorf("left are %q, want %q", left, kept)
	}
}
