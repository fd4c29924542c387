package number

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// model is a client, a server, a line that loses flights and somebody who records all
// of them and plays them again. Both ends crash, lose power, have broken and full
// disks and are put back to old states; the client's clock jumps.
type model struct {
	t      testing.TB
	random *rand.Rand
	at     *clock
	log    []string

	clientDisk, serverDisk     *fakeDisk
	clientBackup, serverBackup map[string][]byte
	client                     *Client // nil while it is down
	server                     *Journal

	flights  []Call          // all that were ever sent
	used     uint64          // the greatest number that was ever sent
	answered map[uint64]bool // since the server was put back
	forgot   bool            // the client was put back, and is not ahead of all flights yet
	lockouts int
}

func newModel(t testing.TB, seed uint64) *model {
	return &model{
		t: t, random: rand.New(rand.NewPCG(seed, 0)), at: newClock(), answered: make(map[uint64]bool),
		clientDisk: newFakeDisk(), serverDisk: newFakeDisk(),
	}
}

// actions are what may happen, by the number of a byte.
var actions = []struct {
	name string
	do   func(m *model)
}{
	{"call", func(m *model) { m.call(true) }},
	{"call, and it is lost", func(m *model) { m.call(false) }},
	{"play", (*model).play},
	{"play all", func(m *model) {
		for _, c := range m.flights {
			m.receive(c)
		}
	}},
	{"kill client", func(m *model) { m.client, m.clientDisk = nil, m.clientDisk.killed() }},
	{"unplug client", func(m *model) { m.client, m.clientDisk = nil, m.clientDisk.unplugged(m.random) }},
	{"kill server", func(m *model) { m.server, m.serverDisk = nil, m.serverDisk.killed() }},
	{"unplug server", func(m *model) { m.server, m.serverDisk = nil, m.serverDisk.unplugged(m.random) }},
	{"break client's disk", func(m *model) { m.clientDisk.fault = m.faults() }},
	{"break server's disk", func(m *model) { m.serverDisk.fault = m.faults() }},
	{"fill client's disk", func(m *model) { m.clientDisk.full = !m.clientDisk.full }},
	{"fill server's disk", func(m *model) { m.serverDisk.full = !m.serverDisk.full }},
	{"a second", func(m *model) { m.at.advance(time.Second) }},
	{"an hour", func(m *model) { m.at.advance(time.Hour) }},
	{"a year ahead", func(m *model) { m.at.advance(365 * 24 * time.Hour) }},
	{"a year back", func(m *model) { m.at.advance(-365 * 24 * time.Hour) }},
	{"back up client", func(m *model) { m.clientBackup = m.clientDisk.contents() }},
	{"put client back", func(m *model) {
		m.client, m.forgot = nil, true
		m.clientDisk = diskWith(m.clientBackup)
	}},
	{"back up server", func(m *model) { m.serverBackup = m.serverDisk.contents() }},
	{"put server back", func(m *model) {
		m.server, m.answered = nil, make(map[uint64]bool)
		m.serverDisk = diskWith(m.serverBackup)
	}},
	{"settle", (*model).settle},
}

func (m *model) run(script []byte) {
	for _, b := range script {
		a := actions[int(b)%len(actions)]
		m.log = append(m.log, a.name)
		a.do(m)
	}
	m.log = append(m.log, "settle")
	m.settle()
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\nafter %q", fmt.Sprintf(format, args...), m.log)
}

// faults lets the disk fail or crash at one of the next steps.
func (m *model) faults() func(int, string) fault {
	left, kind := m.random.IntN(5), failing+fault(m.random.IntN(2))
	return func(int, string) fault {
		left--
		if left == -1 {
			return kind
		}
		return none
	}
}

func (d *fakeDisk) contents() map[string][]byte {
	all := make(map[string][]byte)
	for name, i := range d.names {
		all[name] = slices.Clone(i.seen)
	}
	return all
}

func diskWith(files map[string][]byte) *fakeDisk {
	d := newFakeDisk()
	for name, text := range files {
		i := &inode{seen: slices.Clone(text), lasting: slices.Clone(text)}
		d.names[name], d.lasting[name] = i, i
	}
	return d
}

