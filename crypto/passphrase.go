package crypto

import (
	"bytes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/chacha20poly1305"
)

// A sealed text is two lines:
//
//	argon2id t=3 m=65536 p=4 BASE64(salt 16)
//	box BASE64(nonce 24 | ciphertext | tag 16)
//
// The key is Argon2id (RFC 9106) of the pass phrase with the second profile that
// section 4 of the RFC recommends, the one for little memory: 3 passes over 64 MiB
// by 4 lanes, 32 bytes. The box is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03).
// Its associated data is all that stands before the box: the header that the caller
// gives, and the first line. Other parameters are another version of the format, and
// not accepted in this one: whoever can change the file could weaken them.
const (
	argonPasses    = 3
	argonMemory    = 64 << 10 // KiB
	argonLanes     = 4
	saltSize       = 16
	argonWord      = "argon2id"
	boxWord        = "box"
	minPassphrase  = 8    // characters
	maxPassphrase  = 1024 // bytes
	maxSealedBytes = maxKeyFile
)

var argonParameters = fmt.Sprintf("t=%d m=%d p=%d", argonPasses, argonMemory, argonLanes)

// ErrPassphrase says that a sealed key file does not open.
var ErrPassphrase = errors.New("wrong pass phrase, or the file was changed")

// CheckPassphrase returns why a pass phrase should seal nothing.
func CheckPassphrase(passphrase []byte) error {
	switch n := utf8.RuneCount(passphrase); {
	case n == 0:
		return errors.New("the pass phrase is empty")
	case n < minPassphrase:
		return fmt.Errorf("the pass phrase has %d characters: at least %d", n, minPassphrase)
	case len(passphrase) > maxPassphrase:
		return fmt.Errorf("the pass phrase has %d bytes: at most %d", len(passphrase), maxPassphrase)
	}
	return nil
}

// sealedText is the two lines, taken apart.
type sealedText struct {
	salt [saltSize]byte
	box  []byte
}

// stretch is Argon2id: it makes a key that takes long to guess.
func stretch(passphrase []byte, salt [saltSize]byte) *subkey {
	return (*subkey)(argon2.IDKey(passphrase, salt[:], argonPasses, argonMemory, argonLanes, uint32(len(subkey{}))))
}

// sealText encrypts text under a pass phrase.
func sealText(random io.Reader, passphrase []byte, header string, text []byte) (sealedText, error) {
	var s sealedText
	if err := CheckPassphrase(passphrase); err != nil {
		return s, err
	}
	nonce := make([]byte, chacha20poly1305.NonceSizeX, maxSealedBytes)
	for _, b := range [][]byte{s.salt[:], nonce} {
		if _, err := io.ReadFull(random, b); err != nil {
			return s, fmt.Errorf("read random bytes: %w", err)
		}
	}
	key := stretch(passphrase, s.salt)
	defer clear(key[:])
	s.box = boxCipher(key).Seal(nonce, nonce, text, s.associated(header))
	return s, nil
}

// open decrypts the text.
func (s sealedText) open(passphrase []byte, header string) ([]byte, error) {
	key := stretch(passphrase, s.salt)
	defer clear(key[:])
	return s.openWith(key, header)
}

func (s sealedText) openWith(key *subkey, header string) ([]byte, error) {
	if len(s.box) < chacha20poly1305.NonceSizeX {
		return nil, ErrPassphrase
	}
	nonce, box := s.box[:chacha20poly1305.NonceSizeX], s.box[chacha20poly1305.NonceSizeX:]
	text, err := boxCipher(key).Open(nil, nonce, box, s.associated(header))
	if err != nil {
		return nil, ErrPassphrase
	}
	return text, nil
}

func boxCipher(key *subkey) cipher.AEAD { return cannotFail(chacha20poly1305.NewX(key[:])) }

func (s sealedText) associated(header string) []byte {
	return []byte(header + "\n" + s.saltLine() + "\n")
}

func (s sealedText) saltLine() string {
	return argonWord + " " + argonParameters + " " + base64.StdEncoding.EncodeToString(s.salt[:])
}

// String returns the two lines. They are no secret.
func (s sealedText) String() string {
	return s.saltLine() + "\n" + boxWord + " " + base64.StdEncoding.EncodeToString(s.box) + "\n"
}

// parseSalt reads the first line, which has been cut into words.
func (s *sealedText) parseSalt(words [][]byte) error {
	if len(words) != 5 || string(words[0]) != argonWord {
		return fmt.Errorf("it is not %q, parameters and a salt: the file is damaged", argonWord)
	}
	if got := bytes.Join(words[1:4], []byte(" ")); string(got) != argonParameters {
		return fmt.Errorf("the parameters of %s are not %s: the file is damaged, or from another version", argonWord, argonParameters)
	}
	salt, err := base64.StdEncoding.Strict().DecodeString(string(words[4]))
	if err != nil || len(salt) != saltSize {
		return errors.New("the salt is damaged")
	}
	s.salt = [saltSize]byte(salt)
	return nil
}

// parseBox reads the second line.
func (s *sealedText) parseBox(words [][]byte) (err error) {
	if len(words) != 2 || string(words[0]) != boxWord {
		return fmt.Errorf("it is not %q and sealed bytes: the file is damaged", boxWord)
	}
	if s.box, err = base64.StdEncoding.Strict().DecodeString(string(words[1])); err != nil {
		return errors.New("the sealed bytes are damaged (not base64)")
	}
	return nil
}
