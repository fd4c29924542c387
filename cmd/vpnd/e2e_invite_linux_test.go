package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel/pool"
)

// invites lets a host in as a client, with the file that the hub has written. Only the
// places of its state are others, which tests must not share.
func (w *peersWorld) invites(s *site, args ...string) ended {
	s.t.Helper()
	os.Remove(s.config())
	e := w.server.run(append([]string{"invite", s.name, "-f", w.server.config(), "-o", s.config(), "--server", w.outer(s)}, args...)...)
	if e.code != exit.OK {
		s.t.Fatalf("exit code %d\n%s", e.code, e.stderr)
	}
	f, err := os.OpenFile(s.config(), os.O_APPEND|os.O_WRONLY, 0)
	must(s.t, err)
	_, err = fmt.Fprintf(f, "statedir %s\ncontrol %s\nretry 1\n", s.file("state"), s.file("control.sock"))
	must(s.t, err)
	must(s.t, f.Close())
	return e
}

// revokes shuts a client out.
func (w *peersWorld) revokes(s *site) {
	s.t.Helper()
	e := w.server.run("revoke", s.name, "-f", w.server.config())
	checkEnded(s.t, "revoke", e, exit.OK, `^$`)
	if want := "client " + s.name + " is shut out; a hub that runs cuts it off within a second\n"; e.stdout != want {
		s.t.Errorf("it says %q", e.stdout)
	}
}

// TestInvite lets clients in and shuts one out while the hub runs.
func TestInvite(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t, "clienttoclient", "cipher aes-256-gcm", "mtu 1400")
	must(t, os.Remove(w.server.file("peers"))) // invite makes it
	e := w.invites(w.client, "--subnet", "10.55.0.0/16")
	for _, want := range []string{"client client is let in: address 10.99.0.2 fd00:99::2, link ", "Move " + w.client.config() + " to the client", "vpnd -f client.conf\n"} {
		if !strings.Contains(e.stdout, want) {
			t.Errorf("it does not say %q:\n%s", want, e.stdout)
		}
	}
	for _, path := range []string{w.client.config(), w.peer("client")} {
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v: %v", path, info.Mode(), err)
		}
	}
	w.server.start()
	if a := w.arrive(w.client); a.String() != "10.99.0.2" {
		t.Errorf("the client has %v", a)
	}
	if dump := w.server.dump(); !strings.Contains(dump, "10.55.0.0/16") {
		t.Errorf("no route to what is behind the client:\n%s", dump)
	}
	w.invites(w.other, "--address", "10.99.0.9")
	if a := w.arrive(w.other); a.String() != "10.99.0.9" {
		t.Errorf("the other client has %v", a)
	}
	w.other.reaches(netip.MustParseAddr("10.99.0.2"))
	t.Logf("revoked: out after %v", w.leaves(w.other, func() { w.revokes(w.other) }))
	w.server.says(`msg="caller refused".*wrong key, or not a vpnd`)
	w.other.stop()
	w.invites(w.other) // by the same name, with another key
	if a := w.arrive(w.other); a.String() != "10.99.0.3" {
		t.Errorf("the other client has %v", a)
	}
	if r := w.client.until("up", isUp); r.Links != 1 || r.MTU != 1400 || r.Link.Cipher != "aes-256-gcm" {
		t.Errorf("the first client had %d links; %+v", r.Links, r)
	}
	for _, s := range []*site{w.client, w.other, w.server} {
		s.stop()
		if log := s.Stderr.String(); strings.Contains(log, "differs") || strings.Contains(log, "ERROR") {
			t.Errorf("%s says\n%s", s.name, log)
		}
	}
}

