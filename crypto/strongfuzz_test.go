package crypto

import (
	"bytes"
	"strings"
	"testing"
)

// What is read can be written and read again, and is the same then.
func FuzzParseStrong(f *testing.F) {
	for _, tt := range strongTests(f) {
		f.Add([]byte(tt.text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := ParseStrong(text)
		if (file == nil) != (err != nil) {
			t.Fatalf("file %v, error %v", file, err)
		}
		if err != nil {
			return
		}
		again := file.header() + "\n" + file.sealed.String()
		if !file.Sealed() {
			again = string(must(file.key.fileText(file.comments, nil, nil))(t))
		}
		back := must(ParseStrong([]byte(again)))(t)
		if back.role != file.role || back.Sealed() != file.Sealed() || back.sealed.String() != file.sealed.String() {
			t.Errorf("read %v, then %v", file, back)
		}
		if !file.Sealed() && !bytes.Equal(back.key.content(), file.key.content()) {
			t.Error("the key is another one when it is read again")
		}
		if strings.Join(back.comments, "\n") != strings.Join(file.comments, "\n") && !file.Sealed() {
			t.Errorf("comments %q, then %q", file.comments, back.comments)
		}
	})
}

// Each text of a token stands for other bytes.
func FuzzParseTokens(f *testing.F) {
	server, _ := strongPair(f)
	for _, seed := range []string{
		"", "public", "public:", ":", server.own.public.String(), server.secret.Text(), textOf(privateKind, server.own.private),
		textOf(publicKind, new(subkey)), "public:" + strings.Repeat("/", 43) + "=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		found := 0
		for k := range kindNames {
			if b, err := k.parse([]byte(text)); err == nil {
				found++
				if textOf(k, b) != text {
					t.Errorf("%q is written as %q", text, textOf(k, b))
				}
			}
		}
		if found > 1 {
			t.Errorf("%q is %d things", text, found)
		}
		if p, err := ParsePublicKey(text); err == nil && p.String() != text {
			t.Errorf("%q is written as %v", text, p)
		}
	})
}

// Nothing opens but what was sealed.
func FuzzSealedText(f *testing.F) {
	good, key := sealedForTest(f)
	f.Add(good.box, good.salt[:], "header")
	f.Add(good.box[:24], good.salt[:], "header")
	f.Add([]byte{}, good.salt[:], "")
	f.Fuzz(func(t *testing.T, box, salt []byte, header string) {
		s := sealedText{box: box}
		copy(s.salt[:], salt)
		text, err := s.openWith(key, header)
		if bytes.Equal(box, good.box) && s.salt == good.salt && header == "header" {
			wantErr(t, "the right box", err, nil)
			return
		}
		wantErr(t, "another box", err, ErrPassphrase)
		if text != nil {
			t.Error("text came with the error")
		}
	})
}

// Whatever comes, only the one flight that was made with the key opens. The bytes
// are tried as they are, behind the right door, and behind the right door with the
// right hint.
func FuzzStrongDoorOpen(f *testing.F) {
	_, good := initiateStrong(f)
	door, key := testStrongDoor(f), newRefStrong(clientS, serverS, strongSecret)
	f.Add(good)
	f.Add(good[:F1Size-1])
	f.Add(append(join(good), 0))
	f.Add(make([]byte, F1Size))
	f.Add([]byte{})
	for _, bit := range []int{0, 255, 256, 319, 320, 703, 704, 1407, 1408, 1535} {
		flipped := join(good)
		flipped[bit/8] ^= 1 << (bit % 8)
		f.Add(flipped)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tries := [][]byte{b}
		if len(b) >= doorAt {
			hinted := join(b[:32], key.hint(b[:32]), b[40:doorAt])
			tries = append(tries, key.shut(b), key.shut(hinted))
		}
		for _, f1 := range tries {
			call, err := door.Open(f1)
			if bytes.Equal(f1, good) {
				if err != nil || call.Number != testNumber {
					t.Errorf("the right flight: %v, %v", call, err)
				}
				continue
			}
			wantErr(t, "another flight", err, ErrAuth)
			if call != nil {
				t.Error("a call came with the error")
			}
		}
	})
}
