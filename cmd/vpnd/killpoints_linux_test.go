package main

import (
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"vpnd/cmd/internal/exit"
	"vpnd/cmd/internal/lab"
)

// point is a moment in the life of a daemon, at which it is killed.
type point struct {
	name string
	end  func(*world) *site
	// moments are where it is killed, one after the other, without a stop that
	// cleans up in between. Most points have the same one twice: the second start
	// sweeps what the first has left and does not get further.
	moments []moment
	// do brings a daemon that is up to the moment; without it its start does.
	do func(*site)
	// hold is the hook that runs at the moment, and goes on.
	hold string
	// quiet keeps the kernel from sending packets into the tunnel by itself.
	quiet bool
	// detached starts a daemon that goes to the background; code is what the
	// command ends with.
	detached bool
	code     int
	// strong is a link with strong keys.
	strong bool
}

// moment is the nth call that matches.
type moment struct {
	is  match
	nth int
}

// match recognises a system call.
type match func(*lab.Call) bool

func server(w *world) *site { return w.server }
func client(w *world) *site { return w.client }

func (m match) once() []moment  { return []moment{{m, 1}} }
func (m match) twice() []moment { return m.nth(1) }

func (m match) nth(n int) []moment { return []moment{{m, n}, {m, n}} }

// before and after match a call that is about to be made, and one that has
// worked.
func before(number uint64, and ...match) match {
	return func(c *lab.Call) bool { return c.Is(number) && !c.Done && all(c, and) }
}

func after(number uint64, and ...match) match {
	return func(c *lab.Call) bool { return c.Made(number) && all(c, and) }
}

func all(c *lab.Call, conditions []match) bool {
	for _, holds := range conditions {
		if !holds(c) {
			return false
		}
	}
	return true
}

// path is about the name in a call, file about the descriptor.
func path(end string) match {
	return func(c *lab.Call) bool { return strings.HasSuffix(c.Text(1), end) }
}

func file(end string) match {
	return func(c *lab.Call) bool { return strings.HasSuffix(c.File(0), end) }
}

// kind is the kind of a descriptor without a path.
func kind(name string) match {
	return func(c *lab.Call) bool { return strings.HasPrefix(c.File(0), name+":[") }
}

func family(f int) match {
	return func(c *lab.Call) bool { return c.Family(1) == f }
}

func length(n uint64) match {
	return func(c *lab.Call) bool { return c.Args[2] == n }
}

func text(words ...string) match {
	return func(c *lab.Call) bool {
		got := string(c.Read(c.Args[1], c.Args[2]))
		for _, w := range words {
			if !strings.Contains(got, w) {
				return false
			}
		}
		return true
	}
}

// changed matches a change of the host's network that has been made: the kernel
// makes it before sendto returns.
func changed(kind int) match {
	return after(unix.SYS_SENDTO, func(c *lab.Call) bool { return c.Netlink() == kind })
}

// Frames on the wire, by their length: 2 bytes of header, the type, the payload,
// 16 of the tag. Nothing else that goes into a socket has these lengths.
const (
	flight1 = 192
	flight2 = 128
	confirm = 2 + 1 + 16
	rekey   = 2 + 1 + 48 + 16
	closing = 2 + 1 + 1 + 16
)

func sent(n uint64) match { return after(unix.SYS_WRITE, kind("socket"), length(n)) }

func logged(words ...string) match {
	return after(unix.SYS_WRITE, kind("pipe"), text(words...))
}

// running matches when the hook that holds has said so.
var running = logged("hook output", "line=waiting")

func term(s *site)   { must(s.t, s.Signal(syscall.SIGTERM)) }
func redial(s *site) { must(s.t, s.Signal(syscall.SIGUSR1)) }

// recall has the other end call, so that this one has a number more.
func recall(s *site) { redial(s.other) }

// reroute reloads a configuration with two routes more, of which one does not go
// into the tunnel, and without one that there was.
func reroute(s *site) {
	s.replace("route 10.91.0.0/16", "route 10.94.0.0/16\nroute2 10.95.0.0 255.255.0.0 198.51.100.2")
	must(s.t, s.Signal(syscall.SIGHUP))
}

