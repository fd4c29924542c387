package compress

import (
	"errors"
	"math"
	"slices"
	"sync"
)

// A model predicts the next bit of packets from what it has seen, for an arithmetic
// coder that spends the less on a bit the better it was predicted. Nothing shrinks
// small frames more, and nothing is slower.
//
// Several contexts, such as the last three bytes, have a counter for each bit that
// may follow. A mixer weighs what they say and learns from each bit whom to trust.
// All numbers are integers, so that both ends compute the same on any machine.
// Whatever a peer sends decodes to something: there is no form to violate, and all
// memory is taken at once.
type model struct {
	state
	coder coder
	slots [contexts]*slot  // of the present half byte
	hash  [contexts]uint32 // of the present byte
	guess uint32           // the byte that followed last time, and 256; 0: no guess
}

// state is what a model knows: all that a new history begins with.
type state struct {
	tables  [contexts][tableSize]slot
	order1  [1 << 16]counter
	matched [64][2]counter
	repeats [64]counter // whether the whole byte is what followed last time
	weights [3 << 8][inputs]int32
	final   [3 << 8][33]uint16 // corrects what the mixer says
	history [1 << 18]byte
	at      [1 << 15]uint32 // places in history by what stands before them
	place   uint32          // bytes seen
	match   uint32          // place from which the history seems to repeat
	length  uint32          // for how long it does; 0: not
	last4   uint32          // bytes
	last8   uint32          // the four before
	word    uint32          // hash of the letters so far
	line    uint32          // hash of the first bytes of the line
	column  uint32
	offset  uint32 // in the packet
	left    uint32 // length of the packet, once known
	block   uint32 // length of the last block
	same    counter
	random  counter // whether payloads are
}

const (
	contexts  = 4
	inputs    = contexts + 2
	tableSize = 1 << 13

	// maxModel is the longest block for a model: the time that a peer can make this
	// end spend on one frame is bounded.
	maxModel = 16 << 10
)

// trained is what every model begins with: what the dictionary teaches.
var trained = sync.OnceValue(train)

func train() *state {
	m := &model{}
	m.empty()
	// Of its own: the model writes what it reads back, and others read the dictionary.
	for rest := slices.Clone(dictionary()); len(rest) > 0; rest = rest[min(len(rest), maxModel):] {
		m.learn(rest[:min(len(rest), maxModel)])
	}
	return &m.state
}

// begin forgets everything but the dictionary.
func (m *model) begin() { m.state = *trained() }

func (m *model) empty() {
	for i := range m.tables {
		for j := range m.tables[i] {
			m.tables[i][j] = emptySlot
		}
	}
	for i := range m.order1 {
		m.order1[i] = undecided
	}
	for i := range m.matched {
		m.matched[i] = [2]counter{undecided, undecided}
	}
	for i := range m.repeats {
		m.repeats[i] = undecided
	}
	m.same, m.random = undecided, undecided
	for i := range m.weights {
		for j := range m.weights[i] {
			m.weights[i][j] = 3 << 16 / 10
		}
	}
	for i := range m.final {
		for j := range m.final[i] {
			m.final[i][j] = uint16(squash(int32(j-16)*128) * 16)
		}
	}
}

// encode writes the block, of at most maxModel bytes, to buf. It writes no more when
// that has become as long as the block, and learns all of it anyway.
func (m *model) encode(buf, block []byte) []byte {
	m.coder = coder{out: buf[:0], most: len(block), high: math.MaxUint32}
	m.code(block)
	return m.coder.end()
}

// learn is encode without a result.
func (m *model) learn(block []byte) {
	m.coder = coder{high: math.MaxUint32}
	m.code(block)
}

func (m *model) code(block []byte) {
	m.blockSize(uint32(len(block)))
	m.bytes(block)
}

// bytes codes the bytes of a block, or decodes into it.
func (m *model) bytes(block []byte) {
	for len(block) > 0 {
		n := m.noise(block)
		if n == 0 {
			block[0], n = byte(m.byte(uint32(block[0]))), 1
		}
		block = block[n:]
	}
}

// decode expands the body into dst, which has room for maxModel bytes.
func (m *model) decode(dst, body []byte) ([]byte, error) {
	m.coder = coder{in: body, decodes: true, high: math.MaxUint32}
	for range 4 {
		m.coder.next()
	}
	n := m.blockSize(0)
	if n > maxModel {
		return nil, ErrTooLarge
	}
	dst = dst[:n]
	m.bytes(dst)
	if len(m.coder.in) > 0 {
		return nil, corrupt(errors.New("stream ends within the body"))
	}
	return dst, nil
}

