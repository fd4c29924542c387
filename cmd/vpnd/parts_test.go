package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
)

// TestListenElsewhere wants to listen at an address of another host (RFC 5737).
func TestListenElsewhere(t *testing.T) {
	text := "mode server\nserver 192.0.2.77 24741\nlocal 10.0.0.1\nremote 10.0.0.2\n"
	c, err := conf.Parse("/etc/vpnd/a.conf", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen(c)
	if err == nil {
		l.Close()
	}
	want := `this host does not have the address; say "server 24741" to listen at all it has`
	if exit.Code(err) != exit.Unavailable || !strings.HasPrefix(err.Error(), "/etc/vpnd/a.conf:2: ") || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

// TestNoAnswer tells a daemon that is not there from one that may not be asked.
func TestNoAnswer(t *testing.T) {
	c := &conf.Config{Name: "office"}
	for _, test := range []struct {
		err  error
		code int
		want string
	}{
		{os.NewSyscallError("connect", syscall.EACCES), exit.NoPerm, "only root and the user of the daemon may ask"},
		{os.NewSyscallError("connect", syscall.ENOENT), exit.Unknown, "is vpnd running?"},
	} {
		err := noAnswer(exit.Unknown, c, test.err)
		if exit.Code(err) != test.code || !strings.Contains(err.Error(), test.want) || !errors.Is(err, test.err) {
			t.Errorf("%v: error %v, code %d", test.err, err, exit.Code(err))
		}
	}
}
