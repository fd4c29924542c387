package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A strong key file is text in lines of words; # starts a comment.
//
//	vpnd-strong-1 server            or client: which end it is for
//	own private:BASE64              this end's private key
//	peer public:BASE64              the other end's public key
//	shared secret:BASE64            the same on both ends
//
// Sealed under a pass phrase, the last three lines are the text in the box; see
// sealedText for its two lines. The header of the seal is the first line.
//
//	vpnd-sealed-1 server
//	argon2id ...
//	box ...
const (
	strongTag = "vpnd-strong-1"
	sealedTag = "vpnd-sealed-1"

	ownWord    = "own"
	peerWord   = "peer"
	sharedWord = "shared"
)

// ErrSharedKey says that a file holds a key of the other kind; LoadKey reads it.
var ErrSharedKey = errors.New("this is a shared key (vpnd -m): a strong key is needed here (vpnd -x)")

// StrongFile is a strong key file that was read. It may be sealed still.
type StrongFile struct {
	role     Role
	key      *StrongKey // nil while it is sealed
	sealed   sealedText
	comments []string
}

// LoadStrong reads a strong key file. What LoadKey demands of a file holds here too.
func LoadStrong(path string) (*StrongFile, error) {
	text, err := ReadPrivate(keyFile, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("key file %s does not exist: make a pair with vpnd -x, and bring each end its file", path)
	}
	if err != nil {
		return nil, err
	}
	defer clear(text)
	f, err := ParseStrong(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return f, nil
}

// Role returns which end the file is for.
func (f *StrongFile) Role() Role { return f.role }

// Sealed reports whether Open needs a pass phrase.
func (f *StrongFile) Sealed() bool { return f.key == nil }

// Open returns the key. The pass phrase is not looked at unless the file is sealed.
// The error is ErrPassphrase if it does not fit.
func (f *StrongFile) Open(passphrase []byte) (*StrongKey, error) {
	if !f.Sealed() {
		return f.key, nil
	}
	text, err := f.sealed.open(passphrase, f.header())
	if err != nil {
		return nil, err
	}
	defer clear(text)
	key, err := parseContent(f.role, linesOf(text))
	if err != nil {
		return nil, fmt.Errorf("in the box: %w", err)
	}
	return key, nil
}

func (f *StrongFile) header() string { return sealedTag + " " + string(f.role) }

// fileLine is a line that is no comment. The words lie in the file's text, so that
// clearing it clears them.
type fileLine struct {
	number int
	words  [][]byte
}

func linesOf(text []byte) (lines []fileLine) {
	n := 0
	for line := range bytes.Lines(text) {
		n++
		if words := bytes.Fields(line); len(words) > 0 && words[0][0] != '#' {
			lines = append(lines, fileLine{n, words})
		}
	}
	return lines
}

// ParseStrong reads the text of a strong key file.
func ParseStrong(text []byte) (*StrongFile, error) {
	lines := linesOf(text)
	if len(lines) == 0 {
		return nil, errors.New("no key in it: make a pair with vpnd -x")
	}
	f := &StrongFile{}
	tag, err := f.parseTag(lines[0])
	if err != nil {
		return nil, err
	}
	if tag == sealedTag {
		err = f.parseSealed(lines[1:])
	} else {
		f.key, err = parseContent(f.role, lines[1:])
	}
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(text) {
		if line[0] == '#' {
			f.comments = append(f.comments, string(bytes.TrimSpace(line)))
		}
	}
	return f, nil
}

func (f *StrongFile) parseTag(l fileLine) (tag string, err error) {
	tag = string(l.words[0])
	switch {
	case tag == keyTag:
		return "", fmt.Errorf("line %d: %w", l.number, ErrSharedKey)
	case tag != strongTag && tag != sealedTag || len(l.words) != 2:
		return "", fmt.Errorf("line %d is not %q or %q and an end: make a pair with vpnd -x", l.number, strongTag, sealedTag)
	}
	f.role = Role(l.words[1])
	if f.role != ServerRole && f.role != ClientRole {
		return "", fmt.Errorf("line %d: the end is neither %s nor %s", l.number, ServerRole, ClientRole)
	}
	return tag, nil
}

func (f *StrongFile) parseSealed(lines []fileLine) error {
	if len(lines) != 2 {
		return fmt.Errorf("%d lines after the first, not 2: the file is damaged", len(lines))
	}
	if err := f.sealed.parseSalt(lines[0].words); err != nil {
		return fmt.Errorf("line %d: %w", lines[0].number, err)
	}
	if err := f.sealed.parseBox(lines[1].words); err != nil {
		return fmt.Errorf("line %d: %w", lines[1].number, err)
	}
	return nil
}

// parseContent reads the three lines that make a key, in any order.
func parseContent(role Role, lines []fileLine) (*StrongKey, error) {
	var own *Identity
	var peer PublicKey
	var secret Secret
	parts := map[string]func([]byte) error{
		ownWord: func(text []byte) error {
			private, err := privateKind.parse(text)
			if err == nil {
				own, err = identityOf(private)
			}
			return err
		},
		peerWord:   func(text []byte) (err error) { peer, err = ParsePublicKey(string(text)); return err },
		sharedWord: func(text []byte) (err error) { secret.bytes, err = secretKind.parse(text); return err },
	}
	for _, l := range lines {
		word := string(l.words[0])
		parse, wanted := parts[word]
		if !wanted || len(l.words) != 2 {
			return nil, fmt.Errorf("line %d is not %q, %q or %q and a key, or comes twice: the file is damaged", l.number, ownWord, peerWord, sharedWord)
		}
		delete(parts, word)
		if err := parse(l.words[1]); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", l.number, word, err)
		}
	}
	for _, word := range []string{ownWord, peerWord, sharedWord} {
		if parts[word] != nil {
			return nil, fmt.Errorf("the line %q is missing: the file is damaged", word)
		}
	}
	return newStrongKey(role, own, peer, secret)
}

// content returns what parseContent reads.
func (k *StrongKey) content() []byte {
	text := make([]byte, 0, 3*2*tokenSize) // never moved: no copies are left
	text = append(privateKind.append(append(text, ownWord+" "...), k.own.private), '\n')
	text = append(publicKind.append(append(text, peerWord+" "...), (*subkey)(&k.peer)), '\n')
	return append(secretKind.append(append(text, sharedWord+" "...), k.secret.bytes), '\n')
}

// fileText returns a key file, sealed if there is a pass phrase.
func (k *StrongKey) fileText(comments []string, random io.Reader, passphrase []byte) ([]byte, error) {
	content := k.content()
	defer clear(content)
	if passphrase == nil {
		return slices.Concat(commentText(comments), []byte(strongTag+" "+string(k.role)+"\n"), content), nil
	}
	f := StrongFile{role: k.role}
	sealed, err := sealText(random, passphrase, f.header(), content)
	if err != nil {
		return nil, err
	}
	return slices.Concat(commentText(comments), []byte(f.header()+"\n"+sealed.String())), nil
}

func commentText(comments []string) (text []byte) {
	for _, c := range comments {
		text = append(append(text, c...), '\n')
	}
	return text
}
