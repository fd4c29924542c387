// Bench measures vpnd, and what it is compared with, side by side on one machine:
// throughput, round trips, CPU time and memory of each between two network
// namespaces. "make bench" runs it; docs/performance.md says what the figures are
// and which commands make them.
//
//	A 192.0.2.1 ---- veth, MTU 1500 ---- 192.0.2.129 B
//	  10.8.0.1 ------ the tunnel ------- 10.8.0.2
//
// A row of the table is one way from A to B. Each round starts every row once, in
// a lab of its own, so that a noisy moment of the machine does not hit one of them
// alone. The empty tunnel and wireguard-go are this program itself, started again
// in a role; the other peers are what is installed. A peer that is missing or fails
// is a row that says why.
//
// "bench slow", which "make bench-slow" runs, has a bad line between A and B, and
// measures what is left of it: goodput, round trips beside a stream, a page, what a
// cut and loss do.
//
//	A 192.0.2.1 ---- router: rate, delay, queue, loss ---- 192.0.2.129 B
//	A /dev/pts/1 --- serial line, 10 bits a byte ---------- /dev/pts/2 B
//
// There a trial is taken of all tunnels before the next one, each time on a fresh
// tunnel, so that no queue of an earlier one is in the way.
//
// "bench age" asks one vpnd every minute what a byte costs, to see that it stays the
// same.
package main