// TestInviteSealed has a hub whose key is sealed, and a client that has a key pair.
func TestInviteSealed(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	must(t, os.Remove(w.server.file(crypto.ServerFile)))
	must(t, os.Remove(w.client.file(crypto.ClientFile)))
	must(t, os.Remove(w.client.config()))
	w.strongKeys([]byte(phrase))
	key := keyAt(t, filepath.Join(newPair(t, ""), crypto.ClientFile), "")
	own, public := strings.Fields(key.Words())[0], key.Identity().String()
	invite := func(before func(*exec.Cmd), more ...string) ended {
		cmd := w.server.command(append([]string{"invite", "client", "-f", w.server.config(), "-o", w.client.config(), "--server", serverOuter.String(), "--public-key", public}, more...)...)
		if before != nil {
			before(cmd)
		}
		return w.server.finish(cmd)
	}
	checkEnded(t, "without a pass phrase", invite(nil), exit.Config, `server\.conf: keyfile: .*there is no terminal to ask`)
	checkEnded(t, "wrong pass phrase", invite(giving(t, otherPhrase), "--passphrase-fd", "3"), exit.Config, `wrong pass phrase`)
	if len(filesIn(t, w.server.file("peers"))) > 0 {
		t.Error("a client is let in")
	}
	e := invite(giving(t, phrase), "--passphrase-fd", "3")
	checkEnded(t, "invite", e, exit.OK, `^$`)
	if !strings.Contains(e.stdout, "put the client's private key (private:...) into the line \"key\"") {
		t.Errorf("it says\n%s", e.stdout)
	}
	checkEnded(t, "without the private key", w.client.run("--check", "-f", w.client.config()), exit.Config, `client\.conf:\d+: key: the private key is missing \(private:\.\.\.\)\n$`)
	text := strings.Replace(string(read(t, w.client.config())), "\nkey ", "\nkey "+own+" ", 1)
	w.client.write(text)
	must(t, os.Chmod(w.client.config(), 0o600))
	must(t, os.WriteFile(w.server.file("phrase"), []byte(phrase+"\n"), 0o600))
	w.server.also("passphrase phrase")
	w.server.start()
	w.arrive(w.client)
	w.client.stop()
	w.server.stop()
}

// TestInviteKeyFile seals the key of a client that was invited, as the manual says.
func TestInviteKeyFile(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	w.invites(w.client)
	text := string(read(t, w.client.config()))
	found := regexp.MustCompile(`\nkey (\S+) (\S+) (\S+)\n`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("no key in\n%s", text)
	}
	path := w.client.file("ann.key")
	must(t, os.WriteFile(path, fmt.Appendf(nil, "vpnd-strong-1 client\nown    %s\npeer   %s\nshared %s\n", found[1], found[2], found[3]), 0o600))
	must(t, os.WriteFile(w.client.config(), []byte(strings.Replace(text, found[0], "\nkeyfile ann.key\npassphrase phrase\n", 1)), 0o600))
	checkEnded(t, "seal", alone(t, giving(t, phrase+"\n"), "-c", path, "--passphrase-fd", "3"), exit.OK, `^$`)
	must(t, os.WriteFile(w.client.file("phrase"), []byte(phrase+"\n"), 0o600))
	if strings.Contains(string(read(t, path)), "private:") {
		t.Error("the key is not sealed")
	}
	w.server.start()
	w.arrive(w.client)
	w.client.stop()
	w.server.stop()
}

