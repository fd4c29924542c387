package tunnel

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	thinSegment = 1448
	thinHeaders = 52
	thinBuffer  = 4 << 20
)

// thinWay is a slow line whose router keeps all that it is given, with a TCP
// connection at its beginning.
type thinWay struct {
	*pipeEnd
	bits  int // a second
	delay time.Duration

	// Under the pipe's lock:
	waits  []byte        // written, not sent
	onWay  int           // sent, not known to have arrived
	acked  int64         // known to have arrived
	corked bool          // what does not fill a segment waits
	free   time.Duration // when the line has sent all
	rtt    time.Duration
	least  time.Duration
	began  time.Time
}

func newThinWay(e *pipeEnd, bits int, delay time.Duration) *thinWay {
	return &thinWay{pipeEnd: e, bits: bits, delay: delay, began: time.Now(), rtt: 2 * delay, least: 2 * delay}
}

func (w *thinWay) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.onWay+len(w.waits) > thinBuffer && !w.closed && !w.writing.passed {
		w.change.Wait()
	}
	if w.closed || w.broken || w.peer.closed || w.writing.passed {
		return 0, net.ErrClosed
	}
	w.waits = append(w.waits, b...)
	w.push()
	return len(b), nil
}

// push sends what need not wait.
func (w *thinWay) push() {
	for len(w.waits) >= thinSegment || len(w.waits) > 0 && !w.corked {
		n := min(len(w.waits), thinSegment)
		w.send(slices.Clone(w.waits[:n]))
		w.waits = w.waits[n:]
	}
}

func (w *thinWay) send(segment []byte) {
	now := time.Since(w.began)
	w.free = max(w.free, now) + time.Duration(len(segment)+thinHeaders)*8*time.Second/time.Duration(w.bits)
	w.onWay += len(segment)
	time.AfterFunc(w.free+w.delay-now, func() { w.pipeEnd.Write(segment) })
	time.AfterFunc(w.free+2*w.delay-now, func() {
		w.do(func() {
			rtt := time.Since(w.began) - now
			w.onWay -= len(segment)
			w.acked += int64(len(segment))
			w.rtt += (rtt - w.rtt) / 8
			w.least = min(w.least, rtt)
		})
	})
}

func (w *thinWay) measure() (gauge, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return gauge{
		acked: w.acked, pending: w.onWay + len(w.waits), unsent: len(w.waits),
		segment: thinSegment, rtt: w.rtt, least: w.least,
	}, true
}

func (w *thinWay) hold(on bool) {
	w.do(func() {
		w.corked = on
		w.push()
	})
}

func (w *thinWay) retry(time.Duration) {}

func (w *thinWay) patient() {}

// become changes the line.
func (w *thinWay) become(bits int, delay time.Duration) {
	w.do(func() { w.bits, w.delay = bits, delay })
}

// thinPair starts both ends with a thin line between them.
func thinPair(t *testing.T, c Config, bits int, delay time.Duration) (server, client *end) {
	t.Helper()
	r := newRoad()
	cs, cc := c, c
	cs.Listener = thinListener{r, func(e *pipeEnd) net.Conn { return newThinWay(e, bits, delay) }}
	cc.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
		conn, err := r.dial(ctx)
		if err != nil {
			return nil, err
		}
		return newThinWay(conn.(*pipeEnd), bits, delay), nil
	}}
	server, client = linked(t, cs, cc)
	return server, client
}

// way returns the end's way to the other.
func (e *end) way() *thinWay { return e.point.link.Load().conn.(*thinWay) }

// thinListener has callers come over a thin line.
type thinListener struct {
	*road
	thin func(*pipeEnd) net.Conn
}

func (l thinListener) Accept() (net.Conn, error) {
	conn, err := l.road.Accept()
	if err != nil {
		return nil, err
	}
	return l.thin(conn.(*pipeEnd)), nil
}

// Conversations on a thin line.
const (
	bulkFlow = 1
	keyFlow  = 101
	keySize  = 60
)

// typist sends keys and notes how long each takes, beside a flow that always wants
// more than the line carries.
type typist struct {
	from, to *end
	stop     chan struct{}

	mu   sync.Mutex
	sent []time.Time
	took []time.Duration
	bulk int // bytes that came
}

// typing begins to type every so often, and to send packets of size bytes at a
// multiple of the line's rate.
func typing(t *testing.T, from, to *end, bits, size int, every time.Duration) *typist {
	y := &typist{from: from, to: to, stop: make(chan struct{})}
	go y.flood(bits, size)
	go y.run(every)
	t.Cleanup(func() { close(y.stop) })
	return y
}

func (y *typist) flood(bits, size int) {
	tick := time.NewTicker(time.Duration(size) * 8 * time.Second / time.Duration(bits) * 3 / 4)
	defer tick.Stop()
	for {
		select {
		case <-y.stop:
			return
		case <-tick.C:
			y.from.device.in <- udp(size, bulkFlow)
		}
	}
}

func (y *typist) run(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-y.stop:
			return
		case <-tick.C:
			key := udp(keySize, keyFlow)
			y.note(func() {
				binary.BigEndian.PutUint32(key[keySize-4:], uint32(len(y.sent)))
				y.sent = append(y.sent, time.Now())
			})
			y.from.device.in <- key
		case p := <-y.to.device.out:
			y.note(func() { y.came(p) })
		}
	}
}

func (y *typist) note(f func()) {
	y.mu.Lock()
	defer y.mu.Unlock()
	f()
}

func (y *typist) came(p []byte) {
	if len(p) == keySize {
		y.took = append(y.took, time.Since(y.sent[binary.BigEndian.Uint32(p[keySize-4:])]))
		return
	}
	y.bulk += len(p)
}

// seen returns how long the keys took, and how many bytes of the flow came.
func (y *typist) seen() (took []time.Duration, bulk int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	return slices.Clone(y.took), y.bulk
}

// since forgets what was, and lets it go on for a while. It returns the 95th
// percentile of the keys' times, the longest, and the bit/s of the flow.
func (y *typist) since(d time.Duration) (p95, longest time.Duration, bits int) {
	before, first := y.seen()
	time.Sleep(d)
	all, last := y.seen()
	took := slices.Sorted(slices.Values(all[len(before):]))
	if len(took) == 0 {
		return d, d, 0
	}
	return took[len(took)*95/100], took[len(took)-1], int(float64(last-first) * 8 / d.Seconds())
}
