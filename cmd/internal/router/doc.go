// Package router is a slow, long or lossy way between two network namespaces: each
// packet passes through this program, which has it wait for its turn on a line of a
// stated rate, delays it, and loses some. It sees IP packets, not streams, so that
// whatever runs between the two ends meets the same line.
//
//	A ---- eth0   eth1 ---- B      the router of a lab.Path, IPv4
//	         |     |
//	       tunA   tunB             what comes in on one is routed to the TUN beside
//	         |     |               it, and what this program writes there goes on
//	         program               as the path would have it
//
// Each direction is a Way of its own:
//
//	read ---> queue, drop-tail ---> line, rate ---> loss ---> delay ---> write
//
// The times at which packets leave are computed, each from the one before it, and
// not measured: a timer that is late does not make the line slower. They are those
// of the monotonic clock. How late a packet was at worst is among the Counters, as
// is what the kernel dropped because the program was not there to read it: on a
// machine that is too busy to measure on, they tell.
package router
