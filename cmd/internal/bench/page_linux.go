package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"vpnd/cmd/internal/lab"
)

const (
	pageObjects = 30
	// pageConns is how many connections a browser opens to one host. They are kept.
	pageConns = 6
	// Sizes in bytes: the first object is the page, which names the others.
	pageFirst, pageSmallest, pageStep = 6000, 500, 100
	// pageImage is how often an object is one that does not compress.
	pageImage = 5
)

// page is what a browser fetches: text, and a few small images.
type page [][]byte

func newPage(text, random []byte) page {
	p := page{text[:pageFirst]}
	for i := 1; i < pageObjects; i++ {
		source := text
		if i%pageImage == 0 {
			source = random
		}
		size := pageSmallest + i*7%pageObjects*pageStep // all sizes, in no order
		p = append(p, source[i*pageFirst:][:size])
	}
	return p
}

// ServeHTTP serves object N as /N.
func (p page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.URL.Path[1:])
	if err != nil || n < 0 || n >= len(p) {
		http.NotFound(w, r)
		return
	}
	kind := "text/plain; charset=utf-8"
	if n > 0 && n%pageImage == 0 {
		kind = "image/png"
	}
	w.Header().Set("Content-Type", kind)
	_, _ = w.Write(p[n]) // the client sees any error
}

// fetch loads the page from B: its first object, then all others over as many
// connections as a browser has. It returns how long that took.
func (p page) fetch(ctx context.Context, e lab.Ends) (time.Duration, error) {
	l, err := e.Server.Listen(netip.AddrPortFrom(e.Dst, 0))
	if err != nil {
		return 0, err
	}
	at := l.Addr().(*net.TCPAddr).AddrPort()
	server := &http.Server{Handler: p, ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // until it is closed
	defer serving.Wait()
	defer server.Close()
	transport := &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return e.Client.Dial(ctx, netip.Addr{}, at) },
		MaxConnsPerHost:     pageConns,
		MaxIdleConnsPerHost: pageConns,
		DisableCompression:  true, // that is for the tunnel
	}
	defer transport.CloseIdleConnections()
	begin := time.Now()
	err = p.load(ctx, &http.Client{Transport: transport}, at.String())
	return time.Since(begin), err
}

func (p page) load(ctx context.Context, client *http.Client, host string) error {
	if err := p.get(ctx, client, host, 0); err != nil {
		return err
	}
	errs := make([]error, len(p))
	var wg sync.WaitGroup
	for n := 1; n < len(p); n++ {
		wg.Go(func() { errs[n] = p.get(ctx, client, host, n) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// get fetches one object and compares it.
func (p page) get(ctx context.Context, client *http.Client, host string, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/%d", host, n), nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
	req.Header.Set("Accept-Language", "en")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && !bytes.Equal(body, p[n]) {
		err = fmt.Errorf("object %d: %d bytes, not the %d that were sent (%s)", n, len(body), len(p[n]), resp.Status)
	}
	return err
}
