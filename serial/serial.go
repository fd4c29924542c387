// Package serial opens, locks, sets and hangs up serial lines.
//
// A line is opened without waiting for a carrier, for this process alone: TIOCEXCL
// keeps off other users, an advisory lock (flock) other copies of the program, a
// UUCP lock file (LCK..ttyS0) what else uses the line. It is set to raw bytes, 8
// data bits, no parity, 1 stop bit, any bit rate. Close puts the old settings back.
package serial

import (
	"errors"
	"time"
)

// Mode is how a line is set.
type Mode struct {
	// Speed in bit/s.
	Speed int
	// Local ignores the carrier and leaves DTR alone: there is no modem.
	Local bool
	// AnyCarrier ignores the carrier for the time being: a modem that still has to dial
	// has none.
	AnyCarrier bool
	// RTSCTS is flow control by the lines RTS and CTS. With RS485 there is none.
	RTSCTS bool
	// RS485, if not nil, has the driver switch the direction of a bus.
	RS485 *RS485
}

// RS485 is how long the driver holds RTS beyond the data, in full milliseconds.
type RS485 struct{ Before, After time.Duration }

// Errors that a caller can do something about.
var (
	// ErrCarrierLost says that the modem hung up, or the adapter was unplugged.
	ErrCarrierLost = errors.New("carrier lost")
	// ErrInUse says that another process has the line. Its text says which, if it
	// left its number.
	ErrInUse = errors.New("in use")
	// ErrMode says that the line or its driver cannot be set as wanted.
	ErrMode = errors.New("not possible on this line")
)

// Counters are what a UART has seen go wrong since the host started.
type Counters struct {
	Overrun  int // bytes lost because the host was too slow
	Framing  int // bytes without a stop bit: wrong speed, noise
	Parity   int
	Break    int
	Overflow int // bytes lost between driver and reader
}