func points() []point {
	starting := []point{
		{name: "state directory locked", end: client, moments: after(unix.SYS_FLOCK, file(".lock")).twice()},
		{name: "pidfile made", end: client, moments: after(unix.SYS_OPENAT, path("vpnd.pid")).twice()},
		{name: "pidfile cut", end: server, moments: after(unix.SYS_FTRUNCATE, file("vpnd.pid")).twice()},
		{name: "listening", end: server, moments: after(unix.SYS_LISTEN).twice()},
		{name: "device made", end: client, moments: after(unix.SYS_IOCTL, ioctl(unix.TUNSETIFF)).twice()},
		{name: "record opened", end: client, moments: after(unix.SYS_OPENAT, path(".state.new")).twice()},
		{name: "record written, not renamed", end: client, moments: before(unix.SYS_RENAMEAT, path(".state.new")).twice()},
		{name: "record renamed", end: client, moments: after(unix.SYS_RENAMEAT, path(".state.new")).twice()},
		{name: "mtu set", end: client, moments: changed(unix.RTM_SETLINK).twice()},
		{name: "device up", end: client, moments: changed(unix.RTM_NEWLINK).twice()},
		{name: "first address", end: server, moments: changed(unix.RTM_NEWADDR).twice()},
		{name: "second address", end: client, moments: changed(unix.RTM_NEWADDR).nth(2)},
		{name: "pin", end: client, moments: changed(unix.RTM_NEWROUTE).twice()},
		{name: "first route", end: client, moments: changed(unix.RTM_NEWROUTE).nth(2)},
		{name: "second route", end: server, moments: changed(unix.RTM_NEWROUTE).nth(2)},
		{name: "last route", end: client, moments: changed(unix.RTM_NEWROUTE).nth(lastRoute)},
		{name: "sweeping: first route gone", end: client, moments: []moment{{changed(unix.RTM_NEWROUTE), lastRoute}, {changed(unix.RTM_DELROUTE), 1}}},
		{name: "sweeping: record not yet gone", end: client, moments: []moment{{changed(unix.RTM_NEWROUTE), lastRoute}, {before(unix.SYS_UNLINKAT, path(".state")), 1}}},
		{name: "writing the log", end: server, moments: before(unix.SYS_WRITE, kind("pipe"), text("interface is up")).twice()},
		{name: "in slipup", end: client, hold: "slipup", moments: running.twice()},
		{name: "control socket bound", end: server, moments: after(unix.SYS_BIND, family(unix.AF_UNIX)).twice()},
	}
	linking := []point{
		{name: "calling", end: client, moments: before(unix.SYS_CONNECT, family(unix.AF_INET)).twice()},
		{name: "F1 sent", end: client, moments: sent(flight1).twice()},
		{name: "F2 sent", end: server, moments: sent(flight2).twice()},
		{name: "CONFIRM sent", end: client, moments: sent(confirm).twice()},
		{name: "link up", end: server, moments: logged("link is up").twice()},
		{name: "in linkup", end: client, hold: "linkup", moments: running.twice()},
		{name: "REKEY1 sent", end: client, quiet: true, moments: sent(rekey).once()},
		{name: "REKEY2 not yet sent", end: server, quiet: true, moments: before(unix.SYS_WRITE, kind("socket"), length(rekey)).once()},
		{name: "REKEY2 sent", end: server, quiet: true, moments: sent(rekey).once()},
	}
	changing := []point{
		{name: "reload: one route added", end: client, do: reroute, moments: changed(unix.RTM_NEWROUTE).once()},
		{name: "reload: one route removed", end: client, do: reroute, moments: changed(unix.RTM_DELROUTE).once()},
		{name: "in linkdown", end: client, do: redial, hold: "linkdown", moments: running.once()},
		{name: "CLOSE sent", end: server, do: term, moments: sent(closing).once()},
		{name: "in slipdown", end: server, do: term, hold: "slipdown", moments: running.once()},
		{name: "stopping: first route removed", end: client, do: term, moments: changed(unix.RTM_DELROUTE).once()},
		{name: "stopping: first address removed", end: client, do: term, moments: changed(unix.RTM_DELADDR).once()},
		{name: "stopping: record removed", end: client, do: term, moments: after(unix.SYS_UNLINKAT, path(".state")).once()},
		{name: "stopping: control socket removed", end: server, do: term, moments: after(unix.SYS_UNLINKAT, path("control.sock")).once()},
		{name: "stopping: pidfile removed", end: server, do: term, moments: after(unix.SYS_UNLINKAT, path("vpnd.pid")).once()},
		{name: "stopping: lock removed", end: client, do: term, moments: after(unix.SYS_UNLINKAT, path(".lock")).once()},
	}
	detaching := []point{
		{name: "detaching: the command waits", end: server, code: killed, moments: before(unix.SYS_READ, kind("pipe"), length(1)).once()},
		{name: "detaching: logging", end: server, code: exit.Internal, moments: after(unix.SYS_WRITE, kind("socket"), text("interface is up")).once()},
		{name: "detaching: ready not yet said", end: server, code: exit.Internal, moments: before(unix.SYS_WRITE, kind("pipe"), length(1)).once()},
		{name: "detaching: ready said", end: server, code: exit.OK, moments: after(unix.SYS_WRITE, kind("pipe"), length(1)).once()},
	}
	for i := range detaching {
		detaching[i].detached = true
	}
	remembering := []point{
		{name: "client's number: file locked", end: client, moments: after(unix.SYS_FLOCK, file(".number.lock")).twice()},
		{name: "client's number: written, not on the disk", end: client, moments: after(unix.SYS_PWRITE64, file(".number")).twice()},
		{name: "client's number: on the disk, F1 not sent", end: client, moments: before(unix.SYS_WRITE, kind("socket"), length(flight1)).twice()},
		{name: "client's number: F1 sent", end: client, moments: sent(flight1).twice()},
		{name: "server's numbers: locked", end: server, moments: after(unix.SYS_FLOCK, file(".numbers.lock")).twice()},
		{name: "server's numbers: being written anew", end: server, moments: after(unix.SYS_PWRITE64, file(".numbers.new")).twice()},
		{name: "server's numbers: written anew, not renamed", end: server, moments: before(unix.SYS_RENAMEAT, path(".numbers.new")).twice()},
		{name: "server's numbers: written anew, F2 not sent", end: server, moments: before(unix.SYS_WRITE, kind("socket"), length(flight2)).twice()},
		{name: "server's numbers: F2 sent", end: server, moments: sent(flight2).twice()},
		{name: "server's numbers: one more, not on the disk", end: server, do: recall, moments: before(unix.SYS_FSYNC, file(".numbers")).once()},
		{name: "server's numbers: one more, F2 not sent", end: server, do: recall, moments: before(unix.SYS_WRITE, kind("socket"), length(flight2)).once()},
	}
	for i := range remembering {
		remembering[i].strong = true
	}
	return slices.Concat(starting, linking, changing, detaching, remembering)
}

// lastRoute is how many routes a client of these tests makes: the pin, the two to
// the other end, and those of its configuration.
const lastRoute = 7

func ioctl(request uint64) match {
	return func(c *lab.Call) bool { return c.Args[1] == request }
}
