package crypto

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// An identity file is the key pair of an end that has many peers, whose public keys
// stand elsewhere. It is text in lines of words, as a strong key file is:
//
//	vpnd-identity-1
//	own private:BASE64
const identityTag = "vpnd-identity-1"

// MakeIdentity writes a new key pair to path, mode 0600, and returns it. A file that
// exists is left alone and is an error.
func MakeIdentity(path string, random io.Reader) (*Identity, error) {
	own, err := NewIdentity(random)
	if err != nil {
		return nil, fmt.Errorf("make key file %s: %w", path, err)
	}
	text := make([]byte, 0, maxKeyFile) // never moved: no copies are left
	text = fmt.Appendf(text, "# vpnd key pair, made %s. Its public key is\n# %v\n"+
		"# Keep this file secret: whoever has it can play its owner.\n%s\n%s ",
		time.Now().UTC().Format(time.DateOnly), own, identityTag, ownWord)
	text = append(privateKind.append(text, own.private), '\n')
	defer clear(text)
	if err := writeNew(path, text); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("write key file %s: %w", path, err)
	}
	return own, nil
}

// LoadIdentity reads an identity file. What LoadKey demands of a file holds here too.
func LoadIdentity(path string) (*Identity, error) {
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("key file %s does not exist: make it with -m", path)
	}
	text, err := ReadPrivate(keyFile, path)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	own, err := ParseIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return own, nil
}

// ParseIdentity reads the text of an identity file.
func ParseIdentity(text []byte) (*Identity, error) {
	lines := linesOf(text)
	if len(lines) == 0 {
		return nil, errors.New("no key in it: make one with -m")
	}
	if first := lines[0]; len(first.words) != 1 || string(first.words[0]) != identityTag {
		return nil, fmt.Errorf("line %d is not %q: this is another kind of file", first.number, identityTag)
	}
	if len(lines) != 2 {
		return nil, fmt.Errorf("%d lines after the first, not 1: the file is damaged", len(lines)-1)
	}
	second := lines[1]
	if len(second.words) != 2 || string(second.words[0]) != ownWord {
		return nil, fmt.Errorf("line %d is not %q and a key: the file is damaged", second.number, ownWord)
	}
	private, err := privateKind.parse(second.words[1])
	if err != nil {
		return nil, fmt.Errorf("line %d: %s: %w", second.number, ownWord, err)
	}
	return identityOf(private)
}
