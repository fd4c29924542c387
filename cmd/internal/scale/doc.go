// Scale measures what a hub with many clients costs, and how it shares the load.
//
//	scale [-clients 1000] [-idle 1m] [-active 100] [-time 10s]
//
// The hub is a process of its own, without an interface and without privilege; its
// clients are simulated in this process. Both talk over real sockets of the loopback
// interface, each client from an address of its own. What is measured:
//
//   - the hub's resident memory and CPU time while all clients are there and say
//     nothing,
//   - how long it takes until all of them are back when the hub is killed and started
//     again,
//   - what many clients send together, beside one that is alone,
//   - the same with the clients on two hubs.
package main
