// Package meshlab builds a mesh of networks out of namespaces, with the real programs:
// nexus under a web server, and gateways that run packthread, each with a computer in
// the network behind it. Tests and the demo share it.
//
//	nexus 192.0.2.2 ----+
//	                    |
//	gateway 1 ---- internet ---- gateway 2 ---- computer 2
//	    |          198.18.n.1       198.18.n.2  10.77.n.1   10.77.n.2
//	computer 1       |    |
//	                ...  NAT ---- gateway 4 ---- computer 4
//	                     203.0.113.4   172.16.4.2
package meshlab
