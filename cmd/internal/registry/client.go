package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"vpnd/cmd/internal/settings"
	"vpnd/crypto"
)

// Answers of nexus that no repetition changes.
var (
	// ErrRefused says that nexus did not open the question.
	ErrRefused = errors.New("nexus refused it: the password or server_key here is not the one of nexus")
	// ErrUnknown says that the network file has no such network.
	ErrUnknown = errors.New("the network file of nexus has no network of this name with this gateway's key")
	// ErrDisabled says that the network is disabled.
	ErrDisabled = errors.New("the network is disabled in the network file of nexus")
	// ErrForged says that an answer did not come from nexus.
	ErrForged = errors.New("the answer is not from the nexus that has server_key")
)

const (
	dialTimeout     = 5 * time.Second
	exchangeTimeout = 15 * time.Second
	// maxTries bounds how often one call asks: with what it knows, with what it was
	// told, and once more if nexus was restarted meanwhile.
	maxTries = 3
)

// Way keeps nexus reachable outside of the mesh, when one of its networks has the address
// of nexus in it: through the mesh there is no registration while the link there is down,
// and nexus would see an inner address.
type Way interface {
	// Pin is called with a public address before it is dialled, Settle when it was that
	// of nexus. os.ErrClosed is no obstacle: the mesh has left this host, and no way
	// leads through it.
	Pin(netip.Addr) error
	Settle(netip.Addr) error
}

// Client is a gateway's way to nexus. Its methods may be called by several goroutines.
type Client struct {
	Way Way // set before the first question, or nil

	name     string
	url      string
	port     uint16
	declared netip.Addr
	own      *crypto.Identity
	server   crypto.PublicKey
	password crypto.Password
	http     http.Client

	asking sync.Mutex // one question at a time: numbers grow
	mu     sync.Mutex // of what follows
	epoch  Epoch
	number uint64
	serial uint64
	sign   *crypto.Sign // nil until nexus has answered
	proof  [proofSize]byte
	// published is this gateway's address in the last table.
	published netip.Addr
	// While a question is under way its answer may bring another sign. The datagrams that
	// came, a few, are looked at once more then.
	underWay bool
	doubtful [][]byte
}

