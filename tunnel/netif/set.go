package netif

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
)

const (
	// maxRounds bounds how often the host is looked at again before a change
	// is given up: others may be changing it too.
	maxRounds = 8
	// maxDialed bounds how many addresses given to Pin are remembered, for a
	// server whose name means another address every day.
	maxDialed = 32
)

// errChanged says that the host is not any more as it was when the steps were
// planned. Looking again helps.
var errChanged = errors.New("the host's network configuration changed meanwhile")

// kernel is the host's network configuration.
type kernel interface {
	// read returns all of it.
	read() (host, error)
	// do takes one step. To delete what is gone already is no error.
	do(step) error
	// place names the boot and the network namespace.
	place() string
	close()
}

// Set is what one instance has installed on the host. Its methods may be called
// from several goroutines.
type Set struct {
	mu     sync.Mutex
	log    *slog.Logger
	kernel kernel
	store  *store

	rec    record       // what is ours on the host
	saved  record       // what the state file lists
	dev    string       // the device of the last Apply that worked, and
	want   State        // its state
	dialed []netip.Addr // addresses given to Pin, the latest last

	trouble string // what Keep has said is wrong
	closed  bool
}

// Open locks the instance, sweeps what a killed predecessor left on the host
// (exactly what its state file lists) and returns a Set that has installed
// nothing. The error is ErrRunning when another process holds the instance. The
// network namespace is that of the calling thread, then and later.
//
// The directory is made when its parent exists. When it cannot be used, Open
// warns and goes on without the lock and without sweeping; whatever has to be
// installed later fails with that reason, because what cannot be recorded may
// not be installed. A device that needs nothing works.
//
// A damaged state file, or one of another version, is moved aside to
// NAME.state.damaged with a warning: what it lists stays on the host.
func Open(statedir, instance string, log *slog.Logger) (*Set, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	s, err := newSet(k, statedir, instance, log)
	if err != nil {
		k.close()
		return nil, err
	}
	s.sweep()
	return s, nil
}

func newSet(k kernel, statedir, instance string, log *slog.Logger) (*Set, error) {
	st, err := openStore(statedir, instance)
	if err != nil {
		return nil, err
	}
	if st.err != nil {
		log.Warn("state directory cannot be used, nothing can be installed", "instance", instance, "err", st.err)
	}
	return &Set{log: log, kernel: k, store: st}, nil
}

// sweep undoes what a predecessor left. What it cannot undo stays on record.
func (s *Set) sweep() {
	left := s.store.load(s.log)
	if left.empty() {
		return
	}
	log := s.log.With("device", left.Device.Name, "addresses", len(left.Addrs), "routes", len(left.Routes))
	if here := s.kernel.place(); left.Place != here {
		log.Info("what a killed instance left is of another boot or network namespace")
		left = record{}
	}
	s.rec = left
	if err := s.undo(); err != nil {
		log.Warn("cannot sweep what a killed instance left", "err", err)
	} else if !left.empty() {
		log.Info("swept what a killed instance left")
	}
}

// Apply brings the device and the routes to the wanted state. It changes only
// what differs. When it fails the host is as it was before.
func (s *Set) Apply(dev string, want State) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.apply(dev, want.clone()); err != nil {
		s.rollBack()
		return fmt.Errorf("configure %s: %w", dev, err)
	}
	s.dev, s.want = dev, want.clone()
	return nil
}

func (s *Set) apply(dev string, want State) error {
	return s.converge(func(h host) ([]step, record, error) {
		l, ok := h.named(dev)
		if !ok {
			return nil, s.rec, fmt.Errorf("interface %s: %w", dev, ErrUnavailable)
		}
		return planApply(h, s.rec, l, want, s.dialed)
	})
}

func (s *Set) rollBack() {
	var err error
	switch {
	case s.closed:
	case s.dev == "":
		err = s.undo()
	default:
		err = s.apply(s.dev, s.want)
	}
	if err != nil {
		s.log.Warn("cannot go back to the state before", "err", err)
	}
}

// Pin keeps an outer address reachable outside the tunnel. It is to be called
// with the resolved address of the server before each dial: when a route into
// the tunnel covers the address, Pin installs a host route by the way that the
// host has without the tunnel, or changes it when that way has changed. It
// fails when there is none.
func (s *Set) Pin(outer netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	outer = plain(outer)
	s.dialed = latest(s.dialed, outer)
	return s.pin(outer)
}

