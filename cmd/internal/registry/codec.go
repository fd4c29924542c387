package registry

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

var errForm = errors.New("it has another form")

// writer appends the fields of a message.
type writer struct{ b []byte }

func (w *writer) u8(n uint8)     { w.b = append(w.b, n) }
func (w *writer) u16(n uint16)   { w.b = binary.BigEndian.AppendUint16(w.b, n) }
func (w *writer) u64(n uint64)   { w.b = binary.BigEndian.AppendUint64(w.b, n) }
func (w *writer) bytes(p []byte) { w.b = append(w.b, p...) }
func (w *writer) text(s string)  { w.u8(uint8(len(s))); w.b = append(w.b, s...) }

// addr appends an address, zeros for none.
func (w *writer) addr(a netip.Addr) {
	b := a.As16()
	w.bytes(b[:])
}

func (w *writer) prefix(p netip.Prefix) {
	family := uint8(6)
	if p.Addr().Is4() {
		family = 4
	}
	w.u8(family)
	w.u8(uint8(p.Bits()))
	w.bytes(p.Addr().AsSlice())
}

// reader takes the fields of a message. After the first one that is not there all are
// zero, and ok is false.
type reader struct {
	b   []byte
	bad bool
}

// take returns the next n bytes, which belong to the message.
func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.bad, r.b = true, nil
		return make([]byte, n)
	}
	p := r.b[:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) u8() uint8    { return r.take(1)[0] }
func (r *reader) u16() uint16  { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u64() uint64  { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) text() string { return string(r.take(int(r.u8()))) }

// addr returns the zero Addr for zeros.
func (r *reader) addr() netip.Addr {
	a := netip.AddrFrom16([16]byte(r.take(16))).Unmap()
	if a == netip.IPv6Unspecified() {
		return netip.Addr{}
	}
	return a
}

// prefix returns a prefix without bits behind its end.
func (r *reader) prefix() netip.Prefix {
	family, bits := r.u8(), r.u8()
	size := 16
	if family == 4 {
		size = 4
	}
	a, _ := netip.AddrFromSlice(r.take(size))
	p := netip.PrefixFrom(a, int(bits))
	if family != 4 && family != 6 || p != p.Masked() { // Masked changes what is not valid, too
		r.bad = true
	}
	return p
}

// end returns an error unless the message was read exactly to its end.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errForm
	}
	return nil
}
