package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var (
	testSecret  = count(0x00, 32)
	otherSecret = count(0x10, 32)
	clientE     = count(0x20, 32) // private
	serverE     = count(0x40, 32) // private
)

func testKey(t testing.TB, secret []byte) *Key {
	t.Helper()
	return must(NewKey(secret))(t)
}

func testDoor(t testing.TB, secrets ...[]byte) *Door {
	t.Helper()
	var keys []*Key
	for _, s := range secrets {
		keys = append(keys, testKey(t, s))
	}
	return NewDoor(bytes.NewReader(serverE), keys...)
}

// initiate starts the one handshake of most tests: the same F1 each time.
func initiate(t testing.TB) (*Initiator, []byte) {
	t.Helper()
	i, f1, err := Initiate(testKey(t, testSecret), bytes.NewReader(clientE), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	return i, slices.Clip(f1)
}

// handshake runs it to its end.
func handshake(t testing.TB) (client, server *Generation, f2 []byte) {
	t.Helper()
	i, f1 := initiate(t)
	call := must(testDoor(t, testSecret).Open(f1))(t)
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

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error is %v, want %v", what, err, want)
	}
}

func TestHandshake(t *testing.T) {
	i, f1 := initiate(t)
	call := must(testDoor(t, otherSecret, testSecret).Open(f1))(t)
	if want := testKey(t, testSecret).ID(); call.Key.ID() != want {
		t.Errorf("the call has key %v, want %v", call.Key.ID(), want)
	}
	equal(t, "hello", call.Hello, zeroPadded([]byte("hello"), HelloSize))
	f2, server, err := call.Answer([]byte("answer"))
	if err != nil {
		t.Fatal(err)
	}
	answer, client, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "answer", answer, zeroPadded([]byte("answer"), AnswerSize))
	describe(t, client, server)
	if len(f1) != F1Size || len(f2) != F2Size {
		t.Errorf("flights of %d and %d bytes, want %d and %d", len(f1), len(f2), F1Size, F2Size)
	}

	if _, _, err := call.Answer(nil); err == nil {
		t.Error("a call was answered twice")
	}
	_, _, err = i.Finish(f2)
	wantErr(t, "finish twice", err, ErrAuth)
}

// The private e and the keys of the Noise library are not left behind.
func TestHandshakeErases(t *testing.T) {
	var client, server lastRead
	i, f1, err := Initiate(testKey(t, testSecret), client.of(clientE), nil)
	if err != nil {
		t.Fatal(err)
	}
	e := i.state.LocalEphemeral().Private
	equal(t, "e before the end", e, clientE)
	call := must(NewDoor(server.of(serverE), testKey(t, testSecret)).Open(f1))(t)
	f2, _, err := call.Answer(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := i.Finish(f2); err != nil {
		t.Fatal(err)
	}
	zero := make([]byte, 32)
	equal(t, "e that the client drew", client.into, zero)
	equal(t, "e of the client's state", e, zero)
	equal(t, "e of the server's state", server.into, zero)
	if i.state.LocalEphemeral().Private != nil || call.state.LocalEphemeral().Private != nil {
		t.Error("a handshake's state is kept after its end")
	}
}

// lastRead is a source of random bytes that knows where it put them.
type lastRead struct {
	io.Reader
	into []byte
}

func (l *lastRead) of(b []byte) *lastRead {
	l.Reader = bytes.NewReader(b)
	return l
}

func (l *lastRead) Read(p []byte) (int, error) {
	l.into = p
	return l.Reader.Read(p)
}

func TestPayloadTooLong(t *testing.T) {
	_, _, err := Initiate(testKey(t, testSecret), bytes.NewReader(clientE), make([]byte, HelloSize+1))
	if err == nil {
		t.Error("a hello that is too long was taken")
	}
	_, f1, err := Initiate(testKey(t, testSecret), bytes.NewReader(clientE), make([]byte, HelloSize))
	if err != nil {
		t.Fatal(err)
	}
	call := must(testDoor(t, testSecret).Open(f1))(t)
	if _, _, err := call.Answer(make([]byte, AnswerSize+1)); err == nil {
		t.Error("an answer that is too long was taken")
	}
	if _, _, err := call.Answer(make([]byte, AnswerSize)); err != nil {
		t.Errorf("an answer of the largest size: %v", err)
	}
}

func TestNoRandomBytes(t *testing.T) {
	broken := iotest.ErrReader(errors.New("no entropy"))
	key := testKey(t, testSecret)
	client, server, _ := handshake(t)
	_, f1 := initiate(t)
	call := must(NewDoor(broken, key).Open(f1))(t)
	_, m1, err := client.Rekey(bytes.NewReader(clientE))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		run  func() error
	}{
		{"initiate", func() error { _, _, err := Initiate(key, broken, nil); return err }},
		{"initiate with too little", func() error { _, _, err := Initiate(key, bytes.NewReader(clientE[:31]), nil); return err }},
		{"answer", func() error { _, _, err := call.Answer(nil); return err }},
		{"rekey", func() error { _, _, err := client.Rekey(broken); return err }},
		{"answer to a rekey", func() error { _, _, err := server.AnswerRekey(broken, m1); return err }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.run(); err == nil {
				t.Error("it went on without random bytes")
			}
		})
	}
}

