package crypto

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flynn/noise"
)

var (
	clientS      = count(0xa0, 32) // private
	serverS      = count(0xc0, 32) // private
	strongSecret = count(0xe0, 32)
)

const (
	testNumber = 0x0102030405060708
	testBefore = 0x0102030405060700
)

// strongPair returns the keys of the two ends of one link, always the same.
func strongPair(t testing.TB) (server, client *StrongKey) {
	t.Helper()
	return strongPairOf(t, clientS, serverS, strongSecret)
}

func strongPairOf(t testing.TB, clientPrivate, serverPrivate, secret []byte) (server, client *StrongKey) {
	t.Helper()
	s := Secret{(*subkey)(join(secret))}
	a := must(identityOf((*subkey)(join(serverPrivate))))(t)
	b := must(identityOf((*subkey)(join(clientPrivate))))(t)
	return must(newStrongKey(ServerRole, a, b.public, s))(t), must(newStrongKey(ClientRole, b, a.public, s))(t)
}

// strongDoor returns a door that knows the clients of the keys.
func strongDoor(t testing.TB, keys ...*StrongKey) *StrongDoor {
	t.Helper()
	peers := make(map[KeyID]*Peer)
	for _, k := range keys {
		peers[k.ID()] = k.Peer()
	}
	return NewStrongDoor(bytes.NewReader(serverE), keys[0].Identity(), func(id KeyID) *Peer { return peers[id] })
}

func testStrongDoor(t testing.TB) *StrongDoor {
	t.Helper()
	server, _ := strongPair(t)
	return strongDoor(t, server)
}

