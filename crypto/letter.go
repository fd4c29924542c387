package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/flynn/noise"
)

// A letter is what a gateway and the registry of a mesh send each other: one
// question and its answer, Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s. The gateway knows
// the registry's public key, the registry all gateways', and both a password.
//
//	question  e 32 | s 32+16 | text, 16
//	answer    e 32 | text, 16
//
//	psk      = HKDF(password, "", "vpnd letter psk", 32)
//	prologue = "vpnd letter 1"
//
// The password is mixed in before the text of the question and not after it (psk1, not
// psk2), as the registry obeys the question alone. It is never sent, and nobody can try
// passwords on a recorded letter without the registry's private key. Who looks on sees
// two random points and lengths, not who asks. A question can be sent again by anybody:
// its text needs a number that counts once. The answer can be read by the asker alone,
// so a question that is played again gains nothing.
//
// Beside letters the registry can mark short messages for a gateway, to which it has
// told the key of the mark in a letter. It remembers no such key:
//
//	sign key = HKDF(own private key, label, "vpnd letter sign", 32)
//	tag      = HMAC-SHA256(sign key, message) cut to 16
const (
	letterPrologue = "vpnd letter 1"
	letterPSKInfo  = "vpnd letter psk"
	letterSignInfo = "vpnd letter sign"

	// QuestionOverhead and AnswerOverhead are how much longer than its text a letter is.
	QuestionOverhead = 2*pointSize + 2*TagSize
	AnswerOverhead   = pointSize + TagSize
	// MaxAnswerText is the longest text of an answer.
	MaxAnswerText = noise.MaxMsgLen - AnswerOverhead
	// SignSize is the length of what Sign.Tag returns, SignKeySize that of a sign's key.
	SignSize    = 16
	SignKeySize = len(subkey{})
)

// Password is what all gateways of a mesh and its registry share. It prints as a word.
type Password struct{ psk *subkey }

// NewPassword derives a Password from its text.
func NewPassword(text string) Password {
	return Password{derive([]byte(text), nil, letterPSKInfo)}
}

// String gives nothing away.
func (p Password) String() string { return "password" }

// GoString returns the same as String.
func (p Password) GoString() string { return p.String() }

// Question is a question that waits for its answer.
type Question struct{ state *noise.HandshakeState }

// WriteQuestion writes a letter that the owner of the key to alone can open.
func WriteQuestion(random io.Reader, own *Identity, to PublicKey, password Password, text []byte) (*Question, []byte, error) {
	state := letterHandshake(noise.Config{Random: random, Initiator: true, PeerStatic: to[:]}, own, password)
	letter, _, _, err := state.WriteMessage(nil, text)
	if err != nil {
		return nil, nil, fmt.Errorf("write letter: %w", err)
	}
	return &Question{state}, letter, nil
}

// Open returns the text of the answer, once. Its error is ErrAuth.
func (q *Question) Open(answer []byte) ([]byte, error) {
	text, _, _, err := q.state.ReadMessage(nil, answer)
	if err != nil {
		return nil, ErrAuth
	}
	return text, nil
}

// Asked is a question that was opened. It can be answered once.
type Asked struct {
	// From is who wrote it: he has the private key, and the password.
	From PublicKey
	// Text is what was asked. That the question is genuine does not make it new.
	Text []byte

	state *noise.HandshakeState
}

// OpenQuestion opens a letter. Its error is ErrAuth. The answer's key is made from
// random.
func OpenQuestion(random io.Reader, own *Identity, password Password, letter []byte) (*Asked, error) {
	state := letterHandshake(noise.Config{Random: random}, own, password)
	text, _, _, err := state.ReadMessage(nil, letter)
	if err != nil {
		return nil, ErrAuth
	}
	return &Asked{PublicKey(state.PeerStatic()), text, state}, nil
}

// Answer writes a letter that only who asked can open.
func (a *Asked) Answer(text []byte) ([]byte, error) {
	if len(text) > MaxAnswerText {
		return nil, fmt.Errorf("answer of %d bytes, at most %d", len(text), MaxAnswerText)
	}
	letter, _, _, err := a.state.WriteMessage(nil, text)
	if err != nil {
		return nil, fmt.Errorf("write letter: %w", err)
	}
	return letter, nil
}

// letterHandshake returns the state before the first message.
func letterHandshake(c noise.Config, own *Identity, password Password) *noise.HandshakeState {
	c.CipherSuite = noiseSuite
	c.Pattern = noise.HandshakeIK
	c.PresharedKey = password.psk[:]
	c.PresharedKeyPlacement = 1
	c.StaticKeypair = noise.DHKey{Private: own.private[:], Public: own.public[:]}
	c.Prologue = []byte(letterPrologue)
	return cannotFail(noise.NewHandshakeState(c))
}

// Sign marks short messages. It prints as a word.
type Sign struct{ key *subkey }

// Sign returns the sign that belongs to a label.
func (i *Identity) Sign(label []byte) Sign {
	return Sign{derive(i.private[:], label, letterSignInfo)}
}

// NewSign returns the sign that has this key: what Key returned elsewhere.
func NewSign(key [SignKeySize]byte) Sign { return Sign{(*subkey)(&key)} }

// Key returns the key, for a letter to whom the sign is for, and for nothing else.
func (s Sign) Key() [SignKeySize]byte { return *s.key }

// Tag returns the mark of a message.
func (s Sign) Tag(message []byte) []byte {
	m := hmac.New(sha256.New, s.key[:])
	m.Write(message)
	return m.Sum(nil)[:SignSize]
}

// Check reports whether a message has its mark.
func (s Sign) Check(message, tag []byte) bool { return hmac.Equal(tag, s.Tag(message)) }

// String gives nothing away.
func (s Sign) String() string { return "sign" }

// GoString returns the same as String.
func (s Sign) GoString() string { return s.String() }
