package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"vpnd/tunnel"
)

// controlTimeout bounds a conversation over the control socket.
const controlTimeout = 2 * time.Second

// report is what the control socket tells: one JSON object for each connection,
// nothing is read.
type report struct {
	Instance  string    `json:"instance"`
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Mode      string    `json:"mode"`
	Interface string    `json:"interface"`
	MTU       int       `json:"mtu"`
	Local     []string  `json:"local"`
	Remote    []string  `json:"remote"`
	Outer     string    `json:"outer"` // where the server listens, what the client dials, or the device

	Line *lineReport `json:"line,omitempty"`
	tunnel.Stats
	Goroutines int `json:"goroutines"` // how many are at work: as many at equal states
}

// control is the listening control socket.
type control struct {
	l    *net.UnixListener
	done sync.WaitGroup
}

// listenControl makes the socket, mode 0600. One that a killed daemon left is
// replaced, one that answers is an error.
func listenControl(path string) (*control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if conn, err := net.DialTimeout("unix", path, controlTimeout); err == nil {
		conn.Close()
		return nil, fmt.Errorf("control socket %s is in use by another daemon", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return &control{l: l}, nil
}

// serve starts to answer, until close.
func (c *control) serve(status func() report) {
	c.done.Go(func() {
		for {
			conn, err := c.l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				time.Sleep(acceptPause) // out of descriptors: others will be closed
				continue
			}
			conn.SetDeadline(time.Now().Add(controlTimeout))
			json.NewEncoder(conn).Encode(status())
			conn.Close()
		}
	})
}

// acceptPause is the wait after accept failed.
const acceptPause = 100 * time.Millisecond

// close removes the socket.
func (c *control) close() error {
	err := c.l.Close()
	c.done.Wait()
	return err
}
