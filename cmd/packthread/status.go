package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/mesh"
	"vpnd/cmd/internal/registry"
	"vpnd/cmd/internal/settings"
	"vpnd/tunnel"
)

// report is what packthread --status --json prints.
type report struct {
	Network   string     `json:"network"`
	Version   string     `json:"version"`
	PID       int        `json:"pid"`
	Started   time.Time  `json:"started"`
	Interface string     `json:"interface"`
	Inner     netip.Addr `json:"inner,omitzero"` // this gateway's own address in the mesh
	// Table is when nexus sent the last one, zero for one that was saved; Error is why it
	// sends none. Seen is where it sees this gateway, Endpoint what it tells the others.
	Table    time.Time      `json:"table,omitzero"`
	Error    string         `json:"error,omitempty"`
	Seen     netip.Addr     `json:"seen,omitzero"`
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	// Conflicts is what cannot be done as the table says.
	Conflicts []string    `json:"conflicts,omitempty"`
	Peers     []peerState `json:"peers"`
}

// peerState is another gateway.
type peerState struct {
	tunnel.PeerStats
	Live     bool           `json:"live"` // nexus has heard it
	Endpoint netip.AddrPort `json:"endpoint,omitzero"`
	Routes   []netip.Prefix `json:"routes"`
}

// status returns what there is to say.
func (g *gateway) status() *report {
	r := &report{Network: g.name, Version: exit.Version, PID: os.Getpid(), Started: g.started, Interface: g.set.Device()}
	table, at, err := g.follower.Status()
	r.Table = at
	if err != nil {
		r.Error = err.Error()
	}
	a := g.applied.Load()
	if table == nil || a == nil {
		return r
	}
	r.Seen, r.Inner, r.Conflicts = table.Seen, a.inner, a.conflicts
	if failed := errors.Join(a.links, a.routes); failed != nil {
		r.Conflicts = slices.Concat(r.Conflicts, strings.Split(failed.Error(), "\n"))
	}
	if own := table.Gateway(g.name); own != nil {
		r.Endpoint = own.Endpoint
	}
	for _, p := range g.tunnel.Stats().Peers {
		r.Peers = append(r.Peers, a.peerState(p))
	}
	return r
}

func (a *applied) peerState(p tunnel.PeerStats) peerState {
	st := peerState{PeerStats: p}
	for _, g := range a.gateways {
		if g.Name == p.Name {
			st.Live, st.Endpoint = g.State == registry.Live, g.Endpoint
		}
	}
	for _, planned := range a.plan.Peers {
		if planned.Name == p.Name {
			st.Routes = planned.Routes
		}
	}
	return st
}

func (r *report) encode() []byte {
	text, err := json.Marshal(r)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	return text
}

// runStatus is packthread --status.
func (o *options) runStatus(sys system) error {
	s, err := settings.LoadPackthread(o.file)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	reply, err := mesh.Tell(s.StateDir, o.name, cmdStatus)
	var r report
	if err == nil {
		err = json.Unmarshal(reply, &r)
	}
	if err != nil {
		return exit.With(exit.Unknown, fmt.Errorf("no answer from packthread %s: is it running? (%w)", o.name, err))
	}
	text := r.text(time.Now())
	if o.json {
		var b bytes.Buffer
		if json.Compact(&b, reply) != nil {
			return exit.With(exit.Unknown, errors.New("the answer is not that of a packthread"))
		}
		text = b.String() + "\n"
	}
	if _, err := io.WriteString(sys.stdout, text); err != nil {
		return err
	}
	for _, p := range r.Peers {
		if p.Live && p.State != "up" {
			return &exit.Error{Code: exit.Down}
		}
	}
	return nil
}

// text is the report for people.
func (r *report) text(now time.Time) string {
	var b strings.Builder
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s %s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	fmt.Fprintf(&b, "%s: pid %d, up %s\n", printable(r.Network), r.PID, age(now, r.Started))
	row("interface", "%s, own address %s", r.Interface, or(r.Inner.IsValid(), r.Inner.String(), "none"))
	table := "none yet"
	switch {
	case !r.Table.IsZero():
		table = age(now, r.Table).String() + " old"
	case r.Seen.IsValid():
		table = "a saved one"
	}
	row("table", "%s, published %s", table, or(r.Endpoint.IsValid(), r.Endpoint.String(), "nowhere"))
	if r.Error != "" {
		row("nexus", "%s", r.Error)
	}
	for _, c := range r.Conflicts {
		row("conflict", "%s", c)
	}
	for _, p := range r.Peers {
		row(p.Name, "%s", p.text(now))
	}
	return b.String()
}

// text is a gateway on one line.
func (p peerState) text(now time.Time) string {
	state := p.State
	if !p.Live && state != "up" {
		state = "not there"
	}
	text := fmt.Sprintf("%s %s, routes %s", state, age(now, p.Since), or(len(p.Routes) > 0, joined(p.Routes), "none"))
	if p.Link == nil {
		return text + or(p.Reason != "" && p.Live, ", "+p.Reason, "")
	}
	way := "at " + p.Link.Peer
	if p.Link.Through != "" {
		way = "through " + p.Link.Through
	}
	return fmt.Sprintf("%s, %s, round trip %v, sent %d B, received %d B", text, way, p.Link.RoundTrip.Round(10*time.Microsecond),
		p.Inside.BytesIn, p.Inside.BytesOut)
}

func or(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

func joined(list []netip.Prefix) string {
	var texts []string
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return strings.Join(texts, " ")
}

func age(now, then time.Time) time.Duration { return max(0, now.Sub(then)).Round(time.Second) }

// printable returns s without what could disturb a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}
