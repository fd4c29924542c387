package tunnel

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// puppet is a peer without a will of its own: it has the keys, and sends what a
// test tells it, right or wrong.
type puppet struct {
	t      *testing.T
	conn   net.Conn
	suite  crypto.Suite
	keys   *crypto.Generation
	frames *frame.Reader
	sealer *crypto.Sealer
	opener *crypto.Opener
}

// arrival is a frame that came to a puppet.
type arrival struct {
	kind    uint8
	payload []byte
	at      time.Time
}

// flight returns a first flight as a client with the configuration sends it.
func flight(t *testing.T, c Config) (*crypto.Initiator, []byte) {
	t.Helper()
	tuning := c.Tuning
	caller := &Tunnel{config: c}
	caller.tuning.Store(&tuning)
	key := c.Key
	if key == nil {
		key = sharedKey{c.Random, c.Keys[0]}
	}
	i, f1, err := key.Initiate(caller.hello().append(nil))
	if err != nil {
		t.Fatal(err)
	}
	return i, f1
}

// puppetCaller shakes hands as a client, without CONFIRM.
func puppetCaller(t *testing.T, conn net.Conn, c Config) *puppet {
	t.Helper()
	i, f1 := flight(t, c)
	if _, err := conn.Write(f1); err != nil {
		t.Fatal(err)
	}
	return enter(t, conn, i)
}

// enter takes the second flight.
func enter(t *testing.T, conn net.Conn, i *crypto.Initiator) *puppet {
	t.Helper()
	f2 := make([]byte, crypto.F2Size)
	if _, err := io.ReadFull(conn, f2); err != nil {
		t.Fatal("second flight:", err)
	}
	text, keys, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseAnswer(text)
	if err != nil || a.reason != reasonNone {
		t.Fatal(a.reason, err)
	}
	return newPuppet(t, conn, a, keys)
}

// newPuppet has the answer of a handshake and its keys.
func newPuppet(t *testing.T, conn net.Conn, a answer, keys *crypto.Generation) *puppet {
	t.Helper()
	p := &puppet{t: t, conn: conn, keys: keys, frames: frame.NewReader(conn, frame.MaxText)}
	p.suite = crypto.Suite{Cipher: a.cipher, KeyBits: a.terms.keyBits}
	p.renew(keys)
	return p
}

// renew takes the keys of a generation for both directions.
func (p *puppet) renew(keys *crypto.Generation) {
	p.t.Helper()
	var err error
	if p.sealer, p.opener, err = keys.Keys(p.suite); err != nil {
		p.t.Fatal(err)
	}
	p.keys = keys
}

// puppetServer takes the next caller of a road and shakes hands with it. The
// answer is the one that a server with the configuration gives, after change.
func puppetServer(t *testing.T, r *road, c Config, change func(*answer)) *puppet {
	t.Helper()
	conn := await(t, r.arrived, "caller")
	t.Cleanup(func() { conn.Close() })
	f1 := make([]byte, crypto.F1Size)
	if _, err := io.ReadFull(conn, f1); err != nil {
		t.Fatal("first flight:", err)
	}
	call, err := crypto.NewDoor(c.Random, c.Keys...).Open(f1)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHello(call.Hello)
	if err != nil {
		t.Fatal(err)
	}
	tuning := c.Tuning
	server := &Tunnel{config: c}
	server.tuning.Store(&tuning)
	a := server.choose(h)
	if change != nil {
		change(&a)
	}
	f2, keys, err := call.Answer(a.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(f2); err != nil {
		t.Fatal(err)
	}
	return newPuppet(t, conn, a, keys)
}

// send seals and sends one frame.
func (p *puppet) send(kind uint8, payload ...byte) {
	p.t.Helper()
	p.sendRaw(p.seal(kind, payload...))
}

func (p *puppet) seal(kind uint8, payload ...byte) []byte {
	p.t.Helper()
	f := append(make([]byte, frame.HeaderSize), kind)
	f = append(f, payload...)
	frame.PutHeader(f, len(f)-frame.HeaderSize)
	sealed, err := p.sealer.Seal(f, frame.HeaderSize)
	if err != nil {
		p.t.Fatal(err)
	}
	return sealed
}

// sendRaw writes bytes; the peer may have closed the connection by then.
func (p *puppet) sendRaw(b []byte) { p.conn.Write(b) }

// next returns the next frame, and follows the peer into the next epoch.
func (p *puppet) next() (arrival, error) {
	p.t.Helper()
	header, body, err := p.frames.Next()
	if err != nil {
		return arrival{}, err
	}
	text, err := p.opener.Open(header, body)
	if err != nil {
		p.t.Errorf("open frame: %v", err)
		return arrival{}, err
	}
	a := arrival{text[0], append([]byte(nil), text[1:]...), time.Now()}
	if a.kind == frameRatchet && a.payload[0] == nextEpoch {
		err = p.opener.Ratchet()
	}
	return a, err
}

// expect returns the payload of the next frame of a kind, and passes over those
// before it.
func (p *puppet) expect(kind uint8) []byte {
	p.t.Helper()
	for {
		a, err := p.next()
		if err != nil {
			p.t.Fatalf("no frame of type %d: %v", kind, err)
		}
		if a.kind == kind {
			return a.payload
		}
	}
}

// collect returns all frames until the connection ends.
func (p *puppet) collect() (all []arrival) {
	p.t.Helper()
	for {
		a, err := p.next()
		if err != nil {
			return all
		}
		all = append(all, a)
	}
}

// drain reads and forgets what the peer sends, so that it is never held up.
func (p *puppet) drain() { go io.Copy(io.Discard, p.conn) }

// closing reads to the end and returns the reason of the CLOSE that stands
// there, 0 for none.
func (p *puppet) closing() closeReason {
	p.t.Helper()
	all := p.collect()
	if n := len(all); n > 0 && all[n-1].kind == frameClose {
		return closeReason(all[n-1].payload[0])
	}
	return 0
}

// rekey is the client's part of a rekey up to REKEY2.
func (p *puppet) rekey(random io.Reader) *crypto.Generation {
	p.t.Helper()
	rekey, m1, err := p.keys.Rekey(random)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(frameRekey1, m1...)
	next, err := rekey.Finish(p.expect(frameRekey2))
	if err != nil {
		p.t.Fatal(err)
	}
	return next
}

// up waits until the peer's link is up.
func (p *puppet) confirmed(e *end) *puppet {
	p.t.Helper()
	p.send(frameConfirm)
	await(p.t, e.up, "link")
	return p
}

// stamped is clocks as the payload of a TIME, PING or PONG.
func stamped(clocks ...time.Duration) (b []byte) {
	for _, c := range clocks {
		b = binary.BigEndian.AppendUint64(b, uint64(c))
	}
	return b
}

// stored is the payload of a BATCH with packets that are not compressed.
func stored(packets ...[]byte) []byte {
	b := []byte{0}
	for _, p := range packets {
		b = append(b, p...)
	}
	return b
}

var errTest = errors.New("made by the test")
