package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// stage is a command's surroundings that a test may not make on the host: a
// /dev of its own, as it is on a desktop or a server, and another user.
type stage struct {
	Argv []string
	User int    // 0: root
	Log  string // socket that /dev/log leads to; "": there is none
	TUN  string // "closed": /dev/net/tun is for root only; "none": there is none
	// Closed is an empty /run where only root can make lock files.
	Closed bool
	// Mounts leads to a mount namespace that is taken as it is, instead of one with
	// a /dev of its own.
	Mounts string
}

// stageEnv tells the test binary to set a stage and to become the command.
const stageEnv = "VPND_TEST_STAGE"

// on puts a command on the stage.
func (s stage) on(cmd *exec.Cmd) *exec.Cmd {
	s.Argv = append([]string{cmd.Path}, cmd.Args[1:]...)
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	cmd.Path = "/proc/self/exe"
	cmd.Env = append(cmd.Environ(), stageEnv+"="+string(text))
	return cmd
}

// enterStage is the part that runs in the new process. It returns only on an
// error.
func enterStage(text string) error {
	var s stage
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	os.Unsetenv(stageEnv)
	// All that follows concerns one thread: on another one the mounts would be the
	// host's.
	runtime.LockOSThread()
	if err := s.enterMounts(); err != nil {
		return err
	}
	if s.User != 0 {
		if err := unix.Setgroups(nil); err != nil {
			return err
		}
		if err := unix.Setresgid(s.User, s.User, s.User); err != nil {
			return err
		}
		if err := unix.Setresuid(s.User, s.User, s.User); err != nil {
			return err
		}
	}
	return unix.Exec(s.Argv[0], s.Argv, os.Environ())
}

func (s stage) enterMounts() error {
	if s.Mounts != "" {
		return joinMounts(s.Mounts)
	}
	if err := privateMounts(); err != nil {
		return err
	}
	if err := s.mountDev(); err != nil || !s.Closed {
		return err
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	return os.Mkdir("/run/lock", 0o755)
}

// privateMounts gives the thread mounts of its own.
func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return nil
}

// joinMounts gives the thread the mounts of a namespace.
func joinMounts(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its root cannot join
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("join mounts: %w", err)
	}
	return nil
}

func (s stage) mountDev() error {
	terminals, err := os.Open("/dev/pts")
	if err != nil {
		return err
	}
	defer terminals.Close()
	if err := unix.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount /dev: %w", err)
	}
	unix.Umask(0)
	for _, node := range []struct {
		name         string
		major, minor uint32
	}{{"null", 1, 3}, {"tty", 5, 0}, {"random", 1, 8}, {"urandom", 1, 9}, {"net/tun", 10, 200}} {
		path := filepath.Join("/dev", node.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(node.major, node.minor))); err != nil {
			return fmt.Errorf("make %s: %w", path, err)
		}
	}
	unix.Umask(0o022)
	if err := os.Mkdir("/dev/pts", 0o755); err != nil {
		return err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", terminals.Fd()), "/dev/pts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /dev/pts: %w", err)
	}
	if err := s.spoilTUN("/dev/net/tun"); err != nil {
		return err
	}
	if s.Log == "" {
		return nil
	}
	return os.Symlink(s.Log, "/dev/log")
}

func (s stage) spoilTUN(path string) error {
	switch s.TUN {
	case "closed":
		return os.Chmod(path, 0o600)
	case "none":
		return os.Remove(path)
	}
	return nil
}
