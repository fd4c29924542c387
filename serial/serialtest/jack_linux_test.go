package serialtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// computer opens the device of a jack.
func computer(t *testing.T, j *Jack) *os.File {
	t.Helper()
	f, err := os.OpenFile(j.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	f.SetDeadline(time.Now().Add(time.Minute))
	return f
}

// dialogue sends text and reads until a word has come.
func dialogue(t *testing.T, f *os.File, text, word string) {
	t.Helper()
	f.WriteString(text)
	got, b := "", make([]byte, 100)
	for !strings.Contains(got, word) {
		n, err := f.Read(b)
		if err != nil {
			t.Fatalf("no %q but %q: %v", word, got, err)
		}
		got += string(b[:n])
	}
}

func TestJack(t *testing.T) {
	for _, dtr := range []bool{false, true} {
		x := &Exchange{Ring: time.Millisecond, Training: time.Millisecond}
		a := &Jack{Path: filepath.Join(t.TempDir(), "a"), DTR: dtr, Exchange: x, Number: "1"}
		b := &Jack{Path: filepath.Join(t.TempDir(), "b"), DTR: dtr, Exchange: x, Number: "2"}
		for _, j := range []*Jack{a, b} {
			if err := j.Plug(); err != nil {
				t.Fatal(err)
			}
			defer j.Unplug()
		}
		ca, cb := computer(t, a), computer(t, b)
		dialogue(t, cb, "ATS0=1\r", "OK")
		dialogue(t, ca, "ATD2\r", "CONNECT")
		dialogue(t, cb, "", "CONNECT")
		ca.Write([]byte("\xc3\x00\r"))
		dialogue(t, cb, "", "\xc3\x00\r") // raw

		ca.Close()
		if dtr {
			dialogue(t, cb, "", "NO CARRIER")
		} else if ca = computer(t, a); !a.Modem().Online() {
			t.Error("hung up by a line that the device does not have")
		}
		if err := a.Unplug(); err != nil {
			t.Error(err)
		}
		if !dtr {
			dialogue(t, cb, "", "NO CARRIER")
			if _, err := ca.Write([]byte("x")); err == nil {
				t.Error("the old device takes bytes")
			}
		}
		if _, err := os.Stat(a.Path); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		if err := a.Plug(); err != nil {
			t.Fatal(err)
		}
		ca = computer(t, a)
		dialogue(t, ca, "AT\r", "OK")
		a.Mute(true)
		ca.SetDeadline(time.Now().Add(50 * time.Millisecond))
		ca.WriteString("AT\r")
		if n, err := ca.Read(make([]byte, 9)); err == nil {
			t.Errorf("%d bytes of a modem that has crashed", n)
		}
	}
}
