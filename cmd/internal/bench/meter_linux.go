package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vpnd/cmd/internal/lab"
)

const (
	// shortest is the least time of a stream: TCP has to get up to speed.
	shortest = 200 * time.Millisecond

	pingSetUp    = 5 * time.Millisecond
	pingIdle     = 5 * time.Millisecond
	pingLoaded   = 10 * time.Millisecond
	pingSize     = 56
	manyStreams  = 8
	settleTime   = 20 * time.Second
	measureSlack = 30 * time.Second
)

// measureTime bounds a measurement with streams of that length.
func measureTime(d time.Duration) time.Duration { return 6*d + 4*settleTime + measureSlack }

// sample is what one run of a row has shown.
type sample struct {
	up, down, many float64 // bits per second from A to B, back, and of 8 streams
	cpu            []cost  // of up and of down
	idle, loaded   lab.PingStats
	memory         [2]int64 // of A and B after the load
}

// cost is CPU seconds per 10^9 bytes.
type cost struct{ daemons, system float64 }

// meter measures what a bed carries.
type meter struct {
	*bed
	payload [][]byte
	time    time.Duration
}

func (m meter) measure(ctx context.Context) (s sample, err error) {
	if s.idle, err = m.a.Ping(ctx, m.dst, lab.PingOptions{Size: pingSize, Count: int(m.time / 2 / pingIdle), Interval: pingIdle}); err != nil {
		return s, err
	}
	for _, load := range []struct {
		bulk lab.Bulk
		rate *float64
		cost bool
	}{
		{lab.Bulk{}, &s.up, true},
		{lab.Bulk{Down: true}, &s.down, true},
		{lab.Bulk{Streams: manyStreams}, &s.many, false},
	} {
		rate, cost, err := m.pour(ctx, load.bulk)
		if err != nil {
			return s, err
		}
		*load.rate = rate
		if load.cost {
			s.cpu = append(s.cpu, cost)
		}
	}
	if s.loaded, err = m.pingLoaded(ctx); err != nil {
		return s, err
	}
	if len(s.idle.RTT) == 0 || len(s.loaded.RTT) == 0 {
		return s, errors.New("no ping came back")
	}
	s.memory, err = m.memory()
	return s, err
}

// pour measures rate and cost of a load.
func (m meter) pour(ctx context.Context, bulk lab.Bulk) (rate float64, c cost, err error) {
	if err := m.settle(ctx); err != nil {
		return 0, c, err
	}
	before, err := m.used()
	if err != nil {
		return 0, c, err
	}
	bulk.Time, bulk.Payload = m.time, m.payload
	flow, err := m.ends().Pour(ctx, bulk)
	if err != nil {
		return 0, c, err
	}
	after, err := m.used()
	if flow.Bytes == 0 {
		return 0, c, errors.Join(err, fmt.Errorf("nothing arrived in %v", flow.Elapsed))
	}
	gigabytes := float64(flow.Bytes) / 1e9
	c = cost{(after.daemons - before.daemons) / gigabytes, (after.system - before.system) / gigabytes}
	return flow.Rate() * 8, c, err
}

// settle waits until what an earlier load has left in the tunnel is through.
func (m meter) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	_, err := m.a.WaitPing(ctx, m.dst, pingLoaded)
	return err
}

// pingLoaded pings beside one stream, once that has got up to speed.
func (m meter) pingLoaded(ctx context.Context) (lab.PingStats, error) {
	if err := m.settle(ctx); err != nil {
		return lab.PingStats{}, err
	}
	start := m.time / 5
	loaded, end := context.WithCancel(ctx)
	poured := make(chan error, 1)
	go func() {
		defer end()
		_, err := m.ends().Pour(ctx, lab.Bulk{Time: start + m.time, Payload: m.payload})
		poured <- err
	}()
	select {
	case <-time.After(start):
	case <-loaded.Done():
	}
	stats, err := m.a.Ping(loaded, m.dst, lab.PingOptions{Size: pingSize, Count: int(m.time / pingLoaded), Interval: pingLoaded})
	if loaded.Err() != nil {
		err = nil // the load has ended, and with it the measurement
	}
	return stats, errors.Join(err, <-poured)
}

func (m meter) memory() (bytes [2]int64, err error) {
	for i, n := range []*lab.Namespace{m.a, m.b} {
		u, err := n.Usage()
		if err != nil {
			return bytes, err
		}
		bytes[i] = u.Memory
	}
	return bytes, nil
}

// used is CPU seconds up to now.
type used struct{ daemons, system float64 }

func (m meter) used() (u used, err error) {
	for _, n := range []*lab.Namespace{m.a, m.b} {
		all, err := n.Usage()
		if err != nil {
			return u, err
		}
		u.daemons += all.CPU.Seconds()
	}
	u.system, err = systemCPU()
	return u, err
}
