// Nexus is the registry of a mesh of networks: gateways tell it where they are, and it
// tells them where the others are.
//
// It is a CGI program when a web server starts it, else a server of its own; nexus(8)
// is its manual.
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
	// Who reads the log or the answer may go away. nexus does not end for that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(ctx, os.Args[1:], system{os.Stdout, os.Stderr, os.Getenv}))
}

// system is what the command needs of the process around it.
type system struct {
	stdout, stderr io.Writer
	getenv         func(string) string
}