// Settle is to be called with the address by which the link came up: the pins of
// others that were dialed are removed. A name server, or somebody who forges its
// answers, must not decide for good what goes outside the tunnel.
func (s *Set) Settle(outer netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	outer = plain(outer)
	if len(s.dialed) < 2 || !slices.Contains(s.dialed, outer) {
		return nil
	}
	s.dialed = []netip.Addr{outer}
	return s.pin(outer)
}

// pin sees to the pin of outer, and that there are none but of dialed addresses.
func (s *Set) pin(outer netip.Addr) error {
	if s.dev == "" {
		return nil // Apply will see to it
	}
	err := s.converge(func(h host) ([]step, record, error) {
		l, err := s.device(h)
		if err != nil {
			return nil, s.rec, err
		}
		return planPin(h, s.rec, l, s.want, outer, s.dialed)
	})
	if err != nil {
		return fmt.Errorf("pin %s: %w", outer, err)
	}
	return nil
}

// latest returns the list with a at its end, without the oldest if it grew too
// long.
func latest(list []netip.Addr, a netip.Addr) []netip.Addr {
	list = slices.DeleteFunc(list, func(x netip.Addr) bool { return x == a })
	list = append(list, a)
	return list[max(0, len(list)-maxDialed):]
}

// Close removes everything that the Set has installed, puts the device back as
// it was, and gives up the state file and the lock. What it could not remove
// stays in the state file for the next Open.
func (s *Set) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	err := s.undo()
	s.closed = true
	err = errors.Join(err, s.store.close())
	s.kernel.close()
	return err
}

// converge looks at the host, plans, records and does, until nothing is left.
func (s *Set) converge(plan func(host) ([]step, record, error)) error {
	if s.closed {
		return os.ErrClosed
	}
	failed := errChanged
	for range maxRounds {
		h, err := s.kernel.read()
		if err != nil {
			return err
		}
		steps, rec, err := plan(h)
		if err != nil {
			return err
		}
		if err := s.record(rec, steps); err != nil {
			return err
		}
		if len(steps) == 0 {
			return nil
		}
		failed = cmp.Or(s.do(steps), errChanged)
		if !errors.Is(failed, errChanged) {
			return failed
		}
	}
	return failed
}

// record makes rec the record. One that merely lists too much is good enough: what
// comes back after others took it away does not hang on a disk that is full by now.
func (s *Set) record(rec record, steps []step) error {
	rec.Place = s.kernel.place()
	covered := s.saved.covers(rec)
	if covered && rec.covers(s.saved) {
		s.rec = rec
		return nil
	}
	if err := s.store.save(rec); err == nil {
		s.saved = rec
	} else if !covered && slices.ContainsFunc(steps, step.adds) {
		return unrecorded(err, steps)
	} else {
		s.log.Warn("cannot update the state file", "err", err)
	}
	s.rec = rec
	return nil
}

func (s *Set) do(steps []step) error {
	for i, st := range steps {
		s.log.Debug("change the host", "command", st.String())
		if err := s.kernel.do(st); err != nil {
			return refused(err, steps[i:])
		}
	}
	return nil
}

// undo takes away all that is on record.
func (s *Set) undo() error {
	for range maxRounds {
		h, err := s.kernel.read()
		if err != nil {
			return err
		}
		steps := planUndo(h, s.rec)
		if len(steps) == 0 {
			s.rec, s.saved = record{}, record{}
			return s.store.remove()
		}
		var errs []error
		for i, st := range steps {
			s.log.Debug("change the host back", "command", st.String())
			if err := s.kernel.do(st); err != nil && !errors.Is(err, errChanged) {
				errs = append(errs, refused(err, steps[i:i+1]))
			}
		}
		if len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
	return errChanged
}

// refused explains why the first of the steps failed, and what root can do.
func refused(err error, steps []step) error {
	if errors.Is(err, ErrPermission) {
		return fmt.Errorf("%s: %w: run as root (CAP_NET_ADMIN), or let root do it: %s", steps[0], err, commands(steps))
	}
	return fmt.Errorf("%s: %w", steps[0], err)
}

// unrecorded explains why the steps are not taken.
func unrecorded(err error, steps []step) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%s: %w: it cannot be recorded: %w: run as root, or let root do it: %s", steps[0], ErrPermission, err, commands(steps))
	}
	return fmt.Errorf("%s: it cannot be recorded: %w", steps[0], err)
}
