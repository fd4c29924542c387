package compress

import "encoding/binary"

// headers takes out of packets what follows from the packets before, and puts it
// back: a checksum that is right becomes zero, a number that counts becomes how much
// further it is than expected. No byte is added and none goes, and which bytes are
// meant is told by bytes that stay: so any packet comes back as it was, right or
// wrong, and bytes that are no packets are left alone.
type headers struct {
	flows [64]flow // by addresses and ports; who shares one costs bytes and nothing else
}

// flow is what the last packet of a connection leads to expect of the next.
type flow struct {
	id          uint16
	seq, ack    uint32
	stamp, echo uint32 // timestamps
}

const (
	ipv4Header = 20
	ipv6Header = 40
	tcpHeader  = 20
	udpHeader  = 8

	protocolTCP = 6
	protocolUDP = 17

	// offloadSize is the length of what stands in front of a packet that is to be cut
	// into segments; it begins with a small number.
	offloadSize = 10

	// stampsSize is the length of a TCP header with timestamps and nothing else.
	stampsSize = tcpHeader + 12
	stampsForm = 1<<24 | 1<<16 | 8<<8 | 10 // in front of them: two fillers, kind, length
)

// forget begins anew.
func (h *headers) forget() { *h = headers{} }

// take takes out of the packets of a block what follows from others.
func (h *headers) take(block []byte) { h.walk(block, (*headers).takeFrom) }

// put is the reverse of take.
func (h *headers) put(block []byte) { h.walk(block, (*headers).putInto) }

func (h *headers) walk(block []byte, do func(*headers, packet)) {
	if len(block) > offloadSize && block[0]>>4 == 0 {
		block = block[offloadSize:]
	}
	for len(block) > 0 {
		p, n := parsePacket(block)
		if n == 0 {
			return
		}
		do(h, p)
		block = block[n:]
	}
}

// packet is the parts of an IP packet.
type packet struct {
	ip       []byte // header of IPv4 or IPv6
	tcp, udp []byte // with the payload; nil: the packet is of another kind
}

// parsePacket finds the parts of the first packet, which has n bytes; 0: it is none.
func parsePacket(b []byte) (p packet, n int) {
	switch {
	case len(b) >= ipv4Header && b[0] == 4<<4|ipv4Header/4:
		n = int(binary.BigEndian.Uint16(b[2:]))
		if n < ipv4Header || n > len(b) {
			return packet{}, 0
		}
		p.ip = b[:ipv4Header]
		if binary.BigEndian.Uint16(b[6:])&0x3fff == 0 { // no fragment
			p.payload(b[9], b[ipv4Header:n])
		}
	case len(b) >= ipv6Header && b[0]>>4 == 6:
		n = ipv6Header + int(binary.BigEndian.Uint16(b[4:]))
		if n > len(b) {
			return packet{}, 0
		}
		p.ip = b[:ipv6Header]
		p.payload(b[6], b[ipv6Header:n])
	}
	return p, n
}

func (p *packet) payload(protocol byte, b []byte) {
	switch {
	case protocol == protocolTCP && len(b) >= tcpHeader:
		p.tcp = b
	case protocol == protocolUDP && len(b) >= udpHeader:
		p.udp = b
	}
}

func (h *headers) takeFrom(p packet) {
	p.checksums()
	f := h.flow(p)
	if p.ip[0]>>4 == 4 {
		id := binary.BigEndian.Uint16(p.ip[4:])
		binary.BigEndian.PutUint16(p.ip[4:], id-f.id)
		f.id = id + 1
	}
	if p.tcp != nil {
		seq := takeNumber(p.tcp[4:], &f.seq)
		f.seq = seq + p.carries()
		takeNumber(p.tcp[8:], &f.ack)
		if s := p.stamps(); s != nil {
			takeNumber(s, &f.stamp)
			takeNumber(s[4:], &f.echo)
		}
	}
}

