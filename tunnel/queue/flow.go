package queue

// flow is the packets of a conversation, or of several that chance threw together,
// in the order in which they came.
type flow struct {
	hash       uint64 // of the first of them
	head, tail *Buffer
	next       *flow // in its list
	codel      codel
	memory     int32 // bytes of buffers
	credit     int32 // bytes that it may send in this turn
	listed     bool
	shared     bool // by several, since it was listed
}

func (f *flow) push(b *Buffer) {
	if b.next = nil; f.head == nil {
		f.head = b
	} else {
		f.tail.next = b
	}
	f.tail = b
	f.memory += int32(len(b.Bytes))
}

func (f *flow) take() *Buffer {
	b := f.head
	f.head, b.next = b.next, nil
	f.memory -= int32(len(b.Bytes))
	return b
}

// rest frees the place of a flow that has no packets any more.
func (f *flow) rest() { f.listed, f.shared = false, false }

// list is flows in the order of their turns.
type list struct{ head, tail *flow }

func (l *list) push(f *flow) {
	if f.next = nil; l.head == nil {
		l.head = f
	} else {
		l.tail.next = f
	}
	l.tail = f
}

func (l *list) pop() *flow {
	f := l.head
	l.head = f.next
	return f
}
