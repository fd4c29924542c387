package background

import (
	"errors"
	"fmt"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/tunnel/netif"
)

func TestCode(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
	}{
		{"none", nil, exit.OK},
		{"any", errors.New("x"), exit.Internal},
		{"privilege", fmt.Errorf("more: %w", netif.ErrPermission), exit.NoPerm},
		{"no device", fmt.Errorf("more: %w", netif.ErrUnavailable), exit.Unavailable},
		{"it is running", netif.ErrRunning, exit.Unavailable},
		{"one of its own", exit.With(exit.Config, netif.ErrRunning), exit.Config},
	} {
		if code := Code(tt.err); code != tt.code {
			t.Errorf("%s: code %d, want %d", tt.name, code, tt.code)
		}
	}
}
