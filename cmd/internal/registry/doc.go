// Package registry is what nexus and the gateways of a mesh say to each other, and how
// nexus remembers it.
//
// # A registration
//
// A gateway sends one HTTP request, POST, whose body is a letter of package crypto: the
// gateway's key proves who it is, the password is mixed in. The answer is a letter too,
// and tells the table. Numbers are big-endian.
//
//	question  epoch 8 | number 8 | kind 1 | port 2 | declared address 16 | proof 16 | length 1, name; zeros up to 128
//	answer    status 1 | epoch 8 | number 8 | serial 8 | sign key 32 | seen address 16 | count 2 | gateways
//	gateway   length 1, name | key 32 | inner address 16 | address 16 | port 2 | state 1 | left 2 | count 1 | subnets
//	subnet    family 1: 4 or 6 | bits 1 | address 4 or 16
//
// An address is IPv6, or IPv4 in its IPv6 form; zeros stand for none. kind is 1 to
// register, 2 to leave. left is how many seconds the lease has left. Status is
//
//	0 done     the table follows
//	1 again    the epoch or the number is not right: these are
//	2 unknown  the network file has no such name with this key
//	3 disabled the network is disabled there
//
// and after 1 to 3 there is no table. A question that does not open gets HTTP status
// 403 and nothing else, for whatever reason.
//
// # Numbers
//
// nexus takes a number only if it is greater than the last one that it took from this
// name, and not by more than 2^20, and if the epoch is its own. A new epoch begins
// when nexus's host has started anew or its state was lost, so nothing recorded before
// counts ever again, whatever was restored. A gateway that does not know epoch or
// number is told them, in an answer that only it can read, and asks again. Nobody's
// clock matters.
//
// # Leases
//
// A registration is a lease of 300 s on nexus's CLOCK_BOOTTIME, which stands in the
// state with the id of the boot: nexus as a CGI program has no memory of its own. In a
// new boot each lease has what was left of it when the state was written last, and of a
// time in which nobody was heard at most 90 s count: nexus was away, and not the
// gateways. No clock that somebody sets is asked. When the state was lost, a gateway that was not heard yet is unheard for 300 s, and the
// others do with it what they did; after that it is gone.
//
// # Datagrams
//
// When the table has changed nexus sends each live gateway a nudge over UDP, to the
// port that it published. The gateway then asks for the table at once. Of the changes of
// one gateway 4 in a row are told so, then one in 30 s. A gateway that
// declares an address gets a check there; the proof in it, sent with the next
// registration, makes nexus publish that address. crypto.Sign has tag and label.
//
//	nudge  "N" | serial 8 | tag 16      tag over all before it, with the sign key of the answer
//	check  "C" | proof 16 | tag 16      tag over all before it, with the sign key of the answer
//
//	sign key  of the label "N" | epoch 8 | gateway's public key 32
//	proof     tag over address 16 | port 2, of the label "P" | epoch 8 | gateway's public key 32
//
// serial grows with each change of the table, so a nudge is worth nothing once the
// table was fetched, and neither is one of another epoch. Nobody answers a datagram.
package registry
