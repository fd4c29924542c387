package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
	"vpnd/conf"
	"vpnd/crypto"
)

// inviteBench is a hub that does not run, in a directory of its own.
type inviteBench struct {
	t    *testing.T
	ns   *lab.Namespace
	dir  string
	conf string
}

func newInviteBench(t *testing.T) *inviteBench {
	t.Helper()
	l, err := lab.New()
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	ns, err := l.Namespace("hub")
	must(t, err)
	dir, err := filepath.EvalSymlinks(newPair(t, ""))
	must(t, err)
	b := &inviteBench{t, ns, dir, filepath.Join(dir, "hub.conf")}
	must(t, os.Remove(filepath.Join(dir, crypto.ClientFile)))
	must(t, os.WriteFile(b.conf, []byte("mode server\nserver 192.0.2.1\nlocal 10.99.0.1\npool 10.99.0.0/24\nauth strong\npeers peers\nstatedir state\n"), 0o600))
	return b
}

// until runs a command up to the nth call that changes a file, and returns how many
// there were.
func (b *inviteBench) until(kill int, args ...string) (calls, code int) {
	b.t.Helper()
	cmd := (&site{dir: b.dir}).command(append(args, "-f", b.conf)...)
	trace, err := b.ns.Trace(cmd, lab.Tracing{Watch: func(c *lab.Call) bool {
		changes := touches(c, b.dir) || touches(c, "ann.conf") || c.Is(unix.SYS_FLOCK)
		if changes {
			calls++
		}
		return changes && calls == kill
	}})
	must(b.t, err)
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	code, err = trace.Wait(ctx)
	must(b.t, err)
	<-trace.Ended()
	return calls, code
}

// peers reads the files of the clients, which must be whole.
func (b *inviteBench) peers() []*conf.Peer {
	b.t.Helper()
	c, err := conf.ParseFile(b.conf)
	must(b.t, err)
	if _, err := os.Stat(c.Peers); os.IsNotExist(err) {
		return nil
	}
	peers, problems, err := c.ReadPeers()
	must(b.t, err)
	if len(problems) > 0 {
		b.t.Errorf("problems are %v", problems)
	}
	return peers
}

// whole checks that a client which is let in has its file.
func (b *inviteBench) whole() {
	b.t.Helper()
	c, err := conf.ParseFile(filepath.Join(b.dir, "ann.conf"))
	if err != nil {
		b.t.Errorf("the client's file: %v", err)
		return
	}
	key, err := crypto.ParseStrongWords(crypto.ClientRole, c.Key)
	must(b.t, err)
	if p := b.peers(); len(p) != 1 || p[0].PublicKey != key.Identity().String() || p[0].Secret != key.Secret().Text() {
		b.t.Error("the two files do not belong together")
	}
}

// clean checks that nothing else is left.
func (b *inviteBench) clean(want ...string) {
	b.t.Helper()
	if got := strings.Join(append(filesIn(b.t, b.dir), filesIn(b.t, filepath.Join(b.dir, "peers"))...), " "); got != strings.Join(want, " ") {
		b.t.Errorf("files are %s, want %v", got, want)
	}
}

// TestKillInvite kills vpnd invite before and after every system call with which it
// changes a file. A client that is let in has its whole file, and the same command
// again does what is left to do.
func TestKillInvite(t *testing.T) {
	t.Parallel()
	b := newInviteBench(t)
	fresh := func() {
		must(t, os.RemoveAll(filepath.Join(b.dir, "peers")))
		must(t, os.RemoveAll(filepath.Join(b.dir, "ann.conf")))
	}
	all, code := b.until(0, "invite", "ann")
	if code != exit.OK {
		t.Fatalf("exit code %d", code)
	}
	b.whole()
	var was struct{ out, file, in int }
	for kill := 1; kill <= all; kill++ {
		fresh()
		if _, code := b.until(kill, "invite", "ann"); code != killed {
			t.Fatalf("call %d: exit code %d, want %d", kill, code, killed)
		}
		_, err := os.Stat(filepath.Join(b.dir, "ann.conf"))
		in := len(b.peers()) == 1
		_, code := b.until(0, "invite", "ann")
		switch {
		case in:
			was.in++
			if code != exit.Internal { // there is one already
				t.Errorf("call %d: again: exit code %d", kill, code)
			}
		case code != exit.OK:
			t.Errorf("call %d: again: exit code %d", kill, code)
		case err == nil:
			was.file++
		default:
			was.out++
		}
		b.whole()
		b.clean("ann.conf", "hub.conf", "peers", crypto.ServerFile, "ann.peer")
	}
	t.Logf("%d kills: %d before the client's file was there, %d before it was let in, %d after that", all, was.out, was.file, was.in)
	if was.out == 0 || was.file == 0 || was.in == 0 {
		t.Error("not every state was seen")
	}
}

// TestKillRevoke does the same to vpnd revoke.
func TestKillRevoke(t *testing.T) {
	t.Parallel()
	b := newInviteBench(t)
	fresh := func() {
		must(t, os.RemoveAll(filepath.Join(b.dir, "ann.conf")))
		if len(b.peers()) > 0 {
			return
		}
		if _, code := b.until(0, "invite", "ann"); code != exit.OK {
			t.Fatalf("exit code %d", code)
		}
	}
	fresh()
	all, code := b.until(0, "revoke", "ann")
	if code != exit.OK || len(b.peers()) > 0 {
		t.Fatalf("exit code %d", code)
	}
	in, out := 0, 0
	for kill := 1; kill <= all; kill++ {
		fresh()
		if _, code := b.until(kill, "revoke", "ann"); code != killed {
			t.Fatalf("call %d: exit code %d, want %d", kill, code, killed)
		}
		if len(b.peers()) == 1 {
			in++
			if _, code := b.until(0, "revoke", "ann"); code != exit.OK {
				t.Errorf("call %d: again: exit code %d", kill, code)
			}
		} else {
			out++
		}
		if got := filesIn(t, filepath.Join(b.dir, "peers")); len(got) > 0 {
			t.Errorf("files are %v", got)
		}
	}
	t.Logf("%d kills: %d in, %d out", all, in, out)
	if in == 0 || out == 0 {
		t.Error("not both states were seen")
	}
}
