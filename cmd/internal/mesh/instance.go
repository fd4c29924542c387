package mesh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"vpnd/cmd/internal/background"
)

// ErrRunning says that another process keeps the gateway in the mesh.
var ErrRunning = errors.New("it is running already")

const (
	maxCommand     = 64
	maxReply       = 1 << 20
	controlTimeout = 5 * time.Second
	acceptPause    = 100 * time.Millisecond
)

// Instance is the one process that keeps a gateway in the mesh. A second one can only
// talk to it:
//
//	second process  command, line end
//	instance        reply, end of stream
type Instance struct {
	lock     *os.File
	listener net.Listener
	path     string
}

// Claim makes this process the instance of a gateway. The directory is made if it is
// not there. The error is ErrRunning if there is one: Tell waits for its reply then, also
// if it has just begun.
func Claim(dir, name string) (*Instance, error) {
	turn, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("control directory: %w", err)
	}
	defer turn.Close()
	path := socketPath(dir, name)
	lock, err := os.OpenFile(filepath.Join(dir, name+".running"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrRunning
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	os.Remove(path) // of a process that was killed: the lock is ours
	l, err := background.ListenPrivate(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), lock.Close())
	}
	return &Instance{lock, l, path}, nil
}

// socketPath returns where an instance listens.
func socketPath(dir, name string) string { return filepath.Join(dir, name+".sock") }

// lockDir has processes that claim a place take turns: who comes first listens before the
// next one looks. The lock is on a file that others cannot open, so that they cannot hold it.
func lockDir(dir string) (*os.File, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, ".turn"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Serve answers commands until the context ends, and gives the place free. obey is
// called by several goroutines.
func (i *Instance) Serve(ctx context.Context, obey func(command string) (reply []byte)) error {
	defer i.lock.Close()
	var conversations sync.WaitGroup
	defer conversations.Wait()
	stop := context.AfterFunc(ctx, func() { i.listener.Close() })
	defer stop()
	for {
		conn, err := i.listener.Accept()
		if err == nil {
			conversations.Go(func() { converse(conn, obey) })
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-time.After(acceptPause):
		}
	}
}

func converse(conn net.Conn, obey func(string) []byte) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(controlTimeout))
	command, err := bufio.NewReader(io.LimitReader(conn, maxCommand)).ReadString('\n')
	if err == nil {
		conn.Write(obey(command[:len(command)-1]))
	}
}

// Tell sends a command to the instance of a gateway, and returns its reply.
func Tell(dir, name, command string) ([]byte, error) {
	conn, err := net.DialTimeout("unix", socketPath(dir, name), controlTimeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(controlTimeout))
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(conn, maxReply))
}
