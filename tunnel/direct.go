package tunnel

// direct sends what waits if nothing else is under way, so that a lone packet need
// not wait for another goroutine. It never blocks, since who calls it serves others,
// too: what finds no room stays. If it reports false, run has to be woken.
func (w *sender) direct() bool {
	if !w.mu.TryLock() {
		return false
	}
	defer w.mu.Unlock()
	if w.quiet == nil || w.ctx.Err() != nil || w.owner.rates.out.limits() || w.allow.rests() || !w.quiet() {
		return false
	}
	w.hasty = true
	err := w.complete(w.batches())
	w.hasty = false
	return err == nil && len(w.out) == 0
}

// write writes to the connection, all or, in haste, what there is room for.
func (w *sender) write(b []byte) (int, error) {
	if w.hasty && w.atOnce != nil {
		return w.atOnce(b)
	}
	return w.conn.Write(b)
}

// keep leaves in out what was not written: all but n bytes, with so many packets.
func (w *sender) keep(n, packets int) {
	w.out = w.out[:copy(w.out, w.out[n:])]
	w.packets -= packets
	for i := range w.batched {
		w.batched[i].end -= n
		w.batched[i].packets -= packets
	}
}
