package crypto

import "testing"

// A file that is a key file by all signs, but cannot be read: the memory of this
// process from address 0.
func TestLoadKeyUnreadable(t *testing.T) {
	wantFileError(t, "/proc/self/mem", "key file: read ")
}