// flips calls f with each copy of b in which one bit is turned round.
func flips(b []byte, f func(bit int, flipped []byte)) {
	for bit := range 8 * len(b) {
		flipped := join(b)
		flipped[bit/8] ^= 1 << (bit % 8)
		f(bit, flipped)
	}
}

func TestF1Bits(t *testing.T) {
	_, f1 := initiate(t)
	door, key := testDoor(t, testSecret), newRefKey(testSecret)
	flips(f1, func(bit int, flipped []byte) {
		_, err := door.Open(flipped)
		wantErr(t, fmt.Sprintf("bit %d", bit), err, ErrAuth)
	})
	flips(f1[:doorAt], func(bit int, flipped []byte) {
		_, err := door.Open(key.shut(flipped))
		wantErr(t, fmt.Sprintf("bit %d behind the right door", bit), err, ErrAuth)
	})
	if _, err := door.Open(f1); err != nil {
		t.Errorf("the whole flight after all the damaged ones: %v", err)
	}
}

// Each of these flights is right in all points but one.
func TestF1Forged(t *testing.T) {
	key, other := newRefKey(testSecret), newRefKey(otherSecret)
	e, hello := refPublic(clientE), make([]byte, HelloSize)
	flight := func(k refKey, hint []byte) []byte {
		f1, _ := k.f1(e, hint, hello)
		return f1
	}
	good := flight(key, key.hint(e))
	// The sealed payload is made with a key that is not the door's.
	mixed := other
	mixed.door, mixed.id = key.door, key.id
	// The sealed payload is bound to another id.
	foreign := key
	foreign.id = other.id
	tests := []struct {
		name string
		f1   []byte
		want error
	}{
		{"right", good, nil},
		{"wrong door", join(good[:doorAt], refMAC(newBlake, key.door, good[:doorAt])[:doorSize]), ErrAuth},
		{"no door", join(good[:doorAt], make([]byte, doorSize)), ErrAuth},
		{"door of another key", other.shut(good), ErrAuth},
		{"wrong hint", flight(key, make([]byte, hintSize)), ErrAuth},
		{"hint without e", flight(key, key.id), ErrAuth},
		{"hint of another e", flight(key, key.hint(refPublic(serverE))), ErrAuth},
		{"another psk", flight(mixed, key.hint(e)), ErrAuth},
		{"another id in the prologue", flight(foreign, key.hint(e)), ErrAuth},
		{"another key throughout", flight(other, other.hint(e)), ErrAuth},
		{"zeros behind the door", key.shut(make([]byte, F1Size)), ErrAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testDoor(t, testSecret).Open(tt.f1)
			wantErr(t, "open", err, tt.want)
		})
	}
}