// blockSize codes the length of a block: often that of the one before.
func (m *model) blockSize(n uint32) uint32 {
	var same uint32
	if n == m.block {
		same = 1
	}
	same = m.coder.bit(same, max(1, uint32(m.same>>4)))
	m.same.learn(same)
	if same == 1 {
		n = m.block
	} else {
		const bits = 15 // 1<<14 is the longest
		for i := bits - 1; i >= 0; i-- {
			n = n&^(1<<i) | m.coder.bit(n>>i&1, 2048)<<i
		}
	}
	m.block = n
	m.offset, m.left = 0, 0
	return n
}

// leastNoise is the shortest payload that can be told from text.
const leastNoise = 64

// noise codes the payload of a packet as it is, if that is what it seems to be: nothing
// predicts it, and it would make the model forget what it knows of other packets. It
// returns the length, or 0 if the next byte is to be coded.
func (m *model) noise(rest []byte) int {
	if m.offset != headerContext || m.left < m.offset {
		return 0
	}
	n := min(len(rest), int(m.left-m.offset))
	if n < leastNoise {
		return 0
	}
	var is uint32
	if !m.coder.decodes && looksRandom(rest[:n]) {
		is = 1
	}
	is = m.coder.bit(is, max(1, uint32(m.random>>4)))
	m.random.learn(is)
	if is == 0 {
		return 0
	}
	for i, c := range rest[:n] {
		for bit := range 8 {
			c = c&^(1<<bit) | byte(m.coder.bit(uint32(c>>bit&1), 2048))<<bit
		}
		rest[i] = c
	}
	m.offset, m.left, m.length, m.word, m.line = 0, 0, 0, 0, 0
	return n
}

// looksRandom reports whether the bytes are as evenly spread as if they were by chance.
func looksRandom(b []byte) bool {
	var count [256]int
	for _, c := range b {
		count[c]++
	}
	squares := 0
	for _, n := range count {
		squares += n * n
	}
	chance := len(b) + len(b)*(len(b)-1)/len(count)
	return squares < chance*3/2
}

// certain is for how long the history has to repeat before a whole byte is taken for what
// followed last time: that takes a tenth of the time, and shrinks about as well.
const certain = 16

// byte codes c, or decodes and returns it.
func (m *model) byte(c uint32) uint32 {
	m.guess = 0
	if m.length > 0 {
		m.guess = uint32(m.history[m.match%uint32(len(m.history))]) | 256
	}
	if m.length >= certain && m.repeat(c) {
		return m.guess & 255
	}
	m.contexts()
	so := uint32(1) // the bits that are known, behind a 1
	for bit := 7; bit >= 0; bit-- {
		if bit == 7 {
			m.find(0)
		} else if bit == 3 {
			m.find(so)
		}
		so = so<<1 | m.bit(so, c>>bit&1, bit)
	}
	m.seen(so & 255)
	return so & 255
}

// repeat codes whether c is the guess. If it is not there is none any more.
func (m *model) repeat(c uint32) bool {
	var is uint32
	if c == m.guess&255 {
		is = 1
	}
	sure := &m.repeats[min(m.length/certain, uint32(len(m.repeats)-1))]
	is = m.coder.bit(is, max(1, uint32(*sure>>4)))
	sure.learn(is)
	if is == 0 {
		m.length, m.guess = 0, 0
		return false
	}
	m.seen(m.guess & 255)
	return true
}

// contexts hashes what is known before a byte.
func (m *model) contexts() {
	const a, b = 0x2f0b4c47, 0x3d4d51cb
	l4, l8 := m.last4, m.last8
	m.hash = [contexts]uint32{
		l4 & 0xffff,
		(l4*a + l8&0xffff*b) ^ 0x1234567,
		m.word*0x1f35 + l4&0xff | 0x77<<24,
		m.line + l4&0xff<<8 + 9<<24,
	}
	if m.offset < headerContext { // where fields count, not lines
		m.hash[3] = m.offset<<16 | l4&0xff | 1<<24
		if m.offset >= 4 { // the length says what packet it is
			m.hash[3] ^= uint32(m.history[(m.place-m.offset+3)%uint32(len(m.history))])<<8 | 1<<23
		}
	}
}

// headerContext is how many bytes of a packet are likely to be headers.
const headerContext = 56

// find finds the slots for the bits behind so.
func (m *model) find(so uint32) {
	for i := range m.slots {
		h := (m.hash[i] + so*0x9e3779b1) * 0x9e3779b1
		h ^= h >> 15
		h *= 0x85ebca6b
		name, at := counter(h), h>>16%tableSize
		s := &m.tables[i][at]
		if s[0] != name {
			other := &m.tables[i][at^1]
			if other[0] == name || s[1]&15 > other[1]&15 { // the younger one has to go
				s = other
			}
			if s[0] != name {
				*s = emptySlot
				s[0] = name
			}
		}
		m.slots[i] = s
	}
}

