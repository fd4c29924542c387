package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Call is a system call of a traced process.
type Call struct {
	PID    int // the process that makes it
	Number uint64
	Args   [6]uint64
	Done   bool
	Result int64 // of a call that is Done: a negative error number, or what it returns

	tid int
}

// maxPath bounds the text of a path in the memory of another process.
const maxPath = 4096

// Is reports whether it is this call, such as unix.SYS_WRITE.
func (c *Call) Is(number uint64) bool { return c.Number == number }

// Made reports whether it is this call, done and without an error.
func (c *Call) Made(number uint64) bool { return c.Is(number) && c.Done && c.Result >= 0 }

// Read returns n bytes of the caller's memory, fewer where it has no more.
func (c *Call) Read(addr, n uint64) []byte {
	p := make([]byte, n)
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	got, err := unix.ProcessVMReadv(c.tid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: int(n)}}, 0)
	if err != nil {
		return nil
	}
	return p[:got]
}

// Write changes the caller's memory.
func (c *Call) Write(addr uint64, p []byte) error {
	local := []unix.Iovec{{Base: &p[0]}}
	local[0].SetLen(len(p))
	n, err := unix.ProcessVMWritev(c.tid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(p)}}, 0)
	if err == nil && n < len(p) {
		err = unix.EFAULT
	}
	if err != nil {
		return fmt.Errorf("write memory of %d: %w", c.PID, err)
	}
	return nil
}

// Text returns the string that an argument points to.
func (c *Call) Text(arg int) string {
	text, _, _ := bytes.Cut(c.readShort(c.Args[arg]), []byte{0})
	return string(text)
}

// readShort reads up to maxPath bytes, page by page: the next one may not exist.
func (c *Call) readShort(addr uint64) (text []byte) {
	page := uint64(os.Getpagesize())
	for len(text) < maxPath && !bytes.Contains(text, []byte{0}) {
		part := c.Read(addr, page-addr%page)
		if len(part) == 0 {
			break
		}
		text = append(text, part...)
		addr += uint64(len(part))
	}
	return text
}

// File returns where the descriptor in an argument leads, as /proc has it: a path,
// or such as "socket:[4711]".
func (c *Call) File(arg int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", c.PID, int32(c.Args[arg])))
	return path
}

// Family returns the address family of the sockaddr that an argument points to.
func (c *Call) Family(arg int) int {
	head := c.Read(c.Args[arg], 2)
	if len(head) < 2 {
		return unix.AF_UNSPEC
	}
	return int(binary.NativeEndian.Uint16(head))
}

// Netlink returns the type of the first netlink message of a sendto, such as
// unix.RTM_NEWROUTE; 0 if it is none.
func (c *Call) Netlink() int {
	if !c.Is(unix.SYS_SENDTO) || c.Family(4) != unix.AF_NETLINK {
		return 0
	}
	head := c.Read(c.Args[1], unix.SizeofNlMsghdr)
	if len(head) < unix.SizeofNlMsghdr {
		return 0
	}
	return int(binary.NativeEndian.Uint16(head[4:]))
}

// ShiftClock adds seconds to the result of a clock_gettime that is Done.
func (c *Call) ShiftClock(seconds int64) error {
	at := c.Args[1] // a struct timespec begins with the seconds
	return c.setWord(at, uint64(int64(c.word(at))+seconds))
}

// word is 8 bytes of the caller's memory, 0 where there is none.
func (c *Call) word(addr uint64) uint64 {
	p := c.Read(addr, 8)
	if len(p) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(p)
}

func (c *Call) setWord(addr, word uint64) error {
	return c.Write(addr, binary.NativeEndian.AppendUint64(nil, word))
}
