package queue

// urgent reports whether somebody may wait for a packet: for any but one that only
// acknowledges, on which a little more or less time matters to nobody.
func urgent(p []byte) bool {
	const tcp, ack = 6, 0x10
	head := 0
	switch {
	case len(p) >= 20 && p[0]>>4 == 4 && p[9] == tcp:
		head = int(p[0]&15) * 4
	case len(p) >= 40 && p[0]>>4 == 6 && p[6] == tcp:
		head = 40
	default:
		return true
	}
	return len(p) < head+20 || p[head+13]&0x3f != ack || len(p) > head+int(p[head+12]>>4)*4
}
