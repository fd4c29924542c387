// Vpnd joins two networks over one encrypted, compressed TCP connection, or a
// serial line.
//
// This command reads flags and configuration, joins the parts, reports and
// exits; vpnd(8) is its manual.
package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	os.Exit(run(os.Args[1:], system{
		stdout: os.Stdout,
		stderr: os.Stderr,
		signals: func() (<-chan os.Signal, func()) {
			c := make(chan os.Signal, 8)
			// Who reads the log may go away. A link does not end for that.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
			signal.Notify(c, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGINT, syscall.SIGTERM)
			return c, func() { signal.Reset(syscall.SIGINT, syscall.SIGTERM) }
		},
	}))
}

// system is what the command needs of the process around it.
type system struct {
	stdout, stderr io.Writer
	// signals starts the delivery of HUP, USR1, INT and TERM. The function it
	// returns gives INT and TERM their default effect back.
	signals func() (<-chan os.Signal, func())
}
