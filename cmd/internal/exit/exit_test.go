package exit

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestCode(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
		said bool
	}{
		{"none", nil, OK, false},
		{"without a code", errors.New("x"), Internal, false},
		{"with nothing", With(Config, nil), OK, false},
		{"with one", With(Config, errors.New("x")), Config, false},
		{"inside", fmt.Errorf("more: %w", Withf(Usage, "%d", 1)), Usage, false},
		{"of the system", fmt.Errorf("more: %w", os.ErrPermission), NoPerm, false},
		{"of the system, with one", With(Config, os.ErrPermission), Config, false},
		{"said", &Error{Code: Down}, Down, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code := Code(tt.err); code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if said := IsSaid(tt.err); said != tt.said {
				t.Errorf("said: %v", said)
			}
		})
	}
}

func TestAbout(t *testing.T) {
	if text := About("vpnd"); !strings.HasPrefix(text, "vpnd "+Version+", ") {
		t.Errorf("%q", text)
	}
}
