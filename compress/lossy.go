package compress

// lossy finds out whether blocks get lost so often that a history costs more than it
// gains: with each one that is lost, all are that are sent until the peer has asked for
// a new history.
type lossy struct {
	gap   int // blocks between two losses, on an average; 0: none was ever lost
	since int // blocks since the last loss
	spare int // blocks that have to do without a history
}

const (
	// oftenLost is a gap that is too short.
	oftenLost = 100
	// spareTime is how many blocks do without a history then.
	spareTime = 1000
)

// is reports whether it is so.
func (l *lossy) is() bool { return l.spare > 0 }

func (l *lossy) sent() {
	l.since++
	l.spare = max(0, l.spare-1)
}

// lost says that the peer has lost the history. One accident does not count.
func (l *lossy) lost() {
	if l.gap == 0 {
		l.gap = 2 * oftenLost
	}
	l.gap += (min(l.since, 4*oftenLost) - l.gap) / 2
	l.since = 0
	if l.gap < oftenLost {
		l.spare = spareTime
	}
}
