package conf

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An Invitation is a client of a hub that is to be, in words as they are to stand in
// its files.
type Invitation struct {
	Name      string
	PublicKey string
	Secret    string
	Key       string   // what the client says as key
	Server    string   // where it calls, HOST or HOST:PORT; "": where the hub listens
	Addrs     []string // its inner addresses
	Subnets   []string // the networks behind it
	Routes    []string // the networks behind the hub that it is to reach
}

// options are those of the command line that give the keywords their arguments.
var options = map[string]string{
	"publickey": "--public-key", "address": "--address", "subnet": "--subnet", "server": "--server", "route": "--route",
}

// Invite returns the peer's file on the hub, and the configuration of the client. The
// client must not take what is that of a peer, enabled or not. The error is [Errors];
// it names options of the command line.
func (c *Config) Invite(i Invitation, peers []*Peer) (file, client string, err error) {
	file, errs := i.peerFile()
	client, problems := c.clientFile(i)
	if errs = append(errs, problems...); len(errs) == 0 {
		errs = c.judge(i, file, client, peers)
	}
	if len(errs) == 0 {
		return file, client, nil
	}
	for n, e := range errs {
		if option := options[e.Keyword]; option != "" {
			errs[n] = Error{File: option, Problem: e.Problem}
		}
	}
	return "", "", errs
}

// judge reads both files as the two ends will.
func (c *Config) judge(i Invitation, file, client string, peers []*Peer) (errs Errors) {
	peer, err := ParsePeer(i.Name+PeerSuffix, strings.NewReader(file))
	errs = appendErrors(errs, err)
	if err == nil {
		errs = appendErrors(errs, c.checkPeer(peer, nil))
		for _, other := range peers {
			errs = append(errs, peer.collisions(other)...)
		}
	}
	_, err = Parse("/"+i.Name+".conf", strings.NewReader(client))
	return appendErrors(errs, err)
}

// appendErrors adds the problems of err, if there are any.
func appendErrors(errs Errors, err error) Errors {
	var more Errors
	if errors.As(err, &more) {
		return append(errs, more...)
	}
	return errs
}

func (i Invitation) peerFile() (string, Errors) {
	var w writer
	w.say("publickey", i.PublicKey)
	w.say("secret", i.Secret)
	w.sayEach("address", i.Addrs)
	w.sayEach("subnet", i.Subnets)
	return w.String(), w.errs
}

// clientFile returns a configuration with all in it on which both ends have to agree.
func (c *Config) clientFile(i Invitation) (string, Errors) {
	var w writer
	fmt.Fprintf(&w, "# Client %s. The key is in this file: keep it secret, and its mode 0600.\n", i.Name)
	w.say("mode", string(Client))
	if host, port, err := c.calledAt(i.Server); err != nil {
		w.errs = append(w.errs, Error{Keyword: "server", Problem: err.Error()})
	} else {
		w.say("server", host, port)
	}
	w.say("local", "auto")
	w.sayEach("route", i.Routes)
	if c.ClientToClient {
		for _, p := range c.Pool {
			if text := p.String(); !slices.Contains(i.Routes, text) {
				w.say("route", text)
			}
		}
	}
	w.say("auth", Strong)
	w.say("key", strings.Fields(i.Key)...)
	w.say("cipher", c.Ciphers...)
	w.say("keysize", strconv.Itoa(c.KeySize))
	w.say("mtu", strconv.Itoa(c.MTU))
	return w.String(), w.errs
}

// calledAt returns where clients call: what is said, or where the hub listens if that
// is one address.
func (c *Config) calledAt(said string) (host, port string, err error) {
	here := c.Server[0]
	port = strconv.Itoa(int(here.Port))
	if said == "" {
		if here.Host == "" {
			return "", "", fmt.Errorf("which address the clients call is not known, as the hub listens on any (%s); say --server HOST", c.Where("server"))
		}
		return here.Host, port, nil
	}
	if a, err := netip.ParseAddrPort(said); err == nil {
		return a.Addr().String(), strconv.Itoa(int(a.Port())), nil
	}
	if _, err := netip.ParseAddr(said); err == nil {
		return said, port, nil
	}
	if name, number, ok := strings.Cut(said, ":"); ok {
		return name, number, nil
	}
	return said, port, nil
}

// writer is a configuration that is being written.
type writer struct {
	strings.Builder
	errs Errors
}

// sayEach writes a line for each argument.
func (w *writer) sayEach(keyword string, args []string) {
	for _, arg := range args {
		w.say(keyword, arg)
	}
}

// say writes a line. Its arguments are read as they are, whatever they hold, or are a
// problem.
func (w *writer) say(keyword string, args ...string) {
	line := keyword
	for _, arg := range args {
		switch {
		case strings.ContainsAny(arg, "\"\n\r\x00") || !utf8.ValidString(arg):
			w.errs = append(w.errs, Error{Keyword: keyword, Problem: quote(arg) + " cannot stand in a configuration"})
			return
		case arg == "" || strings.ContainsAny(arg, " \t#"):
			arg = `"` + arg + `"`
		}
		line += " " + arg
	}
	w.WriteString(line + "\n")
}