// Each of these flights is right in all points but one.
func TestF2Forged(t *testing.T) {
	key, other := newRefKey(testSecret), newRefKey(otherSecret)
	ce, se := refPublic(clientE), refPublic(serverE)
	shared, answer := refShared(serverE, ce), make([]byte, AnswerSize)
	// after returns the state behind the client's F1.
	after := func(k refKey, e []byte) *refNoise {
		_, n := k.f1(e, k.hint(e), zeroPadded([]byte("hello"), HelloSize))
		return n
	}
	_, _, ours := handshake(t)
	tests := []struct {
		name string
		f2   []byte
		want error
	}{
		{"right", after(key, ce).second(se, shared, answer), nil},
		{"the package's own", ours, nil},
		{"another key", after(other, ce).second(se, shared, answer), ErrAuth},
		{"for another e of the client", after(key, refPublic(count(0x90, 32))).second(se, shared, answer), ErrAuth},
		{"another e of the server", after(key, ce).second(refPublic(count(0x90, 32)), shared, answer), ErrAuth},
		{"without Diffie-Hellman", after(key, ce).second(se, make([]byte, 32), answer), ErrAuth},
		{"answer a byte short", after(key, ce).second(se, shared, answer[1:]), ErrAuth},
		{"answer a byte long", after(key, ce).second(se, shared, append(answer, 0)), ErrAuth},
		{"no answer", after(key, ce).second(se, shared, nil), ErrAuth},
		{"nothing", nil, ErrAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i, _ := initiate(t)
			_, _, err := i.Finish(tt.f2)
			wantErr(t, "finish", err, tt.want)
		})
	}
}

func TestReflection(t *testing.T) {
	i, f1 := initiate(t)
	_, _, f2 := handshake(t)
	_, _, err := i.Finish(f1)
	wantErr(t, "the client's own F1 as F2", err, ErrAuth)
	door, key := testDoor(t, testSecret), newRefKey(testSecret)
	_, err = door.Open(f2)
	wantErr(t, "F2 as F1", err, ErrAuth)
	_, err = door.Open(key.shut(zeroPadded(f2, F1Size)))
	wantErr(t, "F2 as F1, padded, behind the right door", err, ErrAuth)
}

// Points of low order make the Diffie-Hellman result zero whatever the other end
// chose. They are refused even when all else is right.
func TestLowOrderPoints(t *testing.T) {
	p := strings.Repeat("\xff", 30)
	points := map[string][]byte{
		"0":   make([]byte, 32),
		"1":   zeroPadded([]byte{1}, 32),
		"p-1": []byte("\xec" + p + "\x7f"),
		"p":   []byte("\xed" + p + "\x7f"),
		"p+1": []byte("\xee" + p + "\x7f"),
		"order 8": []byte("\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a" +
			"\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00"),
	}
	key, zero := newRefKey(testSecret), make([]byte, 32)
	for name, point := range points {
		t.Run("F1 "+name, func(t *testing.T) {
			f1, _ := key.f1(point, key.hint(point), make([]byte, HelloSize))
			call := must(testDoor(t, testSecret).Open(f1))(t)
			if _, _, err := call.Answer(nil); err == nil {
				t.Error("it was answered")
			}
		})
		t.Run("F2 "+name, func(t *testing.T) {
			i, f1 := initiate(t)
			_, n := key.f1(f1[:32], f1[32:40], zeroPadded([]byte("hello"), HelloSize))
			_, _, err := i.Finish(n.second(point, zero, make([]byte, AnswerSize)))
			wantErr(t, "finish", err, ErrAuth)
		})
		t.Run("rekey 1 "+name, func(t *testing.T) {
			_, server, _ := handshake(t)
			m1 := rekeyNoise(server).first(point, nil)
			if _, _, err := server.AnswerRekey(bytes.NewReader(serverE), m1); err == nil {
				t.Error("it was answered")
			}
		})
		t.Run("rekey 2 "+name, func(t *testing.T) {
			client, _, _ := handshake(t)
			r, m1, err := client.Rekey(bytes.NewReader(clientE))
			if err != nil {
				t.Fatal(err)
			}
			n := rekeyNoise(client)
			n.first(m1[:32], nil)
			_, err = r.Finish(n.second(point, zero, nil))
			wantErr(t, "finish", err, ErrAuth)
		})
	}
}

// A handshake without a key would be one with anybody.
func TestHandshakeWithoutKey(t *testing.T) {
	for _, initiator := range []bool{true, false} {
		wantPanic(t, func() { pskHandshake(initiator, bytes.NewReader(clientE), nil, nil) })
	}
}

func TestCannotFail(t *testing.T) {
	if got := cannotFail(1, nil); got != 1 {
		t.Errorf("it returns %d, want 1", got)
	}
	wantPanic(t, func() { cannotFail(1, ErrAuth) })
}

func wantPanic(t *testing.T, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Error("there was no panic")
		}
	}()
	f()
}

func TestDoorWithoutKeys(t *testing.T) {
	_, f1 := initiate(t)
	_, err := testDoor(t).Open(f1)
	wantErr(t, "open", err, ErrAuth)
}