// TestInviteRefused has what cannot be: one clear error, and nothing is changed.
func TestInviteRefused(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	full := w.server.file("full.conf")
	must(t, os.Mkdir(w.server.file("two"), 0o700))
	config := func(path string, lines ...string) string {
		must(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		return path
	}
	config(full, "mode server", "server 192.0.2.1", "auth strong", "peers two", "local 10.98.0.1", "pool 10.98.0.0/30", "statedir "+w.server.file("state"))
	bare := config(w.server.file("bare.conf"), "mode server", "server 192.0.2.1", "auth strong", "peers two", "local 10.98.0.1", "statedir state")
	shared := config(w.server.file("shared.conf"), "mode server", "local 10.98.0.1", "pool 10.98.0.0/24")
	nokey := config(w.server.file("nokey.conf"), "mode server", "server 192.0.2.1", "auth strong", "peers two", "local 10.98.0.1", "pool 10.98.0.0/30", "keyfile gone")
	stray := config(w.server.file("stray.conf"), "mode server", "server 192.0.2.1", "auth strong", "peers no/where", "local 10.98.0.1", "pool 10.98.0.0/30")
	must(t, os.WriteFile(w.server.file("taken.conf"), []byte("precious"), 0o600))
	if e := w.server.run("invite", "ann", "-f", full); e.code != exit.OK {
		t.Fatal(e.stderr)
	}
	if e := w.server.run("invite", "bob", "-f", w.server.config(), "--server", "gate", "--subnet", "10.5.0.0/16"); e.code != exit.OK {
		t.Fatal(e.stderr)
	}
	for _, tt := range []struct {
		name string
		args string
		code int
		says string
	}{
		{"no name", "invite", exit.Usage, `invite needs the name of a client`},
		{"two names", "invite a b", exit.Usage, `unexpected argument "b"`},
		{"slash", "invite a/b", exit.Usage, `"a/b" is no name for a client; use up to 64 letters, digits, "-", "_" and "."`},
		{"parent", "invite ..", exit.Usage, `".." is no name for a client`},
		{"option of another command", "revoke a --address 10.99.0.1", exit.Usage, `--address goes with invite`},
		{"two commands", "invite a --check", exit.Usage, `exclude each other`},
		{"name taken", "invite bob", exit.Internal, `there is a client bob already \(\S+/peers/bob\.peer\); take another name, or say first: vpnd revoke bob`},
		{"pool full", "invite eve -f " + full, exit.Internal, `\S+/full\.conf:6: pool 10\.98\.0\.0/30: no address is free; revoke a client, or make the pool larger`},
		{"no pool", "invite eve -f " + bare, exit.Usage, `the hub has no pool to take an address from; say --address ADDRESS`},
		{"no files", "invite eve -f " + shared, exit.Config, `\S+/shared\.conf: peers: missing; "vpnd invite" is for a hub with "auth strong" and "peers PATH"`},
		{"no files to revoke", "revoke eve -f " + shared, exit.Config, `\S+/shared\.conf: peers: missing; "vpnd revoke" is for`},
		{"no key", "invite eve -f " + nokey, exit.Config, `nokey\.conf:7: keyfile: key file \S+/gone does not exist`},
		{"no directory above", "invite eve -f " + stray, exit.Internal, `directory of the clients: mkdir \S+/no/where: no such file or directory`},
		{"no configuration", "invite eve -f " + w.server.file("gone.conf"), exit.Config, `read configuration: open \S+/gone\.conf`},
		{"any address", "invite eve", exit.Usage, `--server: which address the clients call is not known, as the hub listens on any \(\S+/server\.conf:2\); say --server HOST`},
		{"no host", "invite eve --server a..b", exit.Usage, `--server: "a..b" is not an IPv4 address`},
		{"outside the pool", "invite eve --server gate --address 10.98.0.1", exit.Usage, `--address: 10\.98\.0\.1 is outside the pool \(\S+/server\.conf:7\)`},
		{"the hub's address", "invite eve --server gate --address 10.99.0.1", exit.Usage, `--address: 10\.99\.0\.1 is the hub's own address`},
		{"another's address", "invite eve --server gate --address 10.99.0.2", exit.Usage, `--address: 10\.99\.0\.2 is the address of \S+/bob\.peer:3`},
		{"another's subnet", "invite eve --server gate --subnet 10.5.1.0/24", exit.Usage, `--subnet: 10\.5\.1\.0/24 has addresses of a subnet of \S+/bob\.peer:5`},
		{"private key", "invite eve --server gate --public-key private:x", exit.Usage, `--public-key: this is a private key: the public key belongs here \(public:\.\.\.\)`},
		{"file exists", "invite eve --server gate -o taken.conf", exit.Internal, `taken\.conf exists already: it was left as it is; name another file with --output`},
		{"file of a client that is there", "invite eve --server gate -o bob.conf", exit.Internal, `bob\.conf exists already`},
		{"directory is not there", "invite eve --server gate -o no/eve.conf", exit.Internal, `open no/eve\.conf\.new-\d+: no such file or directory`},
		{"nobody", "revoke eve", exit.Internal, `there is no client eve in \S+/peers`},
		{"slash to revoke", "revoke ../server.conf", exit.Usage, `"\.\./server\.conf" is no name for a client`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := strings.Fields(tt.args)
			if !slices.Contains(args, "-f") {
				args = append(args, "-f", w.server.config())
			}
			before := tree(t, w.server.dir)
			e := w.server.run(args...)
			checkEnded(t, tt.name, e, tt.code, `^(vpnd: )?[^\n]*`+tt.says)
			if tt.code != exit.Usage && strings.Count(e.stderr, "\n") != 1 {
				t.Errorf("not one line:\n%s", e.stderr)
			}
			if after := tree(t, w.server.dir); after != before {
				t.Errorf("files before\n%s\nafter\n%s", before, after)
			}
		})
	}
}

