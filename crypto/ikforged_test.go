package crypto

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func TestStrongF1Bits(t *testing.T) {
	_, f1 := initiateStrong(t)
	door, key := testStrongDoor(t), newRefStrong(clientS, serverS, strongSecret)
	flips(f1, func(bit int, flipped []byte) {
		_, err := door.Open(flipped)
		wantErr(t, fmt.Sprintf("bit %d", bit), err, ErrAuth)
	})
	flips(f1[:doorAt], func(bit int, flipped []byte) {
		_, err := door.Open(key.shut(flipped))
		wantErr(t, fmt.Sprintf("bit %d behind the right door", bit), err, ErrAuth)
	})
	flips(f1[:pointSize], func(bit int, flipped []byte) {
		hinted := join(flipped, key.hint(flipped), f1[restAt:doorAt])
		_, err := door.Open(key.shut(hinted))
		wantErr(t, fmt.Sprintf("bit %d of e behind the right door with the right hint", bit), err, ErrAuth)
	})
	if _, err := door.Open(f1); err != nil {
		t.Errorf("the whole flight after all the damaged ones: %v", err)
	}
}

// refPayload is the payload of the test's first flight.
func refPayload() []byte {
	p := binary.BigEndian.AppendUint64(nil, testNumber)
	p = binary.BigEndian.AppendUint64(p, testBefore)
	return zeroPadded(append(p, "hello"...), 72)
}

// Each of these flights is right in all points but one.
func TestStrongF1Forged(t *testing.T) {
	key := newRefStrong(clientS, serverS, strongSecret)
	e := refPublic(clientE)
	hint := key.hint(e)
	flight := func(change func(*refStrong)) []byte {
		k := key
		change(&k)
		f1, _ := k.f1(clientE, hint, refPayload())
		return key.shut(f1)
	}
	hinted := func(hint []byte) []byte {
		f1, _ := key.f1(clientE, hint, refPayload())
		return f1
	}
	good := hinted(hint)
	_, ours := initiateStrong(t)
	equal(t, "the second implementation's flight", good, ours)
	m := func(es, static, ss []byte) []byte {
		m := key.start(hint).firstIK(e, es, static, ss, refPayload())
		return key.shut(join(m[:32], hint, m[32:]))
	}
	es, ss := refShared(clientE, key.serverPublic), refShared(clientS, key.serverPublic)
	otherS, otherServer := count(0x90, 32), refPublic(count(0x70, 32))
	zero := make([]byte, 32)
	tests := []struct {
		name string
		f1   []byte
		want error
	}{
		{"right", good, nil},
		{"right, made by hand", m(es, key.clientPublic, ss), nil},
		{"wrong door", join(good[:doorAt], refMAC(newBlake, key.door, good[:doorAt])[:doorSize]), ErrAuth},
		{"no door", join(good[:doorAt], make([]byte, doorSize)), ErrAuth},
		{"door of another server", refStrong{door: otherServer, id: key.id}.shut(good), ErrAuth},
		{"hint of zeros", hinted(make([]byte, hintSize)), ErrAuth},
		{"hint without e", hinted(key.id), ErrAuth},
		{"hint of another e", hinted(key.hint(refPublic(serverE))), ErrAuth},
		{"hint to an unknown link", hinted(refKey{door: key.door, id: count(1, 8)}.hint(e)), ErrAuth},
		{"another client's key", m(es, refPublic(otherS), refShared(otherS, key.serverPublic)), ErrAuth},
		{"another client's key, without a secret", m(es, refPublic(otherS), nil), ErrAuth},
		{"another client's key, with zeros", m(es, refPublic(otherS), zero), ErrAuth},
		{"e as the client's key", m(es, e, es), ErrAuth},
		{"the server's key as the client's", m(es, key.serverPublic, refShared(serverS, key.serverPublic)), ErrAuth},
		{"the client's public key without its private one", m(es, key.clientPublic, refShared(otherS, key.serverPublic)), ErrAuth},
		{"ss is zeros", m(es, key.clientPublic, zero), ErrAuth},
		{"ss is es", m(es, key.clientPublic, es), ErrAuth},
		{"es is zeros", m(zero, key.clientPublic, ss), ErrAuth},
		{"for another server", flight(func(k *refStrong) { k.serverPublic = otherServer }), ErrAuth},
		{"another id in the prologue", flight(func(k *refStrong) { k.id = count(1, 8) }), ErrAuth},
		{"zeros behind the door", key.shut(make([]byte, F1Size)), ErrAuth},
		{"a flight with a shared key", key.shut(psk(t)), ErrAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testStrongDoor(t).Open(tt.f1)
			wantErr(t, "open", err, tt.want)
		})
	}
}

