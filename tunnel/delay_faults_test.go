package tunnel

import (
	"testing"
	"time"
)

// TestDelayLimits stands exactly on the limits, where all is still well, and a
// nanosecond behind them.
func TestDelayLimits(t *testing.T) {
	const limit = 30 * time.Second
	d := delay{limit: limit}
	if late, err := d.late(func() time.Duration { return 0 }); late || err == nil {
		t.Errorf("before the first stamp, late is %v, error %v", late, err)
	}
	for _, test := range []struct {
		name   string
		excess time.Duration
		late   bool
		err    error
	}{
		{"stamp, 90 s", 90 * time.Second, false, nil},
		{"stamp, beyond", 90*time.Second + 1, false, errDelayed},
		{"packets, 30 s", limit + timeInterval, false, nil},
		{"packets, beyond", limit + timeInterval + 1, true, nil},
		{"packets, 90 s", 3*limit + timeInterval, true, nil},
		{"packets, beyond 90 s", 3*limit + timeInterval + 1, true, errDelayed},
	} {
		t.Run(test.name, func(t *testing.T) {
			const last = time.Hour
			d := delay{limit: limit, started: true, at: last + test.excess, last: last}
			now := func() time.Duration { return last + test.excess }
			var late bool
			var err error
			if test.name[0] == 's' {
				err = d.stamp(last, now())
			} else {
				late, err = d.late(now)
			}
			if late != test.late || err != test.err {
				t.Errorf("late is %v, error %v", late, err)
			}
		})
	}
}

// TestStampEnds sends stamps alone that must end the link.
func TestStampEnds(t *testing.T) {
	for _, test := range []struct {
		name          string
		first, second time.Duration // the peer's clock
		after         time.Duration
		want          string
	}{
		{"backwards", time.Hour, time.Hour - 1, 0, "protocol error: the peer's clock goes backwards"},
		{"held back", time.Hour, time.Hour + time.Second, 95 * time.Second, errDelayed.Error()},
	} {
		sim(t, test.name, func(t *testing.T) {
			c := testConfig(t)
			c.MaxDelay = 30 * time.Second
			e, p := silences["server"](t, c)
			p.send(frameTime, stamped(test.first)...)
			time.Sleep(test.after)
			p.send(frameTime, stamped(test.second)...)
			p.drain()
			if err := await(t, e.down, "end of the link"); err.Error() != test.want {
				t.Errorf("cause is %q, want %q", err, test.want)
			}
		})
	}
}
