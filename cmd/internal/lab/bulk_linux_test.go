package lab

import (
	"context"
	"errors"
	"testing"
	"time"
)

// TestPour sees bytes arrive all the time, each way and over several
// connections.
func TestPour(t *testing.T) {
	r := newRoute(t)
	payload := [][]byte{make([]byte, 64<<10), make([]byte, 1000)}
	const long = 200 * time.Millisecond
	for _, test := range []struct {
		name string
		bulk Bulk
		link string // where most of the bytes leave the router
	}{
		{"up", Bulk{Time: long, Payload: payload}, "eth1"},
		{"down", Bulk{Time: long, Payload: payload, Down: true}, "eth0"},
		{"several", Bulk{Time: long, Payload: payload, Streams: 8}, "eth1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			check(t, poll(timeout(t), func() error { // a busy machine may stand still for that long
				before := r.bytesTo(t, test.link)
				flow, err := r.ends("198.51.100.1").Pour(timeout(t), test.bulk)
				check(t, err)
				passed := r.bytesTo(t, test.link) - before
				if uint64(flow.Bytes) > passed {
					t.Errorf("%d bytes arrived of %d that passed", flow.Bytes, passed)
				}
				if flow.Elapsed < long {
					t.Errorf("ended after %v", flow.Elapsed)
				}
				if flow.Bytes == 0 {
					return errors.New("nothing arrived")
				}
				return nil
			}))
		})
	}
}

// bytesTo is what the router has sent through one of its links.
func (r route) bytesTo(t *testing.T, link string) uint64 {
	t.Helper()
	l, err := r.Router.nl.LinkByName(link)
	check(t, err)
	return l.Attrs().Statistics.TxBytes
}

// TestPourEnds returns early when the caller gives up or the way is lost.
func TestPourEnds(t *testing.T) {
	r := newRoute(t)
	bulk := Bulk{Time: time.Hour, Streams: 2, Payload: [][]byte{make([]byte, 64<<10)}}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(timeout(t))
	moving := r.bytesTo(t, "eth1")
	go func() {
		defer cancel(cause)
		_ = poll(ctx, func() error {
			l, err := r.Router.nl.LinkByName("eth1")
			if err == nil && l.Attrs().Statistics.TxBytes < moving+1<<20 {
				err = errTooFew
			}
			return err
		})
	}()
	if _, err := r.ends("198.51.100.1").Pour(ctx, bulk); !errors.Is(err, cause) {
		t.Errorf("error %v, not the cause of the end", err)
	}
	if _, err := r.ends("203.0.113.1").Pour(timeout(t), bulk); err == nil {
		t.Error("no error where there is nobody")
	}
}
