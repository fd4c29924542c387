package main

import (
	"errors"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// What holds a pass phrase is not left open for the scripts that are run later.
func TestReadDescriptorCloses(t *testing.T) {
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	_, err = io.WriteString(w, "the phrase\n")
	must(t, errors.Join(err, w.Close()))
	fd, err := unix.Dup(int(r.Fd()))
	must(t, err)
	if text, err := readDescriptor(fd); err != nil || string(text) != "the phrase\n" {
		t.Errorf("read %q, %v", text, err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != unix.EBADF {
		unix.Close(fd)
		t.Errorf("it is still open: %v", err)
	}
}
