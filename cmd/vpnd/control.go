package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"vpnd/cmd/internal/background"
	"vpnd/tunnel"
)

// controlTimeout bounds a conversation over the control socket.
const controlTimeout = 2 * time.Second

// report is what the control socket tells: one JSON object for each connection.
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
// replaced; one that answers, and anything that is no socket, is an error.
func listenControl(path string) (*control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	// What is no socket refuses a connection as an abandoned socket does.
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != os.ModeSocket {
		return nil, fmt.Errorf("control socket %s: what is there is no socket, and was left as it is; name another path with \"control\"", path)
	}
	if conn, err := net.DialTimeout("unix", path, controlTimeout); err == nil {
		conn.Close()
		return nil, fmt.Errorf("control socket %s is in use by another daemon", path)
	} else if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := background.ListenPrivate(path)
	if err != nil {
		return nil, err
	}
	return &control{l: l}, nil
}

// A request is a line, or nothing, which asks for the report.
const (
	resyncWord  = "resync "
	maxRequest  = 256
	requestTime = 500 * time.Millisecond // after that it is nothing
)

// reply is the answer to a request that is not for a report.
type reply struct {
	Done  string `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
}

// serve starts to answer, until close.
func (c *control) serve(status func() report, resync func(client string) (string, error)) {
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
			c.done.Go(func() {
				defer conn.Close()
				conn.SetWriteDeadline(time.Now().Add(controlTimeout))
				json.NewEncoder(conn).Encode(answer(readRequest(conn), status, resync))
			})
		}
	})
}

// readRequest returns the line that somebody says, or nothing.
func readRequest(conn net.Conn) string {
	conn.SetReadDeadline(time.Now().Add(requestTime))
	line, _ := bufio.NewReader(io.LimitReader(conn, maxRequest)).ReadString('\n')
	return strings.TrimSuffix(line, "\n")
}

// answer does what a request says.
func answer(request string, status func() report, resync func(client string) (string, error)) any {
	client, isResync := strings.CutPrefix(request, resyncWord)
	switch {
	case isResync:
		done, err := resync(client)
		if err != nil {
			return reply{Error: err.Error()}
		}
		return reply{Done: done}
	case request != "":
		return reply{Error: fmt.Sprintf("unknown request %q", request)}
	}
	return status()
}

// acceptPause is the wait after accept failed.
const acceptPause = 100 * time.Millisecond

// close removes the socket.
func (c *control) close() error {
	err := c.l.Close()
	c.done.Wait()
	return err
}
