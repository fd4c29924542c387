package crypto

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

const testPassphrase = "correct horse battery"

// sealedForTest returns a sealed text and the key that was made of the pass phrase.
// Making it takes long, so it is made once.
func sealedForTest(t testing.TB) (s sealedText, key *subkey) {
	t.Helper()
	s, key = sealedOnce()
	if key == nil {
		t.Fatal("the test's text was not sealed")
	}
	return sealedText{s.salt, join(s.box)}, key
}

var sealedOnce = sync.OnceValues(func() (sealedText, *subkey) {
	s, err := sealText(bytes.NewReader(count(1, 40)), []byte(testPassphrase), "header", []byte("the text"))
	if err != nil {
		return s, nil
	}
	return s, stretch([]byte(testPassphrase), s.salt)
})

func TestCheckPassphrase(t *testing.T) {
	for _, tt := range []struct{ name, passphrase, want string }{
		{"eight", "12345678", ""},
		{"eight of two bytes", "äöüßäöüß", ""},
		{"longest", strings.Repeat("a", 1024), ""},
		{"none", "", "is empty"},
		{"seven", "1234567", "has 7 characters: at least 8"},
		{"seven of two bytes", "äöüßäöü", "has 7 characters"},
		{"long", strings.Repeat("a", 1025), "has 1025 bytes: at most 1024"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckPassphrase([]byte(tt.passphrase))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if err != nil && tt.passphrase != "" && strings.Contains(err.Error(), tt.passphrase) {
				t.Error("the error holds the pass phrase")
			}
		})
	}
}

// The parameters are a part of the file format: the second recommendation of RFC
// 9106, section 4.
func TestStretch(t *testing.T) {
	salt := [16]byte(count(1, 16))
	got := stretch([]byte(testPassphrase), salt)
	equal(t, "key", got[:], argon2.IDKey([]byte(testPassphrase), salt[:], 3, 65536, 4, 32))
	if argonParameters != "t=3 m=65536 p=4" {
		t.Errorf("the parameters in the file are %q", argonParameters)
	}
}

// XChaCha20-Poly1305 as in draft-irtf-cfrg-xchacha-03, appendix A.3.1.
func TestBoxCipher(t *testing.T) {
	decode := func(s string) []byte { return must(hex.DecodeString(s))(t) }
	text := "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
	got := boxCipher((*subkey)(count(0x80, 32))).Seal(nil, count(0x40, 24), []byte(text), decode("50515253c0c1c2c3c4c5c6c7"))
	equal(t, "sealed", got, decode("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"+
		"731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e"+
		"3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e"+"c0875924c1c7987947deafd8780acf49"))
}

// The text is sealed with what the comment at sealedText says, and nothing else.
func TestSealText(t *testing.T) {
	s, key := sealedForTest(t)
	aead := must(chacha20poly1305.NewX(key[:]))(t)
	header := "header\nargon2id t=3 m=65536 p=4 " + base64.StdEncoding.EncodeToString(count(1, 16)) + "\n"
	nonce := count(17, 24)
	equal(t, "box", s.box, aead.Seal(join(nonce), nonce, []byte("the text"), []byte(header)))
	text, err := s.open([]byte(testPassphrase), "header")
	if err != nil || string(text) != "the text" {
		t.Errorf("opened %q, %v", text, err)
	}
	_, err = s.open([]byte(testPassphrase+" "), "header")
	wantErr(t, "another pass phrase", err, ErrPassphrase)
}

func TestSealTextRefused(t *testing.T) {
	if _, err := sealText(bytes.NewReader(count(1, 40)), nil, "header", nil); err == nil {
		t.Error("sealed without a pass phrase")
	}
	for n := range 40 {
		if _, err := sealText(bytes.NewReader(count(1, n)), []byte(testPassphrase), "header", nil); err == nil {
			t.Errorf("sealed with %d random bytes", n)
		}
	}
}

// Every bit of what is in the file counts.
func TestSealedBits(t *testing.T) {
	s, key := sealedForTest(t)
	flips(s.box, func(bit int, flipped []byte) {
		_, err := sealedText{s.salt, flipped}.openWith(key, "header")
		wantErr(t, fmt.Sprintf("bit %d of the box", bit), err, ErrPassphrase)
	})
	flips(s.salt[:], func(bit int, flipped []byte) {
		// Even if the key were the same.
		_, err := sealedText{[16]byte(flipped), s.box}.openWith(key, "header")
		wantErr(t, fmt.Sprintf("bit %d of the salt", bit), err, ErrPassphrase)
	})
	flips([]byte("header"), func(bit int, flipped []byte) {
		_, err := s.openWith(key, string(flipped))
		wantErr(t, fmt.Sprintf("bit %d of the header", bit), err, ErrPassphrase)
	})
	for n := range len(s.box) {
		_, err := sealedText{s.salt, s.box[:n]}.openWith(key, "header")
		wantErr(t, fmt.Sprintf("box of %d bytes", n), err, ErrPassphrase)
	}
	if _, err := s.openWith(key, "header"); err != nil {
		t.Errorf("whole: %v", err)
	}
}

func TestSealedLines(t *testing.T) {
	s, _ := sealedForTest(t)
	lines := linesOf([]byte(s.String()))
	var back sealedText
	if err := errors.Join(back.parseSalt(lines[0].words), back.parseBox(lines[1].words)); err != nil || len(lines) != 2 {
		t.Fatalf("%d lines, error %v", len(lines), err)
	}
	if back.String() != s.String() {
		t.Errorf("read %v, want %v", back, s)
	}
	salt := base64.StdEncoding.EncodeToString(s.salt[:])
	for _, tt := range []struct{ line, want string }{
		{"argon2id t=3 m=65536 p=4 " + salt, ""},
		{"argon2id t=3 m=65536 p=4", "it is not \"argon2id\""},
		{"argon2i t=3 m=65536 p=4 " + salt, "it is not \"argon2id\""},
		{"argon2id t=3 m=65536 p=4 " + salt + " x", "it is not \"argon2id\""},
		{"argon2id t=1 m=65536 p=4 " + salt, "the parameters"},
		{"argon2id t=3 m=8 p=4 " + salt, "the parameters"},
		{"argon2id t=3 m=65536 p=1 " + salt, "the parameters"},
		{"argon2id t=03 m=65536 p=4 " + salt, "the parameters"},
		{"argon2id t=3 m=65536 p=4 " + salt[:20], "the salt is damaged"},
		{"argon2id t=3 m=65536 p=4 !" + salt[1:], "the salt is damaged"},
		{"argon2id t=3 m=65536 p=4 " + strings.Repeat("A", 21) + "B==", "the salt is damaged"},
		{"argon2id t=3 m=65536 p=4 " + salt + salt, "the salt is damaged"},
		{"box", "it is not \"box\""},
		{"bax AAAA", "it is not \"box\""},
		{"box A", "not base64"},
	} {
		t.Run(tt.line, func(t *testing.T) {
			var s sealedText
			words := bytes.Fields([]byte(tt.line))
			err := s.parseSalt(words)
			if strings.HasPrefix(tt.line, "b") {
				err = s.parseBox(words)
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
