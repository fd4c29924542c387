package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
)

// disk is a small file system that only the test's processes see.
type disk struct {
	t      *testing.T
	dir    string
	mounts *os.File // the mount namespace that has it
}

// newDisk mounts a disk over a directory. Options are those of a tmpfs.
func newDisk(t *testing.T, dir, options string) *disk {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	d := &disk{t: t, dir: dir}
	must(t, onLostThread(func() (err error) {
		if err := privateMounts(); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
		d.mounts, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	}))
	t.Cleanup(func() { d.mounts.Close() }) // and with it the disk
	return d
}

// onLostThread runs f on a thread that ends with it, whatever f makes of it.
func onLostThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock
		done <- f()
	}()
	return <-done
}

func (d *disk) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), d.mounts.Fd()) }

// do runs f where the disk is to be seen.
func (d *disk) do(f func() error) {
	d.t.Helper()
	must(d.t, onLostThread(func() error {
		if err := joinMounts(d.path()); err != nil {
			return err
		}
		return f()
	}))
}

// fill leaves no room on the disk.
func (d *disk) fill() {
	d.t.Helper()
	d.do(func() error {
		f, err := os.Create(d.filler())
		if err != nil {
			return err
		}
		defer f.Close()
		for err == nil {
			_, err = f.Write(make([]byte, 1024))
		}
		return but(syscall.ENOSPC, err)
	})
}

// fillInodes leaves room, but no more names.
func (d *disk) fillInodes() {
	d.t.Helper()
	d.do(func() error {
		for i := 0; ; i++ {
			if err := os.WriteFile(fmt.Sprint(d.filler(), i), nil, 0o600); err != nil {
				return but(syscall.ENOSPC, err)
			}
		}
	})
}

func but(want, err error) error {
	if errors.Is(err, want) {
		return nil
	}
	return err
}

func (d *disk) filler() string { return filepath.Join(d.dir, "filler") }

// readOnly lets nothing change any more, as a kernel does that has seen a disk
// fail: what is open stays so.
func (d *disk) readOnly() {
	d.t.Helper()
	d.do(func() error {
		if err := unix.Mount(d.dir, d.dir, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", d.dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	})
}

// mend ends what fill, fillInodes and readOnly have done.
func (d *disk) mend() {
	d.t.Helper()
	d.do(func() error {
		var st unix.Statfs_t
		if err := unix.Statfs(d.dir, &st); err != nil {
			return err
		}
		if st.Flags&unix.ST_RDONLY != 0 {
			return unix.Unmount(d.dir, 0)
		}
		fillers, err := filepath.Glob(d.filler() + "*")
		for _, f := range fillers {
			err = errors.Join(err, os.Remove(f))
		}
		return err
	})
}

// files lists what is on the disk, but for what fills it.
func (d *disk) files() (list string) {
	d.t.Helper()
	d.do(func() error {
		entries, err := os.ReadDir(d.dir)
		for _, e := range entries {
			info, ierr := e.Info()
			err = errors.Join(err, ierr)
			if !strings.HasPrefix(filepath.Join(d.dir, e.Name()), d.filler()) {
				list += fmt.Sprintf("%s %d\n", e.Name(), info.Size())
			}
		}
		return err
	})
	return list
}

// run and start are those of the site, with the disk in its place.
func (d *disk) run(s *site, args ...string) ended {
	d.t.Helper()
	return s.finish(stage{Mounts: d.path()}.on(s.command(args...)))
}

func (d *disk) start(s *site) {
	d.t.Helper()
	s.startAs(stage{Mounts: d.path()}.on(s.command("-n", "-f", s.config())))
}

// startAs starts a daemon that is not the site's usual one.
func (s *site) startAs(cmd *exec.Cmd) {
	s.t.Helper()
	p, err := s.ns.Start(cmd)
	must(s.t, err)
	s.Process = p
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("%s:\n%s", s.name, p.Stderr)
		}
	})
}

