package crypto

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A host may forbid the curve. That ends the handshake, not the process; no key is made,
// and none is used.
func TestForbiddenCurve(t *testing.T) {
	if !alone(t, "GODEBUG=fips140=only") {
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

// alone runs the test in a process of its own, with env, and reports whether this is
// that process.
func alone(t *testing.T, env ...string) bool {
	t.Helper()
	const mark = "VPND_TEST_ALONE=1"
	if slices.Contains(os.Environ(), mark) {
		return true
	}
	c := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	c.Env = slices.Concat(os.Environ(), env, []string{mark})
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
