// Demo shows vpnd at work on one machine: it joins two network namespaces with
// the two files of examples/simple, moves real data, cuts the connection, and
// leaves nothing behind. "make demo" runs it. "make demo-serial" does the same with a
// cable between two serial ports and the files of examples/cable, "make demo-hub" shows
// a hub with the files of examples/hub, and "make demo-mesh" nexus and packthread with four
// networks.
package main
