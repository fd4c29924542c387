// Package lab builds small networks out of Linux network namespaces, runs
// programs in them and measures what passes. End-to-end tests and the demo
// share it; it needs root and the kernel, but no other program: ping, bulk
// transfer, datagram sweep and an unkind TCP relay are part of it.
//
//	l, err := lab.New()              // says everything that is missing
//	defer l.Close()                  // ends processes, relays, namespaces, files
//	a, err := l.Namespace("client")
//	b, err := l.Namespace("server")
//	path, err := l.Path(a, b, lab.Prefixes("192.0.2.1/24"), lab.Prefixes("198.51.100.1/24"))
//	d, err := a.Start(exec.Command(bin, "-n", "-f", conf))
//	took, err := a.WaitPing(ctx, netip.MustParseAddr("10.0.0.2"), 2*time.Millisecond)
//	err = path.Cut()                 // packets vanish, neither end is told
//
// What belongs to what:
//
//	Lab ── temporary directory, and everything below
//	 ├─ Namespace ── Do, Sysctl, AddRoute, Dump, Counters, Ping, WaitPing, ResetTCP,
//	 │   │             PointToPoint, PIDs, Usage
//	 │   ├─ Process ── Start or Adopt; Stdout, Stderr, Signal, Wait, Usage
//	 │   ├─ Trace ── a Process under ptrace; Watch sees and changes each Call
//	 │   └─ Relay ── Reset, Refuse, Stall, Blackhole, Delay, Tap
//	 ├─ Link ── Connect: a veth pair between two namespaces
//	 └─ Path ── two links and a router that can go silent
//	Ends ── client, server and addresses of a measurement:
//	         Transfer, Pour, Datagrams, Converse, Stream
//	Traffic ── numbered datagrams of all sizes between several Ends, checked bit by bit
//
// Namespaces have no name in the file system and live by descriptors of this
// process, so labs never collide. A test that is killed leaves its directory
// and daemons that had detached themselves, nothing else. Everything exists
// on Linux only; elsewhere the package is empty.
package lab