// initiateStrong starts the one handshake of most tests: the same F1 each time.
func initiateStrong(t testing.TB) (*Initiator, []byte) {
	t.Helper()
	_, client := strongPair(t)
	i, f1, err := InitiateStrong(client, bytes.NewReader(clientE), testNumber, testBefore, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	return i, slices.Clip(f1)
}

func strongHandshakeOf(t testing.TB) (client, server *Generation, f2 []byte) {
	t.Helper()
	i, f1 := initiateStrong(t)
	call := must(testStrongDoor(t).Open(f1))(t)
	f2, server, err := call.Answer([]byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	_, client, err = i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	return client, server, f2
}

func TestStrongHandshake(t *testing.T) {
	server, client := strongPair(t)
	other, _ := strongPairOf(t, count(0x90, 32), serverS, testSecret)
	i, f1 := initiateStrong(t)
	call := must(strongDoor(t, other, server).Open(f1))(t)
	if call.Peer.ID() != client.ID() || call.Peer.Public() != client.Identity().Public() {
		t.Errorf("the call is from %v, want %v", call.Peer, client)
	}
	if call.Number != testNumber || call.Before != testBefore {
		t.Errorf("number %x, before %x", call.Number, call.Before)
	}
	equal(t, "hello", call.Hello, zeroPadded([]byte("hello"), StrongHelloSize))
	f2, theirs, err := call.Answer([]byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	answer, ours, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", answer, zeroPadded([]byte("answer"), AnswerSize))
	describe(t, ours, theirs)
	if len(f1) != F1Size || len(f2) != F2Size {
		t.Errorf("flights of %d and %d bytes, want %d and %d", len(f1), len(f2), F1Size, F2Size)
	}
	if _, _, err := call.Answer(nil); err == nil {
		t.Error("a call was answered twice")
	}
	_, _, err = i.Finish(f2)
	wantErr(t, "finish twice", err, ErrAuth)
}

// What comes after the handshake is the same as with a shared key: frames pass, and
// a rekey leads to the next generation.
func TestStrongChannel(t *testing.T) {
	client, server, _ := strongHandshakeOf(t)
	suite := Suite{Blowfish, 448}
	s, _, err := twin(client).Keys(suite)
	if err != nil {
		t.Fatal(err)
	}
	_, o, err := twin(server).Keys(suite)
	if err != nil {
		t.Fatal(err)
	}
	text, err := open(o, seal(t, s, "through"))
	if err != nil || string(text) != "through" {
		t.Errorf("opened %q, %v", text, err)
	}
	r, m1, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	m2, server2, err := server.AnswerRekey(bytes.NewReader(serverE), m1)
	if err != nil {
		t.Fatal(err)
	}
	describe(t, must(r.Finish(m2))(t), server2)
}

// The private e are not left behind; the keys of the files are, unharmed.
func TestStrongHandshakeErases(t *testing.T) {
	server, client := strongPair(t)
	var c, s lastRead
	i, f1, err := InitiateStrong(client, c.of(clientE), 1, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := i.state.LocalEphemeral().Private
	equal(t, "e before the end", e, clientE)
	door := NewStrongDoor(s.of(serverE), server.Identity(), func(KeyID) *Peer { return server.Peer() })
	call := must(door.Open(f1))(t)
	f2, _, err := call.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.Finish(f2); err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, 32)
	equal(t, "e that the client drew", c.into, zero)
	equal(t, "e of the client's state", e, zero)
	equal(t, "e of the server's state", s.into, zero)
	equal(t, "the client's static key", client.own.private[:], clientS)
	equal(t, "the server's static key", server.own.private[:], serverS)
}

func TestStrongPayloadTooLong(t *testing.T) {
	_, client := strongPair(t)
	if _, _, err := InitiateStrong(client, bytes.NewReader(clientE), 1, 0, make([]byte, StrongHelloSize+1)); err == nil {
		t.Error("a hello that is too long was taken")
	}
	_, f1, err := InitiateStrong(client, bytes.NewReader(clientE), 1, 0, bytes.Repeat([]byte{7}, StrongHelloSize))
	if err != nil {
		t.Fatal(err)
	}
	call := must(testStrongDoor(t).Open(f1))(t)
	equal(t, "the largest hello", call.Hello, bytes.Repeat([]byte{7}, StrongHelloSize))
	if _, _, err := call.Answer(make([]byte, AnswerSize+1)); err == nil {
		t.Error("an answer that is too long was taken")
	}
}

func TestStrongNoRandomBytes(t *testing.T) {
	broken := iotest.ErrReader(errors.New("no entropy"))
	server, client := strongPair(t)
	_, f1 := initiateStrong(t)
	call := must(NewStrongDoor(broken, server.Identity(), func(KeyID) *Peer { return server.Peer() }).Open(f1))(t)
	for _, tt := range []struct {
		name string
		run  func() error
	}{
		{"initiate", func() error { _, _, err := InitiateStrong(client, broken, 1, 0, nil); return err }},
		{"initiate with too little", func() error {
			_, _, err := InitiateStrong(client, bytes.NewReader(clientE[:31]), 1, 0, nil)
			return err
		}},
		{"answer", func() error { _, _, err := call.Answer(nil); return err }},
		{"identity", func() error { _, err := NewIdentity(broken); return err }},
		{"secret", func() error { _, err := NewSecret(broken); return err }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.run(); err == nil {
				t.Error("it went on without random bytes")
			}
		})
	}
	for n := range 96 {
		if _, _, err := NewStrongPair(bytes.NewReader(make([]byte, n))); err == nil {
			t.Fatalf("a pair was made of %d random bytes", n)
		}
	}
}

func TestStrongServerKeyOnClient(t *testing.T) {
	server, _ := strongPair(t)
	_, _, err := InitiateStrong(server, bytes.NewReader(clientE), 1, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "the key is that of a server") {
		t.Errorf("error %v", err)
	}
}

// The secret has no part in the first flight. Without it the second one is refused.
func TestStrongOtherSecret(t *testing.T) {
	server, _ := strongPairOf(t, clientS, serverS, testSecret)
	i, f1 := initiateStrong(t)
	f2, _, err := must(strongDoor(t, server).Open(f1))(t).Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = i.Finish(f2)
	wantErr(t, "finish", err, ErrAuth)
}

// A removed client is a stranger from then on.
func TestStrongRemovedPeer(t *testing.T) {
	server, _ := strongPair(t)
	peer := server.Peer()
	door := NewStrongDoor(bytes.NewReader(serverE), server.Identity(), func(KeyID) *Peer { return peer })
	_, f1 := initiateStrong(t)
	if _, err := door.Open(f1); err != nil {
		t.Fatal(err)
	}
	peer = nil
	_, err := door.Open(f1)
	wantErr(t, "open", err, ErrAuth)
}

// counted counts the secrets that are computed.
type counted struct {
	noise.DHFunc
	n *int
}

func (c counted) DH(private, public []byte) ([]byte, error) {
	*c.n++
	return c.DHFunc.DH(private, public)
}

// Somebody who has the server's public key, but not the client's private one, costs
// one X25519.
func TestStrongCost(t *testing.T) {
	key := newRefStrong(clientS, serverS, strongSecret)
	e, other := refPublic(clientE), count(0x90, 32)
	es := refShared(clientE, key.serverPublic)
	server, _ := strongPair(t)
	for _, tt := range []struct {
		name   string
		static []byte
		want   int
		err    error
	}{
		{"the client", key.clientPublic, 2, nil},
		{"somebody else", refPublic(other), 1, ErrAuth},
		{"e again", e, 1, ErrAuth},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			p := &pinned{DHFunc: counted{noise.DH25519, &n}, static: server.Peer().public}
			state := strongHandshake(noise.Config{
				CipherSuite:  noise.NewCipherSuite(p, noise.CipherChaChaPoly, noise.HashBLAKE2s),
				PresharedKey: key.psk,
			}, server.own, nil)
			m := newRefIK(nil, key.serverPublic).firstIK(e, es, tt.static, refShared(clientS, key.serverPublic), refPayload())
			_, _, _, err := state.ReadMessage(nil, m)
			if n != tt.want || (err == nil) != (tt.err == nil) {
				t.Errorf("%d secrets computed, error %v; want %d and %v", n, err, tt.want, tt.err)
			}
		})
	}
}

// Two first flights of one client have nothing in common that a stranger sees.
func TestStrongFlightsDiffer(t *testing.T) {
	_, client := strongPair(t)
	one := must2(InitiateStrong(client, bytes.NewReader(clientE), 1, 0, nil))(t)
	two := must2(InitiateStrong(client, bytes.NewReader(serverE), 1, 0, nil))(t)
	for i := 0; i+8 <= F1Size; i += 8 {
		if bytes.Equal(one[i:i+8], two[i:i+8]) {
			t.Errorf("both flights have %x at %d", one[i:i+8], i)
		}
	}
}

func must2(_ *Initiator, f1 []byte, err error) func(testing.TB) []byte {
	return func(t testing.TB) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return f1
	}
}
