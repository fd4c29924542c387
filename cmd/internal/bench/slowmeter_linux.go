package main

import (
	"context"
	"errors"
	"time"

	"github.com/vishvananda/netlink"
)

const (
	slowSetUp  = time.Minute
	pingSlowly = 250 * time.Millisecond
	pageLimit  = 2 * time.Minute
	cutTime    = 30 * time.Second
	cutEvery   = 200 * time.Millisecond
	// cutLimit is how long a tunnel may take to carry something again.
	cutLimit = time.Minute
	keyEvery = 250 * time.Millisecond
)

// slowMeter measures what a bed carries.
type slowMeter struct {
	*bed
	corpus *corpus
	scale  float64
	sheet  *sheet
	row    row
}

// wait lets a measurement go on.
func (m *slowMeter) wait(ctx context.Context, d time.Duration) error {
	return pause(ctx, m.scaled(d))
}

func (m *slowMeter) scaled(d time.Duration) time.Duration {
	return time.Duration(m.scale * float64(d))
}

func (m *slowMeter) put(l slowLine, what string, value float64) {
	m.sheet.put(l.figure(what), m.row.name, value)
}

// device returns what the kernel of B says of its end of the tunnel.
func (m *slowMeter) device() (dev *netlink.LinkAttrs, err error) {
	err = m.b.Do(func() error {
		l, err := netlink.LinkByName(tunnelDevice)
		if err == nil {
			dev = l.Attrs()
		}
		return err
	})
	return dev, err
}

// goodput returns the bit/s of one stream.
func (m *slowMeter) goodput(ctx context.Context, l slowLine, payload [][]byte) (float64, error) {
	load, err := startBulk(ctx, m.ends(), payload, 0)
	if err != nil {
		return 0, err
	}
	defer load.stop()
	if err := m.wait(ctx, l.fill+l.pour); err != nil {
		return 0, err
	}
	return load.rate()
}

func (m *slowMeter) text(ctx context.Context, l slowLine) error {
	rate, err := m.goodput(ctx, l, pieces(m.corpus.text))
	if err == nil {
		m.put(l, figText, rate/1e3)
	}
	return err
}

func (m *slowMeter) lossy(ctx context.Context, l slowLine) error {
	rate, err := m.goodput(ctx, l, pieces(m.corpus.random))
	if err == nil {
		m.put(l, figRandom, rate/1e3)
	}
	return err
}

// random measures rate and round trips beside one stream.
func (m *slowMeter) random(ctx context.Context, l slowLine) error {
	p, err := m.pinged(ctx, l)
	if err != nil {
		return err
	}
	m.put(l, figRandom, p.goodput/1e3)
	m.put(l, figFill, p.inner/float64(l.way.Rate))
	return nil
}

func (m *slowMeter) serialPing(ctx context.Context, l slowLine) error {
	p, err := m.pinged(ctx, l)
	if err != nil {
		return err
	}
	dev, err := m.device()
	if err != nil {
		return err
	}
	m.put(l, figP95Packets, float64(p.busy.Percentile(95)-p.idle.Percentile(50))/float64(l.packetTime(dev.MTU)))
	return nil
}

// pinged is what one stream of random bytes and pings beside it show.
type pinged struct {
	goodput    float64 // bit/s of the stream
	inner      float64 // bit/s of packets, without pings
	idle, busy spread  // round trips in an empty tunnel, and in a full one
}

// pinged pings through the empty tunnel, then beside a stream, and then lets that go
// on without pings, for what they would take of the rate, and so that those that are
// held up have time to come back.
func (m *slowMeter) pinged(ctx context.Context, l slowLine) (out pinged, err error) {
	began := time.Now()
	p, err := startProbe(m.a, m.dst, l.every)
	if err != nil {
		return out, err
	}
	defer p.close()
	if err := m.wait(ctx, l.idle); err != nil {
		return out, err
	}
	load, err := startBulk(ctx, m.ends(), pieces(m.corpus.random), 0)
	if err != nil {
		return out, err
	}
	defer load.stop()
	if err := m.wait(ctx, l.fill+l.pings); err != nil {
		return out, err
	}
	p.rest()
	if out.inner, err = m.arriving(ctx, l.pour); err != nil {
		return out, err
	}
	if out.goodput, err = load.rate(); err != nil {
		return out, err
	}
	p.close()
	now := time.Now()
	out.idle = spreadOf(p.between(began, load.began), now)
	out.busy = spreadOf(p.between(load.began.Add(m.scaled(l.fill)), now), now)
	m.sheet.curve(l, m.row, load.began, p.between(began, now))
	return out, m.putPings(l, out)
}

