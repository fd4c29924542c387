// Packthread keeps the gateway of one network in a mesh: it tells nexus where the gateway
// is, has a link with every other gateway, and routes to their networks.
//
// packthread(8) is its manual.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Who reads the log may go away, and pppd hangs up its scripts. The mesh does not end
	// for that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGHUP)
	os.Exit(run(ctx, os.Args[1:], system{os.Stdout, os.Stderr}))
}

// system is what the command needs of the process around it.
type system struct{ stdout, stderr io.Writer }