// troubles are the ways in which a disk takes nothing any more.
var troubles = []struct {
	name  string
	cause func(*disk)
	says  string
}{
	{"full", (*disk).fill, "no space left on device"},
	{"no inodes", (*disk).fillInodes, "no space left on device"},
	{"read-only", (*disk).readOnly, "read-only file system"},
}

// TestDiskAtStart starts on disks that take nothing. Whatever cannot go without its
// file does not start, says why, and leaves nothing behind; with room again the same
// start works.
func TestDiskAtStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	text, err := os.ReadFile(w.client.config())
	must(t, err)
	for _, tt := range []struct {
		file     string // what is on the disk
		dir      string
		old, new string // change of the configuration
		code     int
		says     map[string]string // by trouble; "": the daemon starts all the same
	}{
		{file: "state", dir: "state", code: exit.Unavailable, says: map[string]string{
			"full":      `^vpnd: .*it cannot be recorded: write \S+/state/client\.state\.new: no space left on device$`,
			"no inodes": `^vpnd: .*it cannot be recorded: open \S+/state/client\.lock: no space left on device$`,
			"read-only": `^vpnd: .*it cannot be recorded: open \S+/state/client\.lock: read-only file system$`,
		}},
		{file: "pidfile", dir: "run", old: "mode client", new: "mode client\npidfile run/vpnd.pid", code: exit.Internal, says: map[string]string{
			"full":      `^vpnd: pidfile \S+/run/vpnd\.pid: write \S+: no space left on device$`,
			"no inodes": `^vpnd: pidfile: open \S+/run/vpnd\.pid: no space left on device$`,
			"read-only": `^vpnd: pidfile: open \S+/run/vpnd\.pid: read-only file system$`,
		}},
		{file: "control", dir: "run", old: "control.sock", new: "run/control.sock", says: map[string]string{
			"full":      "",
			"no inodes": `msg="no control socket, --status will not work" error=".*run/control\.sock: bind: no space left on device"`,
			"read-only": `msg="no control socket, --status will not work" error=".*run/control\.sock: bind: read-only file system"`,
		}},
	} {
		must(t, os.WriteFile(w.client.config(), []byte(strings.Replace(string(text), tt.old, tt.new, 1)), 0o644))
		for _, trouble := range troubles {
			t.Run(tt.file+" "+trouble.name, func(t *testing.T) {
				s := *w.client
				s.t = t
				d := newDisk(t, s.file(tt.dir), "size=16k,nr_inodes=8")
				host := s.dump()
				trouble.cause(d)
				if says := tt.says[trouble.name]; tt.code != exit.OK {
					e := d.run(&s, "-n", "-f", s.config())
					checkEnded(t, "start", e, tt.code, `(?m)`+says)
				} else {
					d.start(&s)
					s.says("no link") // nobody is there
					if says != "" {
						s.says(says)
						checkEnded(t, "status", d.run(&s, "--status", "-f", s.config()), exit.Unknown, "no answer from client")
					} else {
						checkEnded(t, "status", d.run(&s, "--status", "-f", s.config()), exit.Down, "")
					}
					s.stop()
				}
				if left, after := d.files(), s.dump(); left != "" || after != host {
					t.Errorf("left behind: files %q\n%s\nbefore\n%s", left, after, host)
				}
				d.mend()
				d.start(&s)
				s.says("no link")
				s.stop()
				if left := d.files(); left != "" {
					t.Errorf("left behind: %s", left)
				}
			})
		}
	}
}

// TestDiskKey makes keys where there is no room for one: half a key is none.
func TestDiskKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, trouble := range troubles {
		d := newDisk(t, w.server.file("keys"), "size=16k,nr_inodes=8")
		trouble.cause(d)
		key := filepath.Join(d.dir, "vpnd.key")
		checkEnded(t, trouble.name, d.run(w.server, "-m", key), exit.Internal, `^vpnd: .*key file: .*`+regexp.QuoteMeta(key)+": "+trouble.says)
		if left := d.files(); left != "" {
			t.Errorf("%s: left behind: %s", trouble.name, left)
		}
		d.mend()
		checkEnded(t, trouble.name, d.run(w.server, "-m", key), exit.OK, `^$`)
	}
}

