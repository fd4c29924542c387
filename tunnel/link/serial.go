package link

import (
	"context"
	"log/slog"

	"vpnd/serial"
	"vpnd/serial/chat"
)

// Serial opens the serial line to the peer.
type Serial struct {
	Device  string
	LockDir string // of UUCP lock files, see serial.Open
	Mode    serial.Mode
	Chat    *chat.Script // makes the modem dial or answer; nil: there is none
	Watch   chat.Watcher // of the dialogue; nil: it goes to Log
	Log     *slog.Logger
}

// SerialPort is an open line; closing it hangs up.
type SerialPort struct{ *serial.Port }

// Open opens the line and has the modem dial or answer.
func (s *Serial) Open(ctx context.Context) (*SerialPort, error) { return nil, nil }
