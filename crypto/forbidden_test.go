package crypto

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A host may forbid the curve. That ends the handshake, not the process.
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
	_, _, err := Initiate(testKey(t, testSecret), strings.NewReader(string(clientE)), nil)
	if err == nil || !strings.Contains(err.Error(), "make session key") {
		t.Errorf("error %v", err)
	}
}
