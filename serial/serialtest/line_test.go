package serialtest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pass sends n random bytes over a line and returns what was sent, what came and
// how long that took. The line is quiet for a minute at the end.
func pass(t *testing.T, l *Line, n int) (sent, got []byte, took time.Duration) {
	t.Helper()
	sent = make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n)}).Read(sent)
	begin := time.Now()
	go l.A.Write(sent)
	buf := make([]byte, 999)
	for {
		l.B.SetReadDeadline(time.Now().Add(time.Minute))
		k, err := l.B.Read(buf)
		if err != nil {
			return sent, got, took
		}
		got, took = append(got, buf[:k]...), time.Since(begin)
	}
}

func near(got, want time.Duration) bool { return (got - want).Abs() <= want/100+chunk }

func TestRate(t *testing.T) {
	for _, wire := range []Wire{
		{}, {Latency: time.Second}, {Rate: 9600}, {Rate: 300, Latency: 100 * time.Millisecond}, {Rate: 3000000},
		{Rate: 9600, Modem: 1000},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := New(wire, 1)
			defer l.Close()
			sent, got, took := pass(t, l, 12345)
			if !bytes.Equal(sent, got) {
				t.Errorf("%+v: %d bytes came of %d", wire, len(got), len(sent))
			}
			if want := wire.duration(len(sent)) + wire.Latency; !near(took, want) {
				t.Errorf("%+v: took %v, want %v", wire, took, want)
			}
		})
	}
}

// TestBothWays sends both ways at once: that takes no longer than one way.
func TestBothWays(t *testing.T) {
	for _, half := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := New(Wire{Rate: 9600, HalfDuplex: half}, 1)
			defer l.Close()
			sent := bytes.Repeat([]byte("abcdefgh"), 120) // a second
			begin := time.Now()
			go l.A.Write(sent)
			go l.B.Write(sent)
			for _, e := range []*End{l.A, l.B} {
				got := make([]byte, len(sent))
				if _, err := io.ReadFull(e, got); err != nil || bytes.Equal(got, sent) == half {
					t.Errorf("half duplex %v: %v, %q", half, err, got)
				}
			}
			if took := time.Since(begin); !near(took, time.Second) {
				t.Errorf("took %v", took)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // one after the other
		l := New(Wire{Rate: 9600, HalfDuplex: true}, 1)
		defer l.Close()
		for range 5 {
			for _, e := range []*End{l.A, l.B} {
				e.Write([]byte("hello"))
				got := make([]byte, 5)
				if _, err := io.ReadFull(e.peer, got); err != nil || string(got) != "hello" {
					t.Errorf("%q, %v", got, err)
				}
			}
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Wire{BitErrors: 1e-3}, 1)
		defer l.Close()
		sent, got, _ := pass(t, l, 100000)
		wrong := 0
		for i := range got {
			if got[i] != sent[i] {
				wrong++
			}
		}
		if len(got) != len(sent) || wrong < 700 || wrong > 900 {
			t.Errorf("%d bytes came, %d wrong", len(got), wrong)
		}

		l.Set(Wire{Eaten: []byte{0x11, 0x13}})
		sent, got, _ = pass(t, l, 10000)
		if want := bytes.ReplaceAll(bytes.ReplaceAll(sent, []byte{0x11}, nil), []byte{0x13}, nil); !bytes.Equal(got, want) {
			t.Errorf("%d bytes came, want %d", len(got), len(want))
		}

		l.Set(Wire{Rate: 9600, Pause: time.Second, BurstMin: 10 * time.Millisecond, BurstMax: 200 * time.Millisecond})
		sent, got, _ = pass(t, l, 96000)
		wrong = 0
		for i := range got {
			if got[i] != sent[i] {
				wrong++
			}
		}
		if len(got) != len(sent) || wrong < 6000 || wrong > 12000 { // a tenth of the time
			t.Errorf("%d bytes came, %d wrong", len(got), wrong)
		}
	})
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Wire{Rate: 9600}, 1)
		defer l.Close()
		l.A.SetWriteDeadline(time.Now().Add(time.Millisecond))
		if n, err := l.A.Write(make([]byte, 9999)); !errors.Is(err, os.ErrDeadlineExceeded) || n < fifo || n > fifo+2 {
			t.Error(n, err)
		}
		if n, _ := l.A.Waiting(); n < fifo-2 {
			t.Error(n, "waiting")
		}
		time.Sleep(time.Minute)
		if n, _ := l.A.Waiting(); n != 0 {
			t.Error(n, "waiting")
		}
		l.Set(Wire{Rate: 9600, Modem: 2000})
		l.A.SetWriteDeadline(time.Time{})
		l.A.Write(make([]byte, 1500))
		synctest.Wait()
		if n, _ := l.A.Waiting(); n != 0 {
			t.Error(n, "waiting in spite of the modem")
		}
	})
}

func TestHangup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Wire{Rate: 9600, Latency: time.Second}, 1)
		defer l.Close()
		gone := errors.New("no carrier")
		l.A.Write([]byte("on its way"))
		l.B.Inject("RING")
		time.Sleep(500 * time.Millisecond)
		l.Hangup(gone)
		got, err := io.ReadAll(l.B)
		if string(got) != "RING" || err != gone {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := l.A.Write([]byte("x")); err != gone {
			t.Error(err)
		}
		l.Hangup(nil)
		l.A.Write([]byte("again"))
		got = make([]byte, 5)
		if _, err := io.ReadFull(l.B, got); err != nil || string(got) != "again" {
			t.Errorf("%q, %v", got, err)
		}
		l.B.Close()
		if _, err := l.B.Read(got); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		l.A.Write([]byte("lost"))
		time.Sleep(time.Minute)
		l.B.Open()
		l.A.Write([]byte("found"))
		if _, err := io.ReadFull(l.B, got); err != nil || string(got) != "found" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestBridge(t *testing.T) {
	l := New(Wire{}, 1)
	near, far := net.Pipe()
	done := make(chan bool)
	go func() {
		Bridge(l.A, far)
		done <- true
	}()
	go near.Write([]byte("ping"))
	got := make([]byte, 4)
	if _, err := io.ReadFull(l.B, got); err != nil || string(got) != "ping" {
		t.Errorf("%q, %v", got, err)
	}
	l.B.Write([]byte("pong"))
	if _, err := io.ReadFull(near, got); err != nil || string(got) != "pong" {
		t.Errorf("%q, %v", got, err)
	}
	near.Close()
	l.Close()
	<-done
}
