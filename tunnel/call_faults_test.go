package tunnel

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// late is a connection whose reader is asleep for a while when bytes have come.
type late struct {
	*pipeEnd
	nap atomic.Int64
}

func (l *late) Read(b []byte) (int, error) {
	n, err := l.pipeEnd.Read(b)
	time.Sleep(time.Duration(l.nap.Load()))
	return n, err
}

// TestAnswerTooLate takes the whole second flight in time, and looks at it when
// the time for the attempt is over: that is no link.
func TestAnswerTooLate(t *testing.T) {
	sim(t, "asleep", func(t *testing.T) {
		c := testConfig(t)
		_, r := simServer(t, c)
		c.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
			conn, err := r.dial(ctx)
			if err != nil {
				return nil, err
			}
			r.become(roadRefused)
			asleep := &late{pipeEnd: conn.(*pipeEnd)}
			asleep.nap.Store(int64(attemptTimeout + time.Second))
			return asleep, nil
		}}
		client := start(t, c)
		time.Sleep(2 * attemptTimeout)
		client.log.says(t, 1, errSlow.Error())
		client.log.says(t, 0, "link is up")
	})
}

// TestCallWithoutRandomBytes has none for a first flight: nothing is sent, and the
// cause is told.
func TestCallWithoutRandomBytes(t *testing.T) {
	sim(t, "client", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers, c.Random = []Dial{r.dial}, iotest.ErrReader(errTest)
		client := start(t, c)
		conn := await(t, r.arrived, "caller").(*pipeEnd)
		r.become(roadRefused)
		synctest.Wait()
		client.log.says(t, 1, "make session key: made by the test")
		if n := conn.peer.written(); n != 0 {
			t.Errorf("%d bytes were sent", n)
		}
	})
}

// TestCallBroken finds the connection broken when it wants to say the first word.
func TestCallBroken(t *testing.T) {
	sim(t, "reset", func(t *testing.T) {
		c := testConfig(t)
		r := newRoad()
		c.Servers = []Dial{func(ctx context.Context) (net.Conn, error) {
			conn, err := r.dial(ctx)
			if err == nil {
				r.pipe(-1).reset()
				r.become(roadRefused)
			}
			return conn, err
		}}
		client := start(t, c)
		await(t, r.arrived, "caller")
		synctest.Wait()
		client.log.says(t, 1, "connection lost in the handshake")
	})
}
