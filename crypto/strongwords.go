package crypto

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// A strong key also stands in one line, for a file that holds more than a key:
//
//	private:BASE64 public:BASE64 secret:BASE64
//
// They are this end's private key, the other end's public key, and what both share,
// in any order.

// NewClientKey makes the key of a new client of the server that has the public key.
func NewClientKey(random io.Reader, server PublicKey) (*StrongKey, error) {
	own, err := NewIdentity(random)
	if err != nil {
		return nil, err
	}
	secret, err := NewSecret(random)
	if err != nil {
		return nil, err
	}
	return newStrongKey(ClientRole, own, server, secret)
}

// Words returns the key in one line: for nothing but a file.
func (k *StrongKey) Words() string {
	text := append(privateKind.append(nil, k.own.private), ' ')
	text = append(publicKind.append(text, (*subkey)(&k.peer)), ' ')
	return string(secretKind.append(text, k.secret.bytes))
}

// ParseStrongWords reads what Words returns.
func ParseStrongWords(role Role, text string) (*StrongKey, error) {
	found := map[kind]*subkey{}
	for _, word := range bytes.Fields([]byte(text)) {
		prefix, _, _ := bytes.Cut(word, []byte(":"))
		k := kind(prefix)
		if kindNames[k] == "" || found[k] != nil {
			return nil, errors.New("one private, one public and one shared key belong here (private:... public:... secret:...)")
		}
		b, err := k.parse(word)
		if err != nil {
			return nil, err
		}
		found[k] = b
	}
	for _, k := range []kind{privateKind, publicKind, secretKind} {
		if found[k] == nil {
			return nil, fmt.Errorf("the %s is missing (%s:...)", kindNames[k], k)
		}
	}
	own, err := identityOf(found[privateKind])
	if err != nil {
		return nil, err
	}
	peer, err := ParsePublicKey(string(publicKind.append(nil, found[publicKind])))
	if err != nil {
		return nil, err
	}
	return newStrongKey(role, own, peer, Secret{found[secretKind]})
}
