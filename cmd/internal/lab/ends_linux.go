package lab

import "net/netip"

// Ends are the two ends of a measurement. The server listens on Dst, on a
// port of its own choice.
type Ends struct {
	Client, Server *Namespace
	Src            netip.Addr // of the client; zero leaves it to the kernel
	Dst            netip.Addr
}
