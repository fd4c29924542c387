package crypto

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The kernel knows what the processor has.
func TestHasWide(t *testing.T) {
	text := string(must(os.ReadFile("/proc/cpuinfo"))(t))
	flags := strings.Fields(text)
	if want := slices.Contains(flags, "avx512f") && slices.Contains(flags, "avx512bw"); hasWide() != want {
		t.Errorf("hasWide is %v, want %v", !want, want)
	}
}
