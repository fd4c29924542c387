package main

import (
	"encoding/binary"
	"net/netip"
)

const (
	icmp = 1
	tcp  = 6
	udp  = 17
	ping = 58

	fin = 1 << 0
	syn = 1 << 1
	psh = 1 << 3
	ack = 1 << 4
)

// packets returns all packets, one behind the other. What is met most often comes last:
// a compressor sees it best.
func packets() []byte {
	var w writer
	for _, c := range conversations() {
		w.conversation(c)
	}
	return w.out
}

// conversation is what two hosts say to each other.
type conversation struct {
	protocol byte
	client   netip.AddrPort
	server   netip.AddrPort
	says     []says
}

// says is one packet with a text.
type says struct {
	server bool
	text   string
}

type writer struct {
	out   []byte
	ports uint16
}

// flow is one direction of a conversation.
type flow struct {
	from, to netip.AddrPort
	id       uint16
	seq      uint32
	stamp    uint32
}

func (w *writer) conversation(c conversation) {
	there := &flow{from: c.client, to: c.server, id: 0x1c46, seq: 0x3b9ac9ff, stamp: 0x5f5e1000}
	back := &flow{from: c.server, to: c.client, id: 0, seq: 0x77359400, stamp: 0x2faf0800}
	if c.protocol != tcp {
		for _, s := range c.says {
			if s.server {
				w.datagram(c.protocol, back, s.text)
			} else {
				w.datagram(c.protocol, there, s.text)
			}
		}
		return
	}
	w.segment(there, back, syn, "")
	w.segment(back, there, syn|ack, "")
	w.segment(there, back, ack, "")
	for _, s := range c.says {
		from, to := there, back
		if s.server {
			from, to = back, there
		}
		w.segment(from, to, psh|ack, s.text)
		w.segment(to, from, ack, "")
	}
	w.segment(there, back, fin|ack, "")
	w.segment(back, there, fin|ack, "")
	w.segment(there, back, ack, "")
}

// datagram writes a packet of UDP, or of ICMP, whose text begins with the type.
func (w *writer) datagram(protocol byte, f *flow, text string) {
	b := []byte(text)
	field := 2
	if protocol == udp {
		h := binary.BigEndian.AppendUint16(nil, f.from.Port())
		h = binary.BigEndian.AppendUint16(h, f.to.Port())
		h = binary.BigEndian.AppendUint16(h, uint16(8+len(text)))
		b = append(append(h, 0, 0), text...)
		field = 6
	}
	w.packet(protocol, f, b, field)
}

// segment writes a TCP segment with the options of Linux.
func (w *writer) segment(f, peer *flow, flags byte, text string) {
	options := []byte{1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0}
	stamps := options[4:]
	window := uint16(502)
	if flags&syn != 0 {
		options = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 7}
		stamps = options[8:]
		window = 64240
	}
	binary.BigEndian.PutUint32(stamps, f.stamp)
	h := binary.BigEndian.AppendUint16(nil, f.from.Port())
	h = binary.BigEndian.AppendUint16(h, f.to.Port())
	h = binary.BigEndian.AppendUint32(h, f.seq)
	acked := peer.seq
	if flags&ack == 0 {
		acked = 0
	} else {
		binary.BigEndian.PutUint32(stamps[4:], peer.stamp)
	}
	h = binary.BigEndian.AppendUint32(h, acked)
	h = append(h, byte(20+len(options))/4<<4, flags)
	h = binary.BigEndian.AppendUint16(h, window)
	h = append(h, 0, 0, 0, 0)
	w.packet(tcp, f, append(append(h, options...), text...), 16)
	f.seq += uint32(len(text))
	if flags&(syn|fin) != 0 {
		f.seq++
	}
	f.stamp += 20
}

// packet writes an IP packet; b has a checksum at field.
func (w *writer) packet(protocol byte, f *flow, b []byte, field int) {
	from, to := f.from.Addr().AsSlice(), f.to.Addr().AsSlice()
	pseudo := append(append([]byte{0, protocol}, from...), to...)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(b)))
	if protocol == icmp {
		pseudo = nil
	}
	binary.BigEndian.PutUint16(b[field:], checksum(append(pseudo, b...)))
	var h []byte
	if f.from.Addr().Is4() {
		h = []byte{0x45, 0}
		h = binary.BigEndian.AppendUint16(h, uint16(20+len(b)))
		h = binary.BigEndian.AppendUint16(h, f.id)
		h = append(h, 0x40, 0, 64, protocol, 0, 0)
		h = append(append(h, from...), to...)
		binary.BigEndian.PutUint16(h[10:], checksum(h))
	} else {
		h = []byte{0x60, 0, 0, 0}
		h = binary.BigEndian.AppendUint16(h, uint16(len(b)))
		h = append(h, protocol, 64)
		h = append(append(h, from...), to...)
	}
	f.id++
	w.out = append(append(w.out, h...), b...)
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
