package crypto

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// rekeyNoise returns the state before a rekey's first message.
func rekeyNoise(g *Generation) *refNoise {
	return newRefNoise(g.secret[:], join([]byte("vpnd 2 rekey"), g.hash))
}

// rekey runs one and returns the next generation.
func rekey(t testing.TB, client, server *Generation) (c, s *Generation, m1, m2 []byte) {
	t.Helper()
	r, m1, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	m2, s, err = server.AnswerRekey(bytes.NewReader(serverE), m1)
	if err != nil {
		t.Fatal(err)
	}
	return must(r.Finish(m2))(t), s, m1, m2
}

func TestRekey(t *testing.T) {
	client, server, _ := handshake(t)
	before := join(client.secret[:], client.send[:], client.receive[:])
	for n := range 3 {
		c, s, m1, m2 := rekey(t, client, server)
		describe(t, c, s)
		if len(m1) != RekeySize || len(m2) != RekeySize {
			t.Errorf("rekey %d: messages of %d and %d bytes, want %d", n, len(m1), len(m2), RekeySize)
		}
		// The same e on both sides each time: what differs is what is mixed in.
		after := join(c.secret[:], c.send[:], c.receive[:])
		if bytes.Equal(before, after) {
			t.Errorf("rekey %d changed nothing", n)
		}
		client, server, before = c, s, after
	}
}

func TestRekeyBits(t *testing.T) {
	client, server, _ := handshake(t)
	_, _, m1, m2 := rekey(t, client, server)
	flips(m1, func(bit int, flipped []byte) {
		_, _, err := server.AnswerRekey(bytes.NewReader(serverE), flipped)
		wantErr(t, fmt.Sprintf("first message, bit %d", bit), err, ErrAuth)
	})
	r, _, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	flips(m2, func(bit int, flipped []byte) {
		_, err := r.Finish(flipped)
		wantErr(t, fmt.Sprintf("second message, bit %d", bit), err, ErrAuth)
	})
	_, err = r.Finish(m2)
	wantErr(t, "the right message after all the damaged ones", err, nil)
}

// Messages of other lengths are refused even when they verify.
func TestRekeyLengths(t *testing.T) {
	client, server, _ := handshake(t)
	_, _, m1, m2 := rekey(t, client, server)
	long1, long2 := zeroPadded(m1, 2*RekeySize), zeroPadded(m2, 2*RekeySize)
	r, _, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 2 * RekeySize {
		if n == RekeySize {
			continue
		}
		_, _, err := server.AnswerRekey(bytes.NewReader(serverE), join(long1[:n]))
		wantErr(t, fmt.Sprintf("first message of %d bytes", n), err, ErrAuth)
		_, err = r.Finish(join(long2[:n]))
		wantErr(t, fmt.Sprintf("second message of %d bytes", n), err, ErrAuth)
	}

	payload := []byte("x")
	ce, se := refPublic(clientE), refPublic(serverE)
	_, _, err = server.AnswerRekey(bytes.NewReader(serverE), rekeyNoise(server).first(ce, payload))
	wantErr(t, "first message with a payload", err, ErrAuth)
	n := rekeyNoise(client)
	n.first(ce, nil)
	_, err = r.Finish(n.second(se, refShared(serverE, ce), payload))
	wantErr(t, "second message with a payload", err, ErrAuth)
}

