// Bench measures vpnd, and what it is compared with, side by side on one machine:
// throughput, round trips, CPU time and memory of each between two network
// namespaces. "make bench" runs it; docs/performance.md says what the figures are
// and which commands make them.
//
//	A 192.0.2.1 ---- veth, MTU 1500 ---- 192.0.2.2 B
//	  10.8.0.1 ------ the tunnel ------- 10.8.0.2
//
// A row of the table is one way from A to B. Each round starts every row once, in
// a lab of its own, so that a noisy moment of the machine does not hit one of them
// alone. The empty tunnel and wireguard-go are this program itself, started again
// in a role; the other peers are what is installed. A peer that is missing or fails
// is a row that says why.
package main
