package crypto

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// letterPeople are a gateway, a registry and a password.
func letterPeople(t *testing.T) (gateway, registry *Identity, password Password) {
	t.Helper()
	return must(identityOf((*subkey)(clientS)))(t), must(identityOf((*subkey)(serverS)))(t), NewPassword("a password of both")
}

func writeLetter(t *testing.T, own *Identity, to PublicKey, password Password, text string) (*Question, []byte) {
	t.Helper()
	q, letter, err := WriteQuestion(rand.Reader, own, to, password, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return q, letter
}

func TestLetters(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	for _, text := range []string{"", "where is everybody?", strings.Repeat("x", 1000)} {
		q, letter := writeLetter(t, gateway, registry.Public(), password, text)
		if len(letter) != len(text)+QuestionOverhead {
			t.Errorf("the question of %d bytes has %d", len(text), len(letter))
		}
		asked := must(OpenQuestion(rand.Reader, registry, password, letter))(t)
		if asked.From != gateway.Public() || string(asked.Text) != text {
			t.Errorf("opened %q from %v", asked.Text, asked.From)
		}
		long := bytes.Repeat([]byte("y"), MaxAnswerText)
		answer := must(asked.Answer(long))(t)
		if len(answer) != len(long)+AnswerOverhead {
			t.Errorf("the answer has %d bytes", len(answer))
		}
		if got := must(q.Open(answer))(t); !bytes.Equal(got, long) {
			t.Errorf("the answer is %d other bytes", len(got))
		}
		if _, err := q.Open(answer); err != ErrAuth {
			t.Errorf("opened again: %v", err)
		}
	}
}

// An answer that is too long leaves the question open.
func TestLetterBounds(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	q, letter := writeLetter(t, gateway, registry.Public(), password, "?")
	asked := must(OpenQuestion(rand.Reader, registry, password, letter))(t)
	if _, err := asked.Answer(make([]byte, MaxAnswerText+1)); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("error %v", err)
	}
	answer := must(asked.Answer([]byte("!")))(t)
	if got := must(q.Open(answer))(t); string(got) != "!" {
		t.Errorf("answer %q", got)
	}
	if again, err := asked.Answer([]byte("!")); err == nil || again != nil {
		t.Errorf("answered twice: %v", err)
	}
}

// Every bit of both letters counts, and every byte.
func TestLetterForged(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	_, letter := writeLetter(t, gateway, registry.Public(), password, "?")
	each := func(what string, whole []byte, open func([]byte) error) {
		for n := range len(whole) * 8 {
			forged := bytes.Clone(whole)
			forged[n/8] ^= 1 << (n % 8)
			if err := open(forged); err != ErrAuth {
				t.Fatalf("%s with bit %d turned: %v", what, n, err)
			}
		}
		for n := range whole {
			if err := open(whole[:n]); err != ErrAuth {
				t.Fatalf("%s of %d bytes: %v", what, n, err)
			}
		}
		if err := open(append(bytes.Clone(whole), 0)); err != ErrAuth {
			t.Fatalf("longer %s: %v", what, err)
		}
	}
	each("question", letter, func(l []byte) error {
		asked, err := OpenQuestion(rand.Reader, registry, password, l)
		if asked != nil {
			t.Error("something was opened")
		}
		return err
	})
	open := func(forge func([]byte) []byte) error {
		q, letter := writeLetter(t, gateway, registry.Public(), password, "?")
		asked := must(OpenQuestion(rand.Reader, registry, password, letter))(t)
		text, err := q.Open(forge(must(asked.Answer([]byte("!")))(t)))
		if text != nil {
			t.Error("something was opened")
		}
		return err
	}
	for n := range AnswerOverhead + 1 {
		if err := open(func(a []byte) []byte { a[n] ^= 1; return a }); err != ErrAuth {
			t.Errorf("answer with byte %d turned: %v", n, err)
		}
		if err := open(func(a []byte) []byte { return a[:n] }); err != ErrAuth {
			t.Errorf("answer of %d bytes: %v", n, err)
		}
	}
}