// arriving returns the bit/s of packets that come out of the tunnel at B.
func (m *slowMeter) arriving(ctx context.Context, d time.Duration) (float64, error) {
	before, err := m.device()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := m.wait(ctx, d); err != nil {
		return 0, err
	}
	elapsed := time.Since(began).Seconds()
	after, err := m.device()
	if err != nil {
		return 0, err
	}
	return float64(after.Statistics.RxBytes-before.Statistics.RxBytes) * 8 / elapsed, nil
}

func (m *slowMeter) putPings(l slowLine, p pinged) error {
	if p.idle.longest == 0 {
		return errors.New("no ping came back through the empty tunnel")
	}
	m.put(l, figIdle, milliseconds(p.idle.Percentile(50)))
	m.put(l, figIdleP95, milliseconds(p.idle.Percentile(95)))
	m.put(l, figIdleMax, milliseconds(p.idle.longest))
	m.put(l, figLost, 100*p.busy.lost)
	m.put(l, figMedian, milliseconds(p.busy.Percentile(50)))
	m.put(l, figP95, milliseconds(p.busy.Percentile(95)))
	m.put(l, figMax, milliseconds(p.busy.longest))
	return nil
}

func (m *slowMeter) page(ctx context.Context, l slowLine) error {
	took, err := newPage(m.corpus.text, m.corpus.random).fetch(ctx, m.ends())
	if err == nil {
		m.put(l, figPage, took.Seconds())
	}
	return err
}

// cut lets the path lose everything for a while, with pings all the time, and waits
// for the first of them to come back.
func (m *slowMeter) cut(ctx context.Context, l slowLine) error {
	p, err := startProbe(m.a, m.dst, cutEvery)
	if err != nil {
		return err
	}
	defer p.close()
	if err := m.wait(ctx, l.idle); err != nil {
		return err
	}
	if err := m.bed.path.Cut(); err != nil {
		return err
	}
	if err := m.wait(ctx, cutTime); err != nil {
		return err
	}
	healed := time.Now()
	if err := m.bed.path.Heal(); err != nil {
		return err
	}
	back, err := p.waitAnswer(ctx, healed, cutLimit)
	if err == nil {
		m.put(l, figCut, back.Seconds())
	}
	return err
}

// serialKeys types beside two streams.
func (m *slowMeter) serialKeys(ctx context.Context, l slowLine) error {
	t, err := startTyping(ctx, m.ends(), keyEvery)
	if err != nil {
		return err
	}
	defer t.close()
	var flows []*bulk
	random := pieces(m.corpus.random)
	for i := range 2 {
		load, err := startBulk(ctx, m.ends(), random, i*len(random)/2)
		if err != nil {
			return err
		}
		defer load.stop()
		flows = append(flows, load)
	}
	if err := m.wait(ctx, l.fill); err != nil {
		return err
	}
	from := time.Now()
	list, err := rates(ctx, m.scaled(l.pings), flows...)
	if err != nil {
		return err
	}
	to := time.Now()
	if err := m.wait(ctx, l.pour); err != nil { // the last echoes come back
		return err
	}
	return m.putKeys(l, spreadOf(t.between(from, to), time.Now()), list)
}

func (m *slowMeter) putKeys(l slowLine, keys spread, bulks []float64) error {
	dev, err := m.device()
	if err != nil {
		return err
	}
	m.put(l, figShare, min(bulks[0], bulks[1])/max(bulks[0], bulks[1]))
	m.put(l, figKeyLost, 100*keys.lost)
	m.put(l, figKey, milliseconds(keys.Percentile(50)))
	m.put(l, figKeyPackets, float64(keys.Percentile(95))/float64(l.packetTime(dev.MTU)))
	return nil
}
