//go:build !linux || ppc || ppc64 || ppc64le

package serial

import (
	"errors"
	"time"
)

// Port is an open line.
type Port struct{}

var errSystem = errors.New("serial lines work only on Linux")

// Open is an error here.
func Open(path, lockDir string, mode Mode) (*Port, error) { return nil, errSystem }

func (*Port) Set(Mode) error                     { return errSystem }
func (*Port) Speed() int                         { return 0 }
func (*Port) Read([]byte) (int, error)           { return 0, errSystem }
func (*Port) Write([]byte) (int, error)          { return 0, errSystem }
func (*Port) SetDeadline(time.Time) error        { return errSystem }
func (*Port) SetWriteDeadline(time.Time) error   { return errSystem }
func (*Port) Close() error                       { return errSystem }
func (*Port) Waiting() (int, error)              { return 0, errSystem }
func (*Port) Carrier() (bool, error)             { return false, errSystem }
func (*Port) SetDTR(bool) error                  { return errSystem }
func (*Port) Drain(time.Duration) bool           { return false }
func (*Port) Flush() error                       { return errSystem }
func (*Port) SendBreak() error                   { return errSystem }
func (*Port) Counters() (c Counters, known bool) { return c, false }