// TestDiskWhileUp lets the disk with the state and the pidfile fail under a daemon
// with a link. The link goes on; what cannot be recorded is not installed; what was
// installed comes back if it is taken away, and goes in the end.
func TestDiskWhileUp(t *testing.T) {
	t.Parallel()
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.configure("pidfile state/vpnd.pid", "route 10.90.0.0/16")
			c := w.client
			d := newDisk(t, c.file("state"), "size=64k,nr_inodes=16")
			w.server.start()
			w.server.says("interface is up")
			host := c.dump()
			d.start(c)
			c.until("up", isUp)
			links := c.until("up", isUp).Links
			trouble.cause(d)

			c.also("route 10.91.0.0/16")
			must(t, c.Signal(syscall.SIGHUP))
			c.says(`msg="routes not changed" error=".*route add 10\.91\.0\.0/16.*: it cannot be recorded: .*client\.state\.new: ` + trouble.says)
			c.says("configuration reloaded")
			if now := c.dump(); strings.Contains(now, "10.91.0.0/16") || !strings.Contains(now, "10.90.0.0/16") {
				t.Errorf("routes after the reload:\n%s", now)
			}
			up := c.dump()
			c.setLink("vpn0", false)
			c.setLink("vpn0", true)
			c.becomes(up)
			c.reaches(serverInner)
			if n := c.until("up", isUp).Links; n != links {
				t.Errorf("%d links, want %d: the link has ended", n, links)
			}

			must(t, c.Signal(syscall.SIGTERM))
			if trouble.name != "read-only" {
				c.exits(exit.OK)
				if left := d.files(); left != "" {
					t.Errorf("left behind: %s", left)
				}
			} else {
				c.exits(exit.Internal)
				c.says(`(?m)^vpnd: .*remove \S+client\.state: read-only file system`)
				e := d.run(c, "-n", "-f", c.config())
				checkEnded(t, "start on a read-only disk", e, exit.Internal, `(?m)^vpnd: pidfile: open \S+: read-only file system`)
			}
			c.becomes(host)

			d.mend()
			d.start(c)
			c.until("up", isUp)
			c.reaches(serverInner)
			if now := c.dump(); !strings.Contains(now, "10.91.0.0/16") {
				t.Errorf("the route is missing:\n%s", now)
			}
			c.stop()
			c.becomes(host)
			if left := d.files(); left != "" {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// TestDiskLog lets the disk become full to which standard error goes, and takes the
// reader away that it has instead: the link does not mind.
func TestDiskLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.configure()
	d := newDisk(t, w.server.file("log"), "size=16k")
	var log *os.File
	d.do(func() (err error) {
		log, err = os.OpenFile(filepath.Join(d.dir, "vpnd.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
		return err
	})
	defer log.Close()
	d.fill()
	cmd := w.server.command("-n", "-f", w.server.config())
	cmd.Stderr = log
	w.server.startAs(cmd)
	read, write, err := os.Pipe()
	must(t, err)
	cmd = w.client.command("-n", "-f", w.client.config())
	cmd.Stderr = write
	w.client.startAs(cmd)
	must(t, write.Close())
	w.client.until("up", isUp)
	must(t, read.Close())

	links := w.client.until("up", isUp).Links
	for _, s := range []*site{w.client, w.server} {
		must(t, s.Signal(syscall.SIGHUP)) // says so
	}
	must(t, w.client.Signal(syscall.SIGUSR1))
	w.client.until("up again", func(r report) bool { return isUp(r) && r.Links == links+1 })
	w.client.reaches(serverInner)
	full, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", log.Fd()))
	must(t, err)
	d.mend()
	must(t, w.server.Signal(syscall.SIGHUP))
	w.server.stop()
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", log.Fd()))
	must(t, err)
	if !strings.Contains(string(text[len(full):]), "configuration reloaded") {
		t.Errorf("nothing is logged after the disk has room again: %q", text[len(full):])
	}
	w.client.stop()
}
