package router

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// mouth gives what is put into it, a packet a Read, until it is closed.
type mouth chan []byte

func (m mouth) Read(b []byte) (int, error) {
	packet, ok := <-m
	if !ok {
		return 0, io.EOF
	}
	return copy(b, packet), nil
}

// ear remembers what it is given, and when.
type ear struct {
	began   time.Time
	numbers []int
	at      []time.Duration
	err     error // of each Write
}

func (e *ear) Write(b []byte) (int, error) {
	e.numbers = append(e.numbers, int(binary.BigEndian.Uint32(b)))
	e.at = append(e.at, time.Since(e.began))
	return len(b), e.err
}

// packet is one with a number.
func packet(number, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b, uint32(number))
	return b
}

// carry has a pump carry what feed says, in a bubble, and returns what arrived.
func carry(t *testing.T, w Way, err error, feed func(in mouth)) (*ear, Counters) {
	t.Helper()
	e := &ear{err: err}
	var counted Counters
	synctest.Test(t, func(t *testing.T) {
		e.began = time.Now()
		in := make(mouth)
		p := &pump{from: in, to: e, line: newLine(w)}
		done := make(chan struct{})
		go func() {
			defer close(done)
			p.run()
		}()
		feed(in)
		time.Sleep(time.Hour) // all that is on its way arrives
		close(in)
		<-done
		counted = p.counted()
	})
	return e, counted
}

// burst puts packets in at once.
func burst(in mouth, first, n, size int) {
	for i := range n {
		in <- packet(first+i, size)
	}
}

// TestRate sends more than the line carries: each packet arrives when the bits of all
// those up to it have left, to the nanosecond.
func TestRate(t *testing.T) {
	for _, rate := range []int64{33_600, 999_983, 20_000_000} {
		const n, size = 1000, 1500
		e, counted := carry(t, Way{Rate: rate, Queue: n}, nil, func(in mouth) { burst(in, 0, n, size) })
		if len(e.at) != n {
			t.Fatalf("rate %d: %d packets of %d", rate, len(e.at), n)
		}
		for i, at := range e.at {
			want := time.Duration(int64(i+1) * size * 8 * int64(time.Second) / rate)
			if e.numbers[i] != i || at != want {
				t.Fatalf("rate %d: packet %d at %v, want %d at %v", rate, e.numbers[i], at, i, want)
			}
		}
		if want := (Counters{In: n, InBytes: n * size, Out: n, OutBytes: n * size}); counted != want {
			t.Errorf("rate %d: counters %+v, want %+v", rate, counted, want)
		}
	}
}

// TestRateIdle sees that a line which was idle does not make up for that.
func TestRateIdle(t *testing.T) {
	e, _ := carry(t, Way{Rate: 8000}, nil, func(in mouth) {
		burst(in, 0, 2, 1000)
		time.Sleep(10 * time.Second)
		burst(in, 2, 2, 500)
	})
	sameTimes(t, e.at, time.Second, 2*time.Second, 10500*time.Millisecond, 11*time.Second)
}

// TestDelay keeps the distances between packets, and holds any number of them.
func TestDelay(t *testing.T) {
	e, counted := carry(t, Way{Delay: 3 * time.Second}, nil, func(in mouth) {
		burst(in, 0, 100, 1500)
		time.Sleep(time.Second)
		burst(in, 100, 1, 1500)
	})
	if len(e.at) != 101 || e.at[0] != 3*time.Second || e.at[99] != 3*time.Second || e.at[100] != 4*time.Second {
		t.Errorf("at %v", e.at)
	}
	if counted.Late != 0 {
		t.Errorf("late by %v where time stands still", counted.Late)
	}
	e, _ = carry(t, Way{Rate: 8000, Delay: 5 * time.Second}, nil, func(in mouth) { burst(in, 0, 2, 1000) })
	sameTimes(t, e.at, 6*time.Second, 7*time.Second)
}

// TestQueue drops what comes when the queue is full, and has room again when a packet
// begins to leave.
func TestQueue(t *testing.T) {
	for _, test := range []struct {
		name        string
		queue, room int
	}{{"default", 0, DefaultQueue}, {"one", 1, 1}, {"seven", 7, 7}} {
		t.Run(test.name, func(t *testing.T) {
			const second = 1000 // bytes
			e, counted := carry(t, Way{Rate: 8 * second, Queue: test.queue}, nil, func(in mouth) {
				burst(in, 0, test.room+6, second) // one leaves, five are too many
				synctest.Wait()
				time.Sleep(1500 * time.Millisecond)
				burst(in, 100, 3, second) // one has begun
			})
			if want := int64(5 + 2); counted.Dropped != want || counted.Lost != 0 {
				t.Errorf("dropped %d, want %d; lost %d", counted.Dropped, want, counted.Lost)
			}
			for i, number := range e.numbers {
				if want := i; i <= test.room && number != want || i > test.room && number != 100 {
					t.Errorf("packet %d arrives as number %d of %v", number, i, e.numbers)
				}
			}
			if want := test.room + 2; len(e.numbers) != want {
				t.Errorf("%d packets arrive, want %d", len(e.numbers), want)
			}
		})
	}
}

// TestLoss loses as many packets as it should, the same ones with the same seed, and
// not those that its seed leaves alone. What is lost has taken its time on the line.
func TestLoss(t *testing.T) {
	const n = 20_000
	lose := func(seed uint64, loss float64) *ear {
		w := Way{Rate: 8_000_000, Queue: n, Loss: loss, Seed: seed}
		e, counted := carry(t, w, nil, func(in mouth) { burst(in, 0, n, 1000) })
		if counted.Lost != n-int64(len(e.numbers)) || counted.Out != int64(len(e.numbers)) {
			t.Errorf("counters %+v, %d arrived", counted, len(e.numbers))
		}
		for i, number := range e.numbers {
			if want := time.Duration(number+1) * time.Millisecond; e.at[i] != want {
				t.Fatalf("packet %d at %v, want %v", number, e.at[i], want)
			}
		}
		return e
	}
	first, again, other := lose(1, 0.01), lose(1, 0.01), lose(2, 0.01)
	if lost := n - len(first.numbers); lost < n/100-60 || lost > n/100+60 { // 4 standard deviations
		t.Errorf("%d of %d are lost", lost, n)
	}
	if !slices.Equal(first.numbers, again.numbers) || slices.Equal(first.numbers, other.numbers) {
		t.Error("the seed does not decide")
	}
	if all := lose(1, 1); len(all.numbers) != 0 {
		t.Errorf("%d arrive where all are lost", len(all.numbers))
	}
}

// TestRefused goes on when a packet is not taken.
func TestRefused(t *testing.T) {
	e, counted := carry(t, Way{}, errors.New("no"), func(in mouth) { burst(in, 0, 3, 100) })
	if len(e.numbers) != 3 || counted.Refused != 3 || counted.Out != 0 {
		t.Errorf("%d written, counters %+v", len(e.numbers), counted)
	}
}

func TestCheck(t *testing.T) {
	for _, test := range []struct {
		name string
		way  Way
		ok   bool
	}{
		{"zero", Way{}, true},
		{"all", Way{Rate: 1, Delay: 1, Loss: 1, Queue: 1}, true},
		{"rate", Way{Rate: -1}, false},
		{"delay", Way{Delay: -1}, false},
		{"loss below", Way{Loss: -0.1}, false},
		{"loss above", Way{Loss: 1.1}, false},
		{"queue", Way{Queue: -1}, false},
	} {
		if err := test.way.check(); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func sameTimes(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("at %v, want %v", got, want)
	}
}