// start starts what is down. A disk may let that fail.
func (m *model) start() {
	if m.client == nil {
		m.client, _ = openClient(m.clientDisk, clientPath, testID, m.at.now)
	}
	if m.server == nil {
		var err error
		if m.server, err = openJournal(m.serverDisk, journalPath, m.at.now); err != nil {
			m.fatalf("the server does not start: %v", err)
		}
	}
}

// call lets the client call. No number may be used twice, not even for a flight that
// nobody received, as long as the client has its state.
func (m *model) call(arrives bool) error {
	m.start()
	if m.client == nil {
		return errDisk
	}
	c, err := m.client.Next()
	if err != nil {
		return err
	}
	if !m.forgot && (c.Number <= m.used || c.Before < m.used) {
		m.fatalf("the client sends %+v, and has sent %d", c, m.used)
	}
	m.used = max(m.used, c.Number)
	m.flights = append(m.flights, c)
	if !arrives {
		return nil
	}
	return m.receive(c)
}

// play plays a recorded flight.
func (m *model) play() {
	if len(m.flights) > 0 {
		m.receive(m.flights[m.random.IntN(len(m.flights))])
	}
}

// receive gives a flight to the server, which must not answer a number twice.
func (m *model) receive(c Call) error {
	m.start()
	last := m.server.Last(testID)
	_, err := m.server.Accept(testID, c)
	if err != nil {
		return err
	}
	if m.answered[c.Number] {
		m.fatalf("%+v is answered again", c)
	}
	if c.Number <= last {
		m.fatalf("%+v is answered after %d", c, last)
	}
	m.answered[c.Number] = true
	return nil
}

// settle mends the disks and lets the client call. It is served, unless it was put
// back to an old state and its clock has been ahead of what it is now; then it is
// served after it was told.
func (m *model) settle() {
	for _, d := range []*fakeDisk{m.clientDisk, m.serverDisk} {
		if d.fault != nil {
			m.client, m.server = nil, nil
		}
		d.fault, d.full = nil, false
	}
	err := m.call(true)
	var used *UsedError
	if m.forgot && errors.As(err, &used) && used.Last >= m.at.ms() {
		m.lockouts++
		m.server.Tell(testID, m.at.now().Add(time.Minute))
		if err = m.call(true); errors.As(err, &used) { // if not, it was very near
			if !used.Told {
				m.fatalf("the client is not told: %v", err)
			}
			if err := m.client.Raise(used.Last); err != nil {
				m.fatalf("raise: %v", err)
			}
			err = m.call(true)
		}
	}
	if err != nil {
		m.fatalf("the client is locked out: %v", err)
	}
	// A flight that was held back may still come.
	last := m.flights[len(m.flights)-1].Number
	m.forgot = m.forgot && last < m.used
}

// TestModel plays many random lives.
func TestModel(t *testing.T) {
	lockouts, answered := 0, 0
	const lives = 500
	for seed := range uint64(lives) {
		m := newModel(t, seed)
		script := make([]byte, 60)
		for i := range script {
			script[i] = byte(m.random.IntN(len(actions)))
			if m.random.IntN(3) == 0 {
				script[i] = 0
			}
		}
		m.run(script)
		lockouts += m.lockouts
		answered += len(m.answered)
	}
	if lockouts == 0 {
		t.Error("the one case in which a client has to be told did not come")
	}
	t.Logf("%d lives, %d calls answered, %d clients had to be told", lives, answered, lockouts)
}

// FuzzModel plays lives that the fuzzer makes up.
func FuzzModel(f *testing.F) {
	f.Add(uint64(0), []byte{0})
	for n := range byte(len(actions)) {
		f.Add(uint64(n), []byte{0, n, 0, 2, n, 3, 0})
	}
	f.Add(uint64(1), []byte{0, 16, 14, 0, 15, 17, 0}) // the one case
	f.Fuzz(func(t *testing.T, seed uint64, script []byte) {
		newModel(t, seed).run(script[:min(len(script), 200)])
	})
}