// tree is the files below a directory and their contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		fmt.Fprintln(&b, path)
		if err == nil && d.Type().IsRegular() {
			b.Write(read(t, path))
		}
		return err
	}))
	return b.String()
}

// TestInviteAtOnce invites and revokes many clients at a time, under a hub that runs.
// A client without an address in its file has one of the pool, which nobody else gets.
func TestInviteAtOnce(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	w.enrol(w.client)
	w.server.start()
	first := w.arrive(w.client)
	w.server.until("stored", func(report) bool {
		leases, err := pool.Leases(w.server.file("state/server.pool"), []netip.Prefix{netip.MustParsePrefix("10.99.0.0/24"), netip.MustParsePrefix("fd00:99::/64")})
		return err == nil && len(leases) == 1
	})
	const many = 8
	var all sync.WaitGroup
	for i := range many {
		name := fmt.Sprint("c", i)
		all.Go(func() {
			if e := w.server.run("invite", name, "-f", w.server.config(), "--server", "gate"); e.code != exit.OK {
				t.Errorf("%s: exit code %d\n%s", name, e.code, e.stderr)
			}
			if i%2 == 0 {
				if e := w.server.run("revoke", name, "-f", w.server.config()); e.code != exit.OK {
					t.Errorf("%s: exit code %d\n%s", name, e.code, e.stderr)
				}
			}
		})
	}
	all.Wait()
	c, err := conf.ParseFile(w.server.config())
	must(t, err)
	peers, problems, err := c.ReadPeers()
	must(t, err)
	if len(problems) > 0 || len(peers) != 1+many/2 {
		t.Errorf("%d clients, problems %v", len(peers), problems)
	}
	for _, p := range peers {
		if slices.Contains(p.Addrs, first) {
			t.Errorf("%s has the address of the first client", p.Name)
		}
	}
	w.server.until("knowing them", func(r report) bool { return len(r.Peers) == len(peers) })
	if r := w.client.until("up", isUp); r.Links != 1 {
		t.Errorf("the client had %d links", r.Links)
	}
	w.client.stop()
	w.server.stop()
}

// TestInviteDisk has no room for the client's file, or for what the hub has to know:
// there is neither then.
func TestInviteDisk(t *testing.T) {
	t.Parallel()
	w := newPeersWorld(t)
	for _, place := range []string{"peers", "out"} {
		for _, trouble := range troubles {
			d := newDisk(t, w.server.file(place), "size=16k,nr_inodes=8,mode=700")
			trouble.cause(d)
			output := w.server.file("out/ann.conf")
			must(t, os.MkdirAll(filepath.Dir(output), 0o700))
			args := []string{"invite", "ann", "-f", w.server.config(), "--server", "gate", "-o", output}
			what := place + ": " + trouble.name
			checkEnded(t, what, d.run(w.server, args...), exit.Internal, `^vpnd: (open|write) \S+/(ann\.peer|ann\.conf)\.new-\d+: `)
			left := d.files() + strings.Join(append(filesIn(t, w.server.file("peers")), filesIn(t, w.server.file("out"))...), " ")
			if left != "" {
				t.Errorf("%s: left behind: %s", what, left)
			}
			d.mend()
			checkEnded(t, what, d.run(w.server, args...), exit.OK, `^$`)
			must(t, os.RemoveAll(w.server.file("out")))
			must(t, os.RemoveAll(w.server.file("peers")))
			must(t, os.Mkdir(w.server.file("peers"), 0o700))
		}
	}
}