func (h *headers) putInto(p packet) {
	f := h.flow(p)
	if p.ip[0]>>4 == 4 {
		id := binary.BigEndian.Uint16(p.ip[4:]) + f.id
		binary.BigEndian.PutUint16(p.ip[4:], id)
		f.id = id + 1
	}
	if p.tcp != nil {
		seq := putNumber(p.tcp[4:], &f.seq)
		f.seq = seq + p.carries()
		putNumber(p.tcp[8:], &f.ack)
		if s := p.stamps(); s != nil {
			putNumber(s, &f.stamp)
			putNumber(s[4:], &f.echo)
		}
	}
	p.checksums()
}

// takeNumber replaces a number by what it is more than the last one.
func takeNumber(b []byte, last *uint32) uint32 {
	n := binary.BigEndian.Uint32(b)
	binary.BigEndian.PutUint32(b, n-*last)
	*last = n
	return n
}

func putNumber(b []byte, last *uint32) uint32 {
	n := binary.BigEndian.Uint32(b) + *last
	binary.BigEndian.PutUint32(b, n)
	*last = n
	return n
}

// flow finds the flow of a packet by bytes that stay.
func (h *headers) flow(p packet) *flow {
	var key uint32
	for b := p.addresses(); len(b) > 0; b = b[4:] {
		key = key*0x01000193 ^ binary.BigEndian.Uint32(b)
	}
	for _, b := range [][]byte{p.tcp, p.udp} {
		if b != nil {
			key = key*0x01000193 ^ binary.BigEndian.Uint32(b)
		}
	}
	return &h.flows[key*0x9e3779b1>>26]
}

// addresses returns the source and the destination.
func (p packet) addresses() []byte {
	if p.ip[0]>>4 == 4 {
		return p.ip[12:]
	}
	return p.ip[8:]
}

// carries is by how much the sequence number of the next segment is larger.
func (p packet) carries() uint32 {
	n := max(0, len(p.tcp)-int(p.tcp[12]>>4)*4)
	const fin, syn = 1, 2
	if p.tcp[13]&(fin|syn) != 0 {
		n++
	}
	return uint32(n)
}

// stamps returns the timestamps of a segment, if they are all that it has.
func (p packet) stamps() []byte {
	if len(p.tcp) < stampsSize || p.tcp[12]>>4 != stampsSize/4 || binary.BigEndian.Uint32(p.tcp[tcpHeader:]) != stampsForm {
		return nil
	}
	return p.tcp[tcpHeader+4 : stampsSize]
}

// checksums swaps each right checksum with zero and zero with the right one.
func (p packet) checksums() {
	if p.ip[0]>>4 == 4 {
		swap(p.ip[10:], p.ip, 0)
	}
	switch {
	case p.tcp != nil:
		swap(p.tcp[16:], p.tcp, p.pseudo(protocolTCP, p.tcp))
	case p.udp != nil:
		swap(p.udp[6:], p.udp, p.pseudo(protocolUDP, p.udp))
	}
}

// pseudo is the sum of what a checksum covers besides the payload of IP (RFC 9293,
// 3.1; RFC 8200, 8.1).
func (p packet) pseudo(protocol uint64, payload []byte) uint64 {
	return sum(p.addresses()) + protocol + uint64(len(payload))
}

// swap does so with the checksum in field, which is a part of b.
func swap(field, b []byte, more uint64) {
	was := binary.BigEndian.Uint16(field)
	all := more + sum(b) + uint64(^was) // ^was takes it out: a number and its reverse are zero
	for all > 0xffff {
		all = all>>16 + all&0xffff
	}
	right := ^uint16(all)
	switch was {
	case right:
		binary.BigEndian.PutUint16(field, 0)
	case 0:
		binary.BigEndian.PutUint16(field, right)
	}
}

// sum adds 16 bit numbers.
func sum(b []byte) (s uint64) {
	for len(b) >= 4 {
		v := binary.BigEndian.Uint32(b)
		s += uint64(v>>16) + uint64(v&0xffff)
		b = b[4:]
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}
