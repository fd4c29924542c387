// Package tunnel carries packets between one TUN device and its peer, or the many
// clients of a hub, and keeps the links alive.
//
// # A packet's way
//
//	host -> TUN -> readDevice -> queue -> sender: compress, seal -> connection
//	host <- TUN <- deliverer  <- receiver: open, expand <- frames <- connection
//
// The device outlives the sessions. A session is one authenticated connection
// with three goroutines: one sends, one receives, one watches the time, which all
// sessions of a hub share. Each
// direction's keys, compression history and scratch memory belong to one of
// them; but when nothing is under way, who has read a packet sends it, as it would
// take longer to wake another goroutine. Everything a packet can come to is counted, see Stats.
//
// On a slow TCP connection no more is written than the line carries, see allowance, so
// that what waits does so in the queue, where conversations take turns.
// A PING now and then tells how long the way is, and whether the peer keeps up with what it
// has to expand.
//
// # Wire
//
// Package crypto describes the handshake, the keys and the seal, package frame
// the framing, package compress the content of a batch. The payloads of the
// two flights are
//
//	hello   lowest version 1 | highest version 1 | ciphers 1 | compression 1 | terms 22 | client id 8 | inner 20
//	answer  reason 1 | version 1 | cipher 1 | compression 1 | terms 22 | inner 20 | inner 20 of the caller
//	told    an answer, with reason 4 | transaction number 8
//	limited an answer, with reason 0 | bytes that the caller may send in a second 4
//	terms   key bits 2 | largest frame 2 | MTU 2 | keyttl 4 | keepalive 4 | noanswer 4 | maxdelay 4
//	inner   IPv4 address 4 | IPv6 address 16, zeros for none
//
// with numbers big-endian and times in seconds. Ciphers and compression methods
// are sets, bit n stands for number n. The version is 2. Bytes behind the known
// ones are ignored. Reasons are 0 none, 1 no common version, 2 no common cipher
// (Blowfish with another key length is another cipher), 3 not the caller's inner
// addresses, 4 the transaction number was used. A caller without inner addresses takes
// those of the answer. The server's order of
// ciphers wins, its keyttl is the smaller of both; the client refuses a choice
// that it did not offer.
//
// The plaintext of a frame is a type and a payload:
//
//	 1 BATCH    a compressed block of IP packets, one behind the other: the length of each stands in its own header
//	 2 PING     8 bytes
//	 3 PONG     the 8 bytes of the PING | the clock in ns when the PING came 8
//	 4 TIME     the sender's clock in ns 8; only to a peer that has maxdelay: before the first packet, and
//	            before a packet that leaves more than 250 ms after the last TIME
//	 5 RATCHET  1 byte: the next frame is sealed with the keys of 0 the next epoch, 1 the next generation
//	 6 REKEY1   48 bytes
//	 7 REKEY2   48 bytes
//	 8 CONFIRM  empty
//	 9 RESET    number 4: the history of compression is lost, start anew
//	10 CLOSE    reason 1: 1 shutdown, 2 displaced, 3 revoked, 4 key age, 5 protocol, 6 delay, 7 idle
//	11 SEGMENTS a compressed block of 10 bytes, see offload, and one long TCP packet that stands for segments
//
// The host hands over what a TCP connection sends at once as one packet, with a note
// how to cut it, and takes such packets. They travel whole: to cut them here and to
// join them there would cost more than to encrypt them. Where that cannot be, on a
// serial line or when they are too long for a frame, the sender cuts them.
//
// Any other type, any other length and any failure to open ends the session. A
// stream that ends without CLOSE is a line failure.
//
// # A link's life
//
//	client                                  server
//	  dial  --------- F1 --------------->   door, hint, replay, Noise, hello
//	        <-------- F2 ----------------   choose
//	  check --------- CONFIRM ---------->   the link is up, an older one is displaced
//	        <======== BATCH ... ========>
//	        --------- REKEY1 ----------->   after keyttl seconds; see rekeying
//	        <======== CLOSE ============>
//
// Nothing changes on the server before CONFIRM has come under the session's keys.
// A caller whose first flight came before that of the link does not displace it: a
// CONFIRM that was held back on the way is worth nothing any more.
// keepalive seconds without an authentic frame are answered with a PING, and
// (noanswer+1) x keepalive seconds of silence end the link. There is no TCP_USER_TIMEOUT:
// Linux counts it from the first of several short times without a window on, and ends a
// connection that is well. The client dials again as schedule says. Up and Down
// are called in the order of events.
//
// With strong keys the client makes its transaction number last before F1, and the
// server does before F2; package number remembers them. A caller whose number was used
// gets nothing, like one that failed at the door, unless somebody has let its client
// be told: then the answer is the last number, there is no session, and the client
// calls again with a greater one. client id is zeros.
//
// # A hub
//
// A server may have many clients, each with a link as above, a queue, counters and
// addresses of its own:
//
//	host -> TUN -> readDevice -> whose is the destination? -> queue of that client -> ...
//	host <- TUN <- deliverer <- gate <- receiver <- ...
//	                             | to another client
//	                             +-> its queue -> ...
//
// The gate, which a tunnel with two ends does not have, drops what does not come from
// the client's own addresses, or goes where no client may. A caller with a shared key is
// offered addresses in the answer, and is one of the clients, with these as its own, when
// CONFIRM has come. Who has an address is found in
// a table that is replaced when clients change, so that packets need no lock.
//
// A hub of a mesh, see Mesh, calls its peers as well, directly or through others, see
// carrier.go. Each peer has two diallers for that, and may have a second link for a while:
//
//	no link ---- a dialler, or the peer, calls ---> link <------------ 5 s ------------+
//	   ^                                             |                                  |
//	   |                       either end calls again, as it does not trust the link,  |
//	   |                       or as both have called                                  |
//	   |                                             v                                  |
//	   +--- neither answers ---- two links: the new one, or the better one of both if it answers
//
// # A serial line
//
// A line loses and damages frames, so each says which keys it has; line.go has the
// form. There is no RATCHET, and the next frame with new keys stands for CONFIRM.
// What does not open is dropped and counted, and changes nothing. One goroutine,
// lineDriver, has the handshakes and gives all other frames to the session whose
// keys they have:
//
//	client                                     server
//	   ... <----- HAIL --------------------    no session here: at start, and when something comes that does not open
//	  call ------ F1 --------------------->    the same bytes again, later and later, until
//	       <----- F2 ----------------------    the same bytes again for the same F1
//	    up ------ CONFIRM, or any frame -->    up: the session before ends now, and not earlier
//	       ------ REKEY1, again ---------->
//	       <----- REKEY2 for each ---------
//
// A line with a modem is closed, which hangs up, when its link has ended or does not
// come up, and opened again, which dials or waits for a call. What is written never
// waits long below the sender: in the driver by its own account, in a modem by the
// time that a PING took, see speed. On a line that both directions share the ends
// take turns by listening first, see pacer.
package tunnel
