// Package crypto owns key files, the handshake, and turns plaintext into sealed
// bytes and back. It does no input or output of its own except reading and
// making key files; tunnel carries its bytes over the wire.
//
// This comment, testdata/vectors.json and testdata/strong.json are the description
// of the wire that a second implementation needs. HKDF(secret, salt, info, length) is RFC 5869 with
// SHA-256, HMAC(key, message) is RFC 2104 with SHA-256, BE16, BE32 and BE64 are
// big-endian integers, | joins bytes.
//
// # Keys
//
// A shared key is any secret of at least 16 bytes. It is used only as the input
// of HKDF with an empty salt:
//
//	psk       = HKDF(secret, "", "vpnd 2 psk", 32)
//	door key  = HKDF(secret, "", "vpnd 2 door", 32)
//	key id    = HKDF(secret, "", "vpnd 2 key id", 8)
//	id key    = HKDF(secret, "", "vpnd 2 client id", 32)
//	client id = HMAC(id key, machine | 0 | instance) cut to 8
//
// Everybody who has the key is trusted as much as everybody else who has it: any
// of them can play the server to the others, and a man in the middle can lead a
// client to another server that has the same key.
//
// # Handshake
//
// Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s (noiseprotocol.org, revision 34) in two
// flights of fixed size:
//
//	F1  client to server  e 32 | hint 8 | rest of Noise message 1: 120+16 | door 16
//	F2  server to client  e 32 | rest of Noise message 2: 80+16
//
//	hint     = key id XOR HMAC(door key, "hint" | e) cut to 8
//	door     = HMAC(door key, the first 176 bytes of F1) cut to 16
//	prologue = "vpnd 2" | "psk" | key id | hint
//
// The door is checked first: a stranger costs one HMAC for each key and gets no
// answer. The last 4096 e of a key are remembered. A recorded flight that is
// older than those, or than the server's start, draws an F2 when it is replayed
// and changes nothing, since only a frame under the new keys (CONFIRM) does.
// The payloads (120 and 80 bytes, padded with zeros) belong to package tunnel.
// Whoever steals the key later can read the payload of a recorded F1, but
// neither that of F2 nor any frame.
//
// # Strong keys
//
// Each end of a link has a key pair for X25519, knows the public key of the other,
// and both share a secret of 32 bytes:
//
//	link id  = HKDF(client's public key, "", "vpnd 2 strong link", 8)
//	psk      = HKDF(secret, "", "vpnd 2 strong psk", 32)
//	door key = HKDF(server's public key, "", "vpnd 2 strong door", 32)
//
// Whoever has a server's public key, so each of its clients, can pass its door and
// see in a recorded first flight which link it belongs to. Nothing else follows
// from that key.
//
// # Handshake with strong keys
//
// Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, in two flights of the same sizes as with a
// shared key:
//
//	F1  client to server  e 32 | hint 8 | rest of Noise message 1: s 32+16, payload 72+16 | door 16
//	F2  server to client  e 32 | rest of Noise message 2: 80+16
//
//	hint     = link id XOR HMAC(door key, "hint" | e) cut to 8
//	door     = HMAC(door key, the first 176 bytes of F1) cut to 16
//	prologue = "vpnd 2" | "strong" | link id | hint
//	payload  = BE64(number) | BE64(before) | hello 56, padded with zeros
//
// The number is the client's transaction number. The server takes it only if it is
// greater than all others that it took on this link, and says nothing otherwise, so a
// recorded flight draws no answer. before is the greatest number that the client may
// have used until then, 0 if it does not remember: a server that has taken a greater
// one knows that somebody else has the key, too. Packages tunnel and tunnel/number
// see to both.
//
// A stranger costs the server one HMAC. Somebody who has the server's public key and
// knows a link's id costs it one X25519; the second one only the link's own client.
// Whoever steals the server's private key later can read in a recorded F1 whose it is
// and its payload, but neither F2 nor any frame.
//
// In a mesh each gateway is client and server of each other one. The shared secret is
// HKDF(password's psk, the smaller public key | the greater one, "vpnd mesh link", 32), and
// number and before are 0: the server remembers the last flights, as with a shared key.
//
// # Hail
//
// On a serial line a server without a session says
//
//	nonce 16 | HMAC(door key, "hail" | nonce) cut to 16
//
// # Key schedule
//
// Noise Split gives one key per direction, h is the handshake hash. A
// handshake, or a rekey inside the channel, starts a generation:
//
//	chain(direction) = HKDF(split key(direction), h, "vpnd 2 chain", 32)
//	rekey secret     = HKDF(split c2s | split s2c, h, "vpnd 2 rekey", 32)
//
// Within a generation, epochs count from 0, for each direction by itself:
//
//	HKDF-Expand(chain, "vpnd 2 epoch" | cipher 1 | BE16(key bits) | BE64(epoch), n)
//	  = encryption key | MAC key 32 (Blowfish only) | next chain 32
//
// where cipher is 0 for blowfish, 1 for aes-256-gcm, 2 for chacha20-poly1305, and
// the old chain is erased. A rekey is the Noise handshake again, with empty
// payloads (two messages of 48 bytes), psk = rekey secret of the generation that
// carries it and prologue "vpnd 2 rekey" | h of that generation.
//
// What is erased is the chain and the secrets that lead from one key to the next.
// Expanded keys inside ciphers and hashes, what the Noise library holds, and the
// text of a key file are left to the garbage collector.
//
// # Sealed frames
//
// Frames of an epoch are numbered from 0. A header travels before each in clear
// and is authenticated; it has one length throughout a generation (on TCP 2).
// Ciphertext is as long as plaintext and a tag of 16 bytes follows.
//
//	blowfish            CTR with blocks BE32(number) | BE32(block), then
//	                    HMAC(MAC key, BE64(epoch) | BE64(number) | header | ciphertext) cut to 16
//	aes-256-gcm         nonce BE32(0) | BE64(number), associated data header (RFC 5288's construction)
//	chacha20-poly1305   likewise (RFC 8439)
//
// A sender leaves an epoch after 2^17 blocks of 8 bytes (1 MiB) under Blowfish,
// after 2^26 blocks of 16 (1 GiB) under the others. A receiver refuses the frame
// that goes more than 2^14 blocks beyond eight times that. The last block of a
// frame counts whole and an empty frame counts as one block, so frame numbers
// stay below 2^32.
package crypto
