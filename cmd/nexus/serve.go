package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/registry"
)

// Bounds of the server.
const (
	maxConnections = 1024
	maxHeader      = 8192
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	stopTimeout    = 5 * time.Second
)

// runServer answers gateways until the context ends.
func runServer(ctx context.Context, file string, stderr io.Writer) error {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	s, err := load(file, log)
	if err != nil {
		return err
	}
	networks := newNetworks(s.Networks)
	if _, err := networks.get(); err != nil {
		return exit.With(exit.Config, err)
	}
	h := registry.NewHandler(s.own, s.Password, networks.get, s.store, log)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // of HTTP/2 a connection can have 250 requests at once
	server := &http.Server{
		Protocols:         protocols,
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       readTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // strangers' mistakes
	}
	if s.Certificate != "" {
		c := newCertificate(s.Certificate, s.CertificateKey)
		if _, err := c.get(nil); err != nil {
			return exit.With(exit.Config, err)
		}
		server.TLSConfig = &tls.Config{GetCertificate: c.get}
	}
	listen := net.ListenConfig{}
	listen.SetMultipathTCP(false)
	l, err := listen.Listen(ctx, "tcp", fmt.Sprintf(":%d", s.Port))
	if errors.Is(err, os.ErrPermission) {
		return exit.Withf(exit.NoPerm, "%w: ports below 1024 need root (CAP_NET_BIND_SERVICE)", err)
	} else if err != nil {
		return exit.With(exit.Unavailable, err)
	}
	log.Info("nexus listens", "address", l.Addr(), "https", s.Certificate != "", "key", s.own.Public())
	return serve(ctx, server, newFairListener(l, maxConnections), h)
}

// serve runs server and handler. It closes the listener.
func serve(ctx context.Context, server *http.Server, l net.Listener, h *registry.Handler) error {
	ctx, cancel := context.WithCancel(ctx)
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { h.Run(ctx) })
	parts.Go(func() {
		<-ctx.Done()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	})
	var err error
	if server.TLSConfig != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return exit.With(exit.Unavailable, err)
}