// A rekey belongs to the generation that carries it.
func TestRekeyOfAnother(t *testing.T) {
	client, server, _ := handshake(t)
	next, _, m1, m2 := rekey(t, client, server)
	otherSecret, otherHash := twin(client), twin(client)
	otherSecret.secret[0] ^= 1
	otherHash.hash = join(client.hash)
	otherHash.hash[0] ^= 1
	tests := []struct {
		name string
		g    *Generation
		want error
	}{
		{"the same", twin(client), nil},
		{"another secret", otherSecret, ErrAuth},
		{"another hash", otherHash, ErrAuth},
		{"the next generation", next, ErrAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := tt.g.AnswerRekey(bytes.NewReader(serverE), m1)
			wantErr(t, "answer", err, tt.want)
			r, _, err := tt.g.Rekey(bytes.NewReader(clientE))
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Finish(m2)
			wantErr(t, "finish", err, tt.want)
		})
	}

	r, _, err := client.Rekey(bytes.NewReader(count(0x90, 32)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Finish(m1)
	wantErr(t, "first message reflected", err, ErrAuth)
	_, err = r.Finish(m2)
	wantErr(t, "second message for another first one", err, ErrAuth)
}

func TestRekeyFinishTwice(t *testing.T) {
	client, server, _ := handshake(t)
	r, m1, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	e := r.state.LocalEphemeral().Private
	m2, _, err := server.AnswerRekey(bytes.NewReader(serverE), m1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Finish(m2); err != nil {
		t.Fatal(err)
	}
	_, err = r.Finish(m2)
	wantErr(t, "finish twice", err, ErrAuth)
	equal(t, "e after the end", e, make([]byte, 32))
}

// Without its secret a generation starts nothing: the Noise library would run
// the handshake without a key.
func TestForget(t *testing.T) {
	client, server, _ := handshake(t)
	_, _, m1, _ := rekey(t, client, server)
	kept := client.secret
	client.Forget()
	server.Forget()
	client.Forget() // twice does no harm
	equal(t, "secret", kept[:], make([]byte, 32))
	if _, _, err := client.Rekey(bytes.NewReader(clientE)); err == nil {
		t.Error("a rekey started without a secret")
	}
	if _, _, err := server.AnswerRekey(bytes.NewReader(serverE), m1); err == nil {
		t.Error("a rekey was answered without a secret")
	}
}

func TestKeysOnce(t *testing.T) {
	client, server, _ := handshake(t)
	if _, _, err := client.Keys(Suite{Blowfish, 448}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.Keys(Suite{Blowfish, 448}); err == nil {
		t.Error("the keys were given out twice")
	}
	if _, _, err := server.Keys(Suite{Blowfish, 447}); err == nil {
		t.Error("keys for a suite that does not exist")
	}
	if _, _, err := server.Keys(Suite{Blowfish, 448}); err == nil {
		t.Error("the keys were given out after an error")
	}
}

// An epoch leaves nothing of the one before it.
func TestChainErased(t *testing.T) {
	for _, suite := range vectorSuites {
		t.Run(suiteName(suite), func(t *testing.T) {
			s, _ := channelOf(t, suite)
			old := s.chain
			if err := s.Ratchet(); err != nil {
				t.Fatal(err)
			}
			equal(t, "the chain before", old[:], make([]byte, 32))
			if *s.chain == (subkey{}) {
				t.Error("the chain is zero")
			}
		})
	}
}

func TestSuite(t *testing.T) {
	tests := []struct {
		suite Suite
		bytes int    // 0: an error
		err   string // what it says
	}{
		{Suite{Blowfish, 448}, 56, ""},
		{Suite{Blowfish, 128}, 16, ""},
		{Suite{Blowfish, 256}, 32, ""},
		{Suite{Blowfish, 120}, 0, "blowfish key of 120 bits"},
		{Suite{Blowfish, 456}, 0, "blowfish key of 456 bits"},
		{Suite{Blowfish, 129}, 0, "blowfish key of 129 bits"},
		{Suite{Blowfish, 0}, 0, "blowfish key of 0 bits"},
		{Suite{Blowfish, -128}, 0, "blowfish key of -128 bits"},
		{Suite{AES256GCM, 0}, 32, ""},
		{Suite{AES256GCM, 448}, 32, ""},
		{Suite{ChaCha20Poly1305, 128}, 32, ""},
		{Suite{Cipher(3), 256}, 0, "cipher 3 is unknown"},
		{Suite{Cipher(255), 256}, 0, "cipher 255 is unknown"},
	}
	for _, tt := range tests {
		t.Run(suiteName(tt.suite), func(t *testing.T) {
			client, _, _ := handshake(t)
			_, _, err := client.Keys(tt.suite)
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if n := tt.suite.keyBytes(); err == nil && n != tt.bytes {
				t.Errorf("key of %d bytes, want %d", n, tt.bytes)
			}
		})
	}
}

// The length of a key counts for Blowfish only.
func TestKeyBitsOfOthers(t *testing.T) {
	for _, cipher := range []Cipher{AES256GCM, ChaCha20Poly1305} {
		a, _ := channelOf(t, Suite{cipher, 448})
		b, _ := channelOf(t, Suite{cipher, 0})
		equal(t, cipher.String(), seal(t, a, "text"), seal(t, b, "text"))
	}
}

func TestCipherNames(t *testing.T) {
	for _, tt := range []struct {
		cipher Cipher
		name   string
	}{
		{Blowfish, "blowfish"},
		{AES256GCM, "aes-256-gcm"},
		{ChaCha20Poly1305, "chacha20-poly1305"},
	} {
		if got := tt.cipher.String(); got != tt.name {
			t.Errorf("cipher %d is called %q, want %q", uint8(tt.cipher), got, tt.name)
		}
		got, err := ParseCipher(tt.name)
		if err != nil || got != tt.cipher {
			t.Errorf("ParseCipher(%q) = %v, %v", tt.name, got, err)
		}
	}
	for _, name := range []string{"", "none", "Blowfish", "blowfish ", "cipher 3"} {
		if c, err := ParseCipher(name); err == nil || c != 0 {
			t.Errorf("ParseCipher(%q) = %v, %v", name, c, err)
		}
	}
	if got := Cipher(3).String(); got != "cipher 3" {
		t.Errorf("cipher 3 is called %q", got)
	}
}