// Who lacks one of the three has nothing.
func TestLetterStrangers(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	other := must(NewIdentity(rand.Reader))(t)
	q, letter := writeLetter(t, gateway, registry.Public(), password, "?")
	for _, tt := range []struct {
		name     string
		own      *Identity
		password Password
	}{
		{"another registry", other, password},
		{"the gateway itself", gateway, password},
		{"another password", registry, NewPassword("a password of Both")},
		{"no password", registry, NewPassword("")},
	} {
		if _, err := OpenQuestion(rand.Reader, tt.own, tt.password, letter); err != ErrAuth {
			t.Errorf("%s opened it: %v", tt.name, err)
		}
	}
	// A false registry answers what it cannot read.
	_, own := writeLetter(t, other, other.Public(), password, "?")
	asked := must(OpenQuestion(rand.Reader, other, password, own))(t)
	if _, err := q.Open(must(asked.Answer([]byte("!")))(t)); err != ErrAuth {
		t.Errorf("a false answer: %v", err)
	}
	// An answer to another question.
	q, letter = writeLetter(t, gateway, registry.Public(), password, "?")
	q2, letter2 := writeLetter(t, gateway, registry.Public(), password, "?")
	asked = must(OpenQuestion(rand.Reader, registry, password, letter))(t)
	if bytes.Equal(letter, letter2) {
		t.Error("two letters are the same")
	}
	answer := must(asked.Answer([]byte("!")))(t)
	if _, err := q2.Open(answer); err != ErrAuth {
		t.Errorf("the answer to another question: %v", err)
	}
	must(q.Open(answer))(t)
	if asked.From == other.Public() {
		t.Error("the letter is from another one")
	}
}

// Without random bytes, or with a key that nobody can have, there is no letter.
func TestLetterErrors(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	none := iotest.ErrReader(io.ErrUnexpectedEOF)
	if q, letter, err := WriteQuestion(none, gateway, registry.Public(), password, nil); !errors.Is(err, io.ErrUnexpectedEOF) || q != nil || letter != nil {
		t.Errorf("question without random bytes: %v", err)
	}
	if q, letter, err := WriteQuestion(rand.Reader, gateway, PublicKey{}, password, nil); err == nil || q != nil || letter != nil {
		t.Errorf("question to nobody: %v", err)
	}
	_, letter := writeLetter(t, gateway, registry.Public(), password, "?")
	asked := must(OpenQuestion(none, registry, password, letter))(t)
	if answer, err := asked.Answer(nil); !errors.Is(err, io.ErrUnexpectedEOF) || answer != nil {
		t.Errorf("answer without random bytes: %v", err)
	}
}

func TestSign(t *testing.T) {
	_, registry, _ := letterPeople(t)
	its := registry.Sign([]byte("a label"))
	equal(t, "sign key", its.key[:], derive(serverS, []byte("a label"), "vpnd letter sign")[:])
	mine := NewSign(its.Key())
	message := []byte("the table has changed")
	tag := its.Tag(message)
	if len(tag) != SignSize || !mine.Check(message, tag) {
		t.Errorf("tag %x is not that of the other end", tag)
	}
	for n := range len(tag) * 8 {
		forged := bytes.Clone(tag)
		forged[n/8] ^= 1 << (n % 8)
		if mine.Check(message, forged) {
			t.Errorf("tag with bit %d turned is taken", n)
		}
	}
	for n := range tag {
		if mine.Check(message, tag[:n]) {
			t.Errorf("%d bytes of the tag are enough", n)
		}
	}
	if mine.Check(message[:len(message)-1], tag) || mine.Check(nil, tag) {
		t.Error("the tag of another message is taken")
	}
	other := must(NewIdentity(rand.Reader))(t)
	for name, s := range map[string]Sign{
		"another label":    registry.Sign([]byte("a Label")),
		"no label":         registry.Sign(nil),
		"another registry": other.Sign([]byte("a label")),
		"another key":      NewSign([SignKeySize]byte{}),
	} {
		if mine.Check(message, s.Tag(message)) {
			t.Errorf("%s has the same sign", name)
		}
	}
}

// The bytes that others have to make.
func TestLetterVector(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	equal(t, "psk", password.psk[:], derive([]byte("a password of both"), nil, "vpnd letter psk")[:])
	q, letter, err := WriteQuestion(bytes.NewReader(clientE), gateway, registry.Public(), password, []byte("question"))
	if err != nil {
		t.Fatal(err)
	}
	ref := newRefLetter(t, gateway, registry, password)
	equal(t, "question", letter, ref.question(clientE, "question"))
	asked := must(OpenQuestion(bytes.NewReader(serverE), registry, password, letter))(t)
	answer := must(asked.Answer([]byte("answer")))(t)
	equal(t, "answer", answer, ref.answer(serverE, "answer"))
	must(q.Open(answer))(t)
}

func TestNothingPrintsLetters(t *testing.T) {
	gateway, registry, password := letterPeople(t)
	sign := registry.Sign(nil)
	q, letter := writeLetter(t, gateway, registry.Public(), password, "?")
	asked := must(OpenQuestion(rand.Reader, registry, password, letter))(t)
	secrets := map[string][]byte{"psk": password.psk[:], "sign": sign.key[:], "private": clientS, "registry's": serverS}
	for _, v := range []any{password, &password, sign, &sign, q, *q, asked, *asked, []Password{password}, struct{ P Password }{password}} {
		text := prints(v)
		for name, secret := range secrets {
			if leaks(text, secret) {
				t.Errorf("%T prints the %s", v, name)
			}
		}
	}
}
