package compress

// Append appends what Pack makes of a block to dst.
func (e *Encoder) Append(dst, block []byte) []byte {
	n := len(dst)
	dst = append(append(dst, 0xff), block...)
	return dst[:n+len(e.Pack(dst[n:]))]
}
