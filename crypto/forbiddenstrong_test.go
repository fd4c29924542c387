package crypto

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Where a host forbids the curve no key is made, and none is used.
func TestForbiddenCurveStrong(t *testing.T) {
	const again = "VPND_TEST_FORBIDDEN_STRONG"
	if os.Getenv(again) == "" {
		c := exec.Command(os.Args[0], "-test.run", "^TestForbiddenCurveStrong$")
		c.Env = append(os.Environ(), "GODEBUG=fips140=only", again+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if i, err := NewIdentity(bytes.NewReader(clientS)); err == nil || i != nil || !strings.Contains(err.Error(), "make public key") {
		t.Errorf("identity %v, error %v", i, err)
	}
	key := &StrongKey{role: ClientRole, own: &Identity{private: (*subkey)(clientS)}, secret: Secret{(*subkey)(strongSecret)}}
	_, _, err := InitiateStrong(key, bytes.NewReader(clientE), 1, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "make session key") {
		t.Errorf("error %v", err)
	}
}