// bit predicts a bit, codes it and learns it.
func (m *model) bit(so, bit uint32, nth int) uint32 {
	at := so // in a slot
	if nth < 4 {
		at = 1<<(3-nth) | so&(1<<(3-nth)-1)
	}
	at &= 15
	// Written out: loops take a third more time.
	c0, c1, c2, c3 := &m.slots[0][at], &m.slots[1][at], &m.slots[2][at], &m.slots[3][at]
	c4 := &m.order1[m.last4&0xff<<8|so]
	x0, x1, x2 := int32(stretched[*c0>>4]), int32(stretched[*c1>>4]), int32(stretched[*c2>>4])
	x3, x4, x5 := int32(stretched[*c3>>4]), int32(stretched[*c4>>4]), int32(0)

	set, guessed := so, uint32(0)
	var sure *counter
	if m.guess>>(nth+1) == so {
		guessed = m.guess >> nth & 1
		sure = &m.matched[min(m.length, 63)][guessed]
		x5 = int32(stretched[*sure>>4])
		set += 1 << 8
		if m.length > 24 {
			set += 1 << 8
		}
	}

	w := &m.weights[set]
	p := squash(((w[0]>>4)*x0>>4 + (w[1]>>4)*x1>>4 + (w[2]>>4)*x2>>4 +
		(w[3]>>4)*x3>>4 + (w[4]>>4)*x4>>4 + (w[5]>>4)*x5>>4) >> 8)
	final, low := &m.final[set], (int32(stretched[p])+2048)>>7
	part := (int32(stretched[p]) + 2048) & 127
	corrected := (int32(final[low])*(128-part) + int32(final[low+1])*part) >> 11
	bit = m.coder.bit(bit, uint32(max(1, min(4095, (p+corrected+1)>>1))))

	const half = 1 << 13
	off := (int32(bit)<<12 - p) * 10
	w[0] += (x0*off + half) >> 14
	w[1] += (x1*off + half) >> 14
	w[2] += (x2*off + half) >> 14
	w[3] += (x3*off + half) >> 14
	w[4] += (x4*off + half) >> 14
	w[5] += (x5*off + half) >> 14
	c0.learn(bit)
	c1.learn(bit)
	c2.learn(bit)
	c3.learn(bit)
	c4.learn(bit)
	if sure != nil {
		sure.learn(bit)
		if guessed != bit {
			m.length, m.guess = 0, 0
		}
	}
	if part >= 64 {
		low++
	}
	final[low] += uint16((int32(bit)*65520 - int32(final[low])) >> 6)
	return bit
}

// seen adds a byte to what contexts are made of.
func (m *model) seen(c uint32) {
	const mask = uint32(len(state{}.history) - 1)
	m.history[m.place&mask] = byte(c)
	m.place++
	m.last8 = m.last8<<8 | m.last4>>24
	m.last4 = m.last4<<8 | c
	m.inPacket(c)
	switch {
	case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c >= 128:
		m.word = (m.word + c + 1) * 0x2f0b4c47
	default:
		m.word = 0
	}
	if c == '\n' {
		m.line, m.column = 0, 0
	} else if m.column < 4 {
		m.line, m.column = (m.line+c)*773, m.column+1
	}
	m.follow()
}

// inPacket keeps count of where in a packet the next byte stands.
func (m *model) inPacket(c uint32) {
	m.offset++
	switch first := m.history[(m.place-m.offset)%uint32(len(m.history))] >> 4; {
	case first == 4 && m.offset == 4:
		m.left = m.last4 & 0xffff
	case first == 6 && m.offset == 6:
		m.left = m.last4&0xffff + ipv6Header
	case first != 4 && first != 6 && m.offset == 1:
		m.left = offloadSize
	}
	if m.left > 0 && m.offset >= m.left {
		m.offset, m.left = 0, 0
	}
}

// follow follows the place from which the history seems to repeat, or looks for one.
func (m *model) follow() {
	const mask = uint32(len(state{}.history) - 1)
	if m.length > 0 {
		m.match++
		m.length = min(m.length+1, 1<<16)
	}
	at := &m.at[(m.last4*0x2f0b4c47^m.last8&0xffff*0x3d4d51cb)*0x9e3779b1>>17]
	if from := *at; m.length == 0 && from > 0 && m.place-from < mask {
		n := uint32(0)
		for n < 60 && n < from && m.history[(from-n-1)&mask] == m.history[(m.place-n-1)&mask] {
			n++
		}
		if n >= 5 {
			m.length, m.match = n, from
		}
	}
	*at = m.place
}
