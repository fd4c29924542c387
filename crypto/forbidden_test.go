package crypto

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A host may forbid the curve. That ends the handshake, not the process; no key is made,
// and none is used.
func TestForbiddenCurve(t *testing.T) {
	const again = "VPND_TEST_FORBIDDEN"
	if os.Getenv(again) == "" {
		c := exec.Command(os.Args[0], "-test.run", "^TestForbiddenCurve$")
		c.Env = append(os.Environ(), "GODEBUG=fips140=only", again+"=1")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	_, _, err := Initiate(testKey(t, testSecret), bytes.NewReader(clientE), nil)
	if err == nil || !strings.Contains(err.Error(), "make session key") {
		t.Errorf("error %v", err)
	}
	if i, err := NewIdentity(bytes.NewReader(clientS)); err == nil || i != nil || !strings.Contains(err.Error(), "make public key") {
		t.Errorf("identity %v, error %v", i, err)
	}
	key := &StrongKey{role: ClientRole, own: &Identity{private: (*subkey)(clientS)}, secret: Secret{(*subkey)(strongSecret)}}
	_, _, err = InitiateStrong(key, bytes.NewReader(clientE), 1, 0, nil)
	if err == nil || !strings.Contains(err.Error(), "make session key") {
		t.Errorf("error %v", err)
	}
}
