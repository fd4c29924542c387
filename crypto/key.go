package crypto

import (
	"bufio"
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	keyTag       = "vpnd-psk-1" // kind and version of a shared key
	minSecret    = 16           // bytes of a usable secret
	maxSecret    = 1024         // bytes; more is no key but a mistake
	newSecret    = 32           // bytes of a secret that we make
	maxKeyFile   = 4096         // bytes of a key file
	keyFile      = "key file"
	keyIDSize    = 8
	clientIDSize = 8
)

// KeyID tells keys apart without telling anything about them. Both ends of a
// link print the same one.
type KeyID [keyIDSize]byte

// String returns the id in hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// ClientID tells clients that share a key apart.
type ClientID [clientIDSize]byte

// String returns the id in hexadecimal.
func (id ClientID) String() string { return hex.EncodeToString(id[:]) }

// Key is a shared key, in the form that the handshake uses. It prints as its
// id, never as its bytes.
type Key struct {
	id    KeyID
	psk   *subkey
	door  *subkey
	idKey *subkey
}

// subkey is 32 bytes derived from a shared key or a handshake. Whatever keeps
// one keeps a pointer: package fmt prints arrays and slices even in fields that
// are not exported, where no String method can stop it, but of a pointer in a
// field only the address.
type subkey [32]byte

// NewKey derives a Key from a secret of 16 to 1024 bytes.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("key of %d bytes is too short: at least %d", len(secret), minSecret)
	}
	if len(secret) > maxSecret {
		return nil, fmt.Errorf("key of %d bytes is too long: at most %d", len(secret), maxSecret)
	}
	k := &Key{
		psk:   derive(secret, nil, "vpnd 2 psk"),
		door:  derive(secret, nil, "vpnd 2 door"),
		idKey: derive(secret, nil, "vpnd 2 client id"),
	}
	copy(k.id[:], derive(secret, nil, "vpnd 2 key id")[:])
	return k, nil
}

// ID returns the key's id.
func (k *Key) ID() KeyID { return k.id }

// String returns the key's id, so that a key or a copy of one which is printed by
// mistake gives nothing away.
func (k Key) String() string { return "key " + k.id.String() }

// GoString returns the same as String.
func (k Key) GoString() string { return k.String() }

// ClientID returns the id of the client that has this key, runs on the given
// machine and calls itself instance.
func (k *Key) ClientID(machine, instance string) ClientID {
	m := hmac.New(sha256.New, k.idKey[:])
	io.WriteString(m, machine)
	m.Write([]byte{0})
	io.WriteString(m, instance)
	return ClientID(m.Sum(nil)[:clientIDSize])
}

// ErrStrongKey says that a file holds a key of the other kind; LoadStrong reads it.
var ErrStrongKey = errors.New("this is a strong key (vpnd -x): a shared key is needed here (vpnd -m)")

// LoadKey reads a shared key from a file. The file must be regular, not a
// symbolic link, owned by root or the effective user and closed to group and
// others; each of these has its own error. No error holds bytes of the key.
func LoadKey(path string) (*Key, error) {
	text, err := ReadPrivate(keyFile, path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("key file %s does not exist: make it with vpnd -m %s, and copy it to the other end", path, path)
	}
	if err != nil {
		return nil, err
	}
	k, err := ParseKey(text)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return k, nil
}

// ParseKey reads a shared key from the text of a key file.
func ParseKey(text []byte) (*Key, error) {
	var key *Key
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		words := strings.Fields(lines.Text())
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if words[0] == strongTag || words[0] == sealedTag {
			return nil, fmt.Errorf("line %d: %w", n, ErrStrongKey)
		}
		if words[0] != keyTag || len(words) != 2 {
			return nil, fmt.Errorf("line %d is not %q and a key: make a key with vpnd -m", n, keyTag)
		}
		if key != nil {
			return nil, fmt.Errorf("line %d is a second key", n)
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(words[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: the key is damaged (not base64)", n)
		}
		if key, err = NewKey(secret); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if key == nil {
		return nil, errors.New("no key in it: make a key with vpnd -m")
	}
	return key, nil
}

// MakeKey writes a new shared key to path, mode 0600, and returns it. A file
// that exists is left alone and is an error. What could not be written
// completely is removed.
func MakeKey(path string, random io.Reader) (*Key, error) {
	secret := make([]byte, newSecret)
	if _, err := io.ReadFull(random, secret); err != nil {
		return nil, fmt.Errorf("make key file %s: read random bytes: %w", path, err)
	}
	key := cannotFail(NewKey(secret))
	text := fmt.Appendf(nil, "# vpnd shared key %s, made %s.\n"+
		"# Both ends need this same file. Keep it secret: whoever has it can join the link.\n%s %s\n",
		key.id, time.Now().UTC().Format(time.DateOnly), keyTag, base64.StdEncoding.EncodeToString(secret))
	if err := writeNew(path, text); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		os.Remove(path)
		return nil, fmt.Errorf("write key file: %w", err)
	}
	return key, nil
}

// derive is HKDF-SHA256.
func derive(secret, salt []byte, info string) *subkey {
	return (*subkey)(cannotFail(hkdf.Key(sha256.New, secret, salt, info, len(subkey{}))))
}

// cannotFail is for functions that fail only for lengths which this package does
// not use.
func cannotFail[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
