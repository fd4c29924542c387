package compress

// counter is how likely a bit is 1, in 12 bits, and in the lowest four how often that
// was learned: the more often, the slower it changes.
type counter uint16

const undecided counter = 2048 << 4

// slot counts the bits of half a byte in one context. The first one is not a counter
// but tells contexts apart that share the place.
type slot [16]counter

var emptySlot = func() (s slot) {
	for i := range s {
		s[i] = undecided
	}
	return s
}()

// rates is by which part a counter comes closer to a bit.
var rates = [16]int32{43690, 27306, 19859, 15603, 13107, 10922, 9362, 8192, 6898, 5957, 5041, 4369, 3855, 3276, 2730, 2340}

func (c *counter) learn(bit uint32) {
	p, n := int32(*c>>4), *c&15
	p += ((int32(bit)*4095-p)*rates[n] + 1<<15) >> 16
	if n < 15 {
		n++
	}
	*c = counter(p)<<4 | n
}

// steps is 4096/(1+exp(-x)), for x from -8 on in steps of 1/2. A table, and no
// function, because both ends need the same numbers.
var steps = [33]int16{
	1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546,
	2048, 2550, 2994, 3349, 3608, 3785, 3902, 3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095,
}

// stretched and squashed are ln(p/(1-p)) in 1/256 and back, p in 1/4096.
var stretched, squashed = func() (st, sq [4096]int16) {
	for i := range sq {
		at, part := i>>7, i&127
		sq[i] = int16((int(steps[at])*(128-part) + int(steps[at+1])*part + 64) >> 7)
	}
	from := 0
	for i := 1; i < len(sq); i++ {
		for ; from <= int(sq[i]); from++ {
			st[from] = int16(i - 2048)
		}
	}
	for ; from < len(st); from++ {
		st[from] = 2047
	}
	return st, sq
}()

func squash(x int32) int32 { return int32(squashed[max(-2047, min(2047, x))+2048]) }