// NewClient returns the client of the gateway of a network.
func NewClient(name string, own *crypto.Identity, s *settings.Packthread) (*Client, error) {
	if err := settings.CheckName(name); err != nil {
		return nil, err
	}
	c := &Client{name: name, url: s.URL, port: s.Port, declared: s.Address, own: own, server: s.ServerKey, password: crypto.NewPassword(s.Password)}
	c.http.Transport = &http.Transport{
		// Of IPv4 and IPv6 the same one each time, unless that fails: what nexus sees is
		// what it publishes.
		DialContext: (&net.Dialer{Timeout: dialTimeout, FallbackDelay: dialTimeout / 2, ControlContext: c.pin}).DialContext,
		// nexus proves itself with its key. A certificate proves less, and would not be
		// valid when the clock of this host is wrong.
		TLSClientConfig:       &tls.Config{InsecureSkipVerify: true},
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: exchangeTimeout,
		DisableKeepAlives:     true, // the address that nexus sees has to be that of now
		DisableCompression:    true,
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// Resume goes on from a table that this gateway had before, so that one question is
// enough.
func (c *Client) Resume(t *Table) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch, c.number, c.serial = t.Epoch, t.Number, t.Serial
}

// Register tells nexus where this gateway is, and returns the table.
func (c *Client) Register(ctx context.Context) (*Table, error) { return c.ask(ctx, register) }

// Leave ends the lease of this gateway.
func (c *Client) Leave(ctx context.Context) error {
	_, err := c.ask(ctx, leave)
	return err
}

func (c *Client) ask(ctx context.Context, k kind) (*Table, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	defer c.setUnderWay(false)
	var table *Table
	for range maxTries {
		c.setUnderWay(true)
		a, err := c.exchange(ctx, c.question(k))
		if err != nil {
			return nil, fmt.Errorf("register %s at %s: %w", c.name, c.url, err)
		}
		latest := c.learn(a)
		if a.status == done {
			table = &a.Table
		}
		if latest {
			break
		}
	}
	if table != nil {
		return table, nil
	}
	return nil, fmt.Errorf("register %s at %s: nexus wants another number each time: is another gateway running with this key?", c.name, c.url)
}

// question returns the next question.
func (c *Client) question(k kind) *request {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.number++
	return &request{epoch: c.epoch, number: c.number, kind: k, port: c.port, declared: c.declared, proof: c.proof, name: c.name}
}

func (c *Client) setUnderWay(underWay bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay, c.doubtful = underWay, nil
}

// learn keeps what an answer says. It reports whether it is the latest that nexus has
// to say.
func (c *Client) learn(a *answer) (latest bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Epoch != c.epoch {
		c.proof, c.serial, c.published = [proofSize]byte{}, 0, netip.Addr{}
	}
	if a.status == done {
		c.serial, c.published = a.Serial, netip.Addr{}
		if own := a.Gateway(c.name); own != nil {
			c.published = own.Endpoint.Addr()
		}
	}
	c.epoch, c.number = a.Epoch, a.Number
	c.sign = new(crypto.NewSign(a.signKey))
	latest = a.status == done
	for _, datagram := range c.doubtful {
		if c.receive(datagram) {
			latest = false // but a check may come behind a nudge
		}
	}
	return latest
}

// exchange sends one question and returns an answer with the status done or again.
func (c *Client) exchange(ctx context.Context, q *request) (*answer, error) {
	question, letter, err := crypto.WriteQuestion(rand.Reader, c.own, c.server, c.password, q.encode())
	if err != nil {
		return nil, err
	}
	reply, from, err := c.post(ctx, letter)
	if err != nil {
		return nil, err
	}
	text, err := question.Open(reply)
	if err != nil {
		return nil, ErrForged
	}
	if c.hasWay(from) {
		_ = c.Way.Settle(from) // what is wrong is found by the next Pin
	}
	a, err := parseAnswer(text)
	if err != nil {
		return nil, err
	}
	switch a.status {
	case unknown:
		return nil, ErrUnknown
	case disabled:
		return nil, ErrDisabled
	}
	return a, nil
}

// hasWay reports whether the way to an address is looked after. A private one is
// different things in different places, and may well be reached through the mesh alone.
func (c *Client) hasWay(to netip.Addr) bool {
	return c.Way != nil && to.IsGlobalUnicast() && !to.IsPrivate()
}

// pin is called before an address is dialled.
func (c *Client) pin(_ context.Context, _, address string, _ syscall.RawConn) error {
	to, _ := netip.ParseAddrPort(address)
	if !c.hasWay(to.Addr()) {
		return nil
	}
	if err := c.Way.Pin(to.Addr()); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// post sends a letter and returns the one that comes back, and from where.
func (c *Client) post(ctx context.Context, letter []byte) (reply []byte, from netip.Addr, err error) {
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		to, _ := netip.ParseAddrPort(info.Conn.RemoteAddr().String())
		from = to.Addr().Unmap()
	}})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(letter))
	if err != nil {
		return nil, from, err
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("User-Agent", "packthread")
	response, err := c.http.Do(r)
	if e, ok := err.(*url.Error); ok {
		err = e.Err // whoever asks says where
	}
	if err != nil {
		return nil, from, err
	}
	defer response.Body.Close()
	switch code := response.StatusCode; {
	case code == http.StatusForbidden:
		return nil, from, ErrRefused
	case code != http.StatusOK:
		return nil, from, fmt.Errorf("the web server says %q: is nexus at this place?", response.Status)
	}
	reply, err = io.ReadAll(io.LimitReader(response.Body, int64(MaxAnswer))) // a longer one does not open
	return reply, from, err
}

// Receive takes a datagram that came to the gateway's port. It reports whether nexus
// has to be asked now. The bytes remain the caller's.
func (c *Client) Receive(datagram []byte) (ask bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay && hasForm(datagram) && len(c.doubtful) < maxDoubtful {
		c.doubtful = append(c.doubtful, bytes.Clone(datagram))
	}
	return c.receive(datagram)
}

// maxDoubtful is how many datagrams are kept until an answer comes. A stranger who sends as
// many takes the place of what comes after them: before the answer nothing tells them
// apart, as nexus may send from another address than that of its web server. That is no
// worse than a datagram lost on the way.
const maxDoubtful = 8

// hasForm reports whether a datagram may be one of nexus.
func hasForm(datagram []byte) bool { return len(datagram) == nudgeSize || len(datagram) == checkSize }

// isGenuine reports whether a datagram has the sign of nexus.
func (c *Client) isGenuine(datagram []byte) bool {
	if !hasForm(datagram) || c.sign == nil {
		return false
	}
	end := len(datagram) - crypto.SignSize
	return c.sign.Check(datagram[:end], datagram[end:])
}

// receive is Receive for who has the lock.
func (c *Client) receive(datagram []byte) (ask bool) {
	if !c.isGenuine(datagram) {
		return false
	}
	if datagram[0] == nudgeLetter {
		return binary.BigEndian.Uint64(datagram[1:]) > c.serial
	}
	// One that is not needed may be an old one that somebody has recorded.
	proof := [proofSize]byte(datagram[1:])
	if proof == c.proof || !c.declared.IsValid() || c.declared == c.published {
		return false
	}
	c.proof = proof
	return true
}