// psk returns a first flight with a shared key.
func psk(t *testing.T) []byte {
	_, f1 := initiate(t)
	return f1
}

// Each of these flights is right in all points but one.
func TestStrongF2Forged(t *testing.T) {
	key := newRefStrong(clientS, serverS, strongSecret)
	ce := refPublic(clientE)
	answer := make([]byte, AnswerSize)
	after := func() *refNoise {
		_, n := key.f1(clientE, key.hint(ce), refPayload())
		return n
	}
	ee, se, e := refShared(serverE, ce), refShared(serverE, key.clientPublic), refPublic(serverE)
	otherE := count(0x90, 32)
	_, elsewhere := key.f1(otherE, key.hint(refPublic(otherE)), refPayload())
	zero := make([]byte, 32)
	_, _, ours := strongHandshakeOf(t)
	tests := []struct {
		name string
		f2   []byte
		want error
	}{
		{"right", key.f2(after(), serverE, ce, answer), nil},
		{"the package's own", ours, nil},
		{"another secret", after().secondIK(e, ee, se, testSecret, answer), ErrAuth},
		{"secret of zeros", after().secondIK(e, ee, se, zero, answer), ErrAuth},
		{"without ee", after().secondIK(e, zero, se, key.psk, answer), ErrAuth},
		{"without se", after().secondIK(e, ee, zero, key.psk, answer), ErrAuth},
		{"another e of the server", after().secondIK(refPublic(otherE), ee, se, key.psk, answer), ErrAuth},
		{"for another flight", key.f2(elsewhere, serverE, refPublic(otherE), answer), ErrAuth},
		{"answer a byte short", key.f2(after(), serverE, ce, answer[1:]), ErrAuth},
		{"answer a byte long", key.f2(after(), serverE, ce, append(answer, 0)), ErrAuth},
		{"nothing", nil, ErrAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i, _ := initiateStrong(t)
			_, _, err := i.Finish(tt.f2)
			wantErr(t, "finish", err, tt.want)
		})
	}
}

// Points of low order make a secret zero whatever the other end's key is.
func TestStrongLowOrderPoints(t *testing.T) {
	p := strings.Repeat("\xff", 30)
	key := newRefStrong(clientS, serverS, strongSecret)
	zero := make([]byte, 32)
	for name, point := range map[string][]byte{
		"0":   make([]byte, 32),
		"1":   zeroPadded([]byte{1}, 32),
		"p-1": []byte("\xec" + p + "\x7f"),
		"p":   []byte("\xed" + p + "\x7f"),
		"p+1": []byte("\xee" + p + "\x7f"),
		"order 8": []byte("\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a" +
			"\xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00"),
	} {
		t.Run("F1 "+name, func(t *testing.T) {
			hint := key.hint(point)
			m := key.start(hint).firstIK(point, zero, key.clientPublic, refShared(clientS, key.serverPublic), refPayload())
			_, err := testStrongDoor(t).Open(key.shut(join(m[:32], hint, m[32:])))
			wantErr(t, "open", err, ErrAuth)
		})
		t.Run("F2 "+name, func(t *testing.T) {
			i, f1 := initiateStrong(t)
			_, n := key.f1(clientE, f1[32:40], refPayload())
			_, _, err := i.Finish(n.secondIK(point, zero, zero, key.psk, make([]byte, AnswerSize)))
			wantErr(t, "finish", err, ErrAuth)
			_, _, good := strongHandshakeOf(t)
			_, _, err = i.Finish(good)
			wantErr(t, "the right flight after it", err, nil)
		})
		t.Run("public key "+name, func(t *testing.T) {
			_, err := ParsePublicKey(textOf(publicKind, (*subkey)(point)))
			if err == nil || !strings.Contains(err.Error(), "nobody can have") {
				t.Errorf("error %v", err)
			}
		})
	}
}
