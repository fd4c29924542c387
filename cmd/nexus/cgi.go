package main

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/http/cgi"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
)

// cgiTimeout bounds the life of a CGI program, whoever reads or writes slowly.
const cgiTimeout = 30 * time.Second

// runCGI answers the request of this process. It takes no arguments: a web server makes
// them of what stands behind the ? of a request.
func runCGI(sys system) int {
	log := slog.New(slog.NewTextHandler(sys.stderr, nil)) // the web server's error log
	s, err := load(cmp.Or(sys.getenv("NEXUS_CONF"), defaultFile), log)
	if err != nil {
		log.Error("nexus is not set up", "error", err)
		serveCGI(http.HandlerFunc(notSetUp), log)
		return exit.Config
	}
	networks := func() ([]settings.Network, error) { return settings.LoadNetworks(s.Networks) }
	h := registry.NewHandler(s.own, s.Password, networks, s.store, log)
	if !serveCGI(h, log) {
		return exit.Internal
	}
	if err := h.SendMail(); err != nil { // the answer is out
		log.Warn("gateways were not told of a change: they will ask", "error", err)
	}
	return exit.OK
}

func notSetUp(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "nexus is not set up: the error log of the web server says why", http.StatusInternalServerError)
}

// serveCGI reports whether an answer was written. What hangs after the time limit ends
// with the process.
func serveCGI(h http.Handler, log *slog.Logger) bool {
	served := make(chan error, 1)
	go func() { served <- cgi.Serve(h) }()
	select {
	case err := <-served:
		if err != nil {
			log.Error("request not answered", "error", err)
		}
		return err == nil
	case <-time.After(cgiTimeout):
		log.Error("request not answered", "error", "it took too long", "limit", cgiTimeout)
		return false
	}
}
