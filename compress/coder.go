package compress

// coder is an arithmetic coder: it narrows an interval by the probability of each bit
// and writes, or reads, the leading bytes that its ends have in common.
type coder struct {
	low, high uint32
	out       []byte
	most      int // bytes of out
	decodes   bool
	in        []byte // what is not read yet
	value     uint32 // four bytes of what was
}

// bit codes a bit that is 1 with a probability of p/4096, or decodes and returns it.
func (c *coder) bit(bit, p uint32) uint32 {
	middle := c.low + uint32(uint64(c.high-c.low)*uint64(p)>>12)
	if c.decodes {
		bit = 0
		if c.value <= middle {
			bit = 1
		}
	}
	if bit == 1 {
		c.high = middle
	} else {
		c.low = middle + 1
	}
	for (c.low^c.high)>>24 == 0 {
		if c.decodes {
			c.next()
		} else if len(c.out) < c.most {
			c.out = append(c.out, byte(c.low>>24))
		}
		c.low, c.high = c.low<<8, c.high<<8|255
	}
	return bit
}

// next reads a byte: zeros at the end, which the writer leaves out.
func (c *coder) next() {
	c.value <<= 8
	if len(c.in) > 0 {
		c.value |= uint32(c.in[0])
		c.in = c.in[1:]
	}
}

// end writes the shortest number in the interval and returns all that was written.
func (c *coder) end() []byte {
	keep := uint32(0)
	for shift := 32; c.high&keep < c.low; {
		shift -= 8
		keep = ^uint32(0) << shift
	}
	for last := c.high & keep; last != 0 && len(c.out) < c.most; last <<= 8 {
		c.out = append(c.out, byte(last>>24))
	}
	for len(c.out) > 0 && len(c.out) < c.most && c.out[len(c.out)-1] == 0 {
		c.out = c.out[:len(c.out)-1]
	}
	return c.out
}
