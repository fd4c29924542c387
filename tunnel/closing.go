package tunnel

import (
	"errors"
	"fmt"
)

// ErrNoAnswer says that the peer has been silent for (noanswer + 1) x keepalive.
var ErrNoAnswer = errors.New("no answer from the peer")

var (
	errShutdown  = &closeError{reason: closeShutdown}
	errDisplaced = &closeError{reason: closeDisplaced}
	errKeyAge    = &closeError{reason: closeKeyAge}
	errDelayed   = &closeError{reason: closeDelay}
	errIdle      = &closeError{reason: closeIdle}
	errStuck     = &closeError{reason: closeProtocol, cause: errors.New("peer does not read what it asked for")}
)

// closeReason is the payload of a CLOSE frame.
type closeReason uint8

const (
	closeShutdown  closeReason = 1
	closeDisplaced closeReason = 2
	closeRevoked   closeReason = 3
	closeKeyAge    closeReason = 4
	closeProtocol  closeReason = 5
	closeDelay     closeReason = 6
	closeIdle      closeReason = 7
)

var closeNames = [...]string{
	closeShutdown:  "shutdown",
	closeDisplaced: "displaced by a newer link",
	closeRevoked:   "key revoked",
	closeKeyAge:    "session key too old",
	closeProtocol:  "protocol error",
	closeDelay:     "data held back longer than maxdelay",
	closeIdle:      "no packets for a while",
}

func (r closeReason) String() string {
	if int(r) < len(closeNames) && r > 0 {
		return closeNames[r]
	}
	return fmt.Sprintf("close reason %d", uint8(r))
}

// closeError ends a session with a CLOSE frame, sent by this end or the other.
type closeError struct {
	reason closeReason
	peer   bool  // the peer sent it
	cause  error // of a protocol error
}

func (e *closeError) Error() string {
	switch {
	case e.peer:
		return "peer closed the link: " + e.reason.String()
	case e.cause != nil:
		return e.reason.String() + ": " + e.cause.Error()
	}
	return e.reason.String()
}

func (e *closeError) Unwrap() error { return e.cause }

// protocolError is a frame that an honest peer does not send.
func protocolError(format string, args ...any) error {
	return &closeError{reason: closeProtocol, cause: fmt.Errorf(format, args...)}
}

// isIdle reports whether one of the ends closed the link for want of packets.
func isIdle(err error) bool {
	var c *closeError
	return errors.As(err, &c) && c.reason == closeIdle
}

// unwelcome reports whether the peer said that this client should stay away for
// a while.
func unwelcome(err error) bool {
	var c *closeError
	return errors.As(err, &c) && c.peer && (c.reason == closeDisplaced || c.reason == closeRevoked)
}
