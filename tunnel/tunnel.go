package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/loglimit"
	"vpnd/tunnel/queue"
)

// Dial opens one connection to a server.
type Dial func(ctx context.Context) (net.Conn, error)

// Config is what a tunnel needs. One of Listener, Servers and Line is set.
type Config struct {
	Device Device // closed by Run
	// MTU of the device in bytes: longer packets are dropped.
	MTU int
	// NoIPv6 and NoMulticast keep packets of the host off the link: all of IPv6; those
	// to multicast and broadcast addresses.
	NoIPv6, NoMulticast bool
	// Local are this end's inner addresses; they are only compared with what the
	// peer expects.
	Local, Remote []netip.Addr
	// Auto has a client take its inner addresses from the server, see Link. Local is
	// empty then, and Remote may be.
	Auto bool

	// Listener makes this end the server. Run closes it.
	Listener net.Listener
	// Admit reports whether a caller's address may connect; nil admits everybody.
	Admit func(netip.AddrPort) bool

	// Servers makes this end the client. They are tried in order.
	Servers []Dial
	// FixedPort says that all dials use one local port, so that there can be one at
	// a time only.
	FixedPort bool
	// Prepare is called with each new connection, and again with that of the link when
	// the tuning has changed; nil does nothing.
	Prepare func(net.Conn) error
	// Client tells this client apart from others with the same key.
	Client crypto.ClientID

	// Line makes the link one over a serial line, instead of Listener and Servers.
	Line *Line

	// Hub makes a server one for many clients; nil: the tunnel has two ends.
	Hub *Hub

	// Keys are shared keys: the first is for calling, all are accepted. Without them
	// Door is where a server's callers arrive, and Key what a client calls with.
	Keys     []*crypto.Key
	Door     Door
	Key      Key
	Random   io.Reader
	Ciphers  []crypto.Cipher // in order of preference
	KeyBits  int             // of a Blowfish key
	KeyTTL   time.Duration   // a session key's age when it is replaced
	MaxDelay time.Duration   // 0: not checked

	Tuning Tuning
	Log    *slog.Logger
	// Up and Down are called when a link is established and when it has ended, in
	// that order; they must not block.
	Up   func(Link)
	Down func(Link, error)
	// Now is a clock that goes on while the host is suspended; nil takes the
	// host's.
	Now func() time.Duration
}

// Tuning is what can be changed while a tunnel runs.
type Tuning struct {
	Keepalive time.Duration // silence after which the peer is asked
	NoAnswer  int           // unanswered questions that end the link
	Retry     time.Duration // longest wait between dials
	Compress  string        // policy of compress.NewEncoder
	SendBuf   int           // most bytes of packets in a frame
}

// queueBytes bounds what waits for a link.
const queueBytes = 2 << 20

// Tunnel carries packets between one TUN device and its peer.
type Tunnel struct {
	config Config
	tuning atomic.Pointer[Tuning]
	pool   *queue.Pool
	redial chan struct{}
	count  counters // of the one peer, or of what belongs to none
	door   Door
	key    Key
	doubt  loglimit.Limit               // of callers
	told   loglimit.Limit               // callers whose number was used
	limits [refusedCount]loglimit.Limit // one for each cause, so that none hides another
	bad    loglimit.Limit               // of packets from the device
	point  *peer                        // the other end of a tunnel with two ends; of a hub: nobody
	hub    *hub                         // nil: a tunnel with two ends
	demand demand

	mu sync.Mutex // state of the peers, and which there are
}

// New checks the configuration and returns a tunnel that Run starts.
func New(c Config) (*Tunnel, error) {
	switch {
	case c.ways() != 1:
		return nil, errors.New("either a listener, or servers, or a line")
	case len(c.Ciphers) == 0:
		return nil, errors.New("no cipher")
	case c.Hub != nil && c.Listener == nil:
		return nil, errors.New("a hub without a listener")
	}
	if _, err := compress.NewEncoder(c.Tuning.Compress, compress.All); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = bootTime
	}
	t := &Tunnel{
		config: c,
		pool:   queue.NewPool(c.MTU, wholeSize, readSize),
		redial: make(chan struct{}, 1),
	}
	if err := t.settleAuth(); err != nil {
		return nil, err
	}
	t.point = &peer{notes: new(notes), count: &t.count, inside: newDeliverer(c.Device, &t.count), since: time.Now()}
	switch {
	case c.Listener != nil && c.Hub == nil:
		t.point.reason = "nobody has called yet"
	case c.Line != nil:
		t.point.reason = "nothing has come from the other end yet"
	}
	if c.Hub != nil {
		t.hub = newHub(c.Hub)
	}
	t.demand.init(t)
	t.tuning.Store(&c.Tuning)
	return t, nil
}

// ways counts the ways to the peer.
func (c *Config) ways() (n int) {
	for _, is := range []bool{c.Listener != nil, len(c.Servers) > 0, c.Line != nil} {
		if is {
			n++
		}
	}
	return n
}

// Tune changes the tuning; links that are up follow at once.
func (t *Tunnel) Tune(tune Tuning) {
	t.tuning.Store(&tune)
	if t.config.Prepare == nil {
		return
	}
	for _, s := range t.links() {
		if err := t.config.Prepare(s.conn); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("connection not changed", "error", err)
		}
	}
}

// Redial makes a client drop its link, or its wait, and dial now. A mesh calls all peers
// whose links do not answer at once.
func (t *Tunnel) Redial() {
	if t.hub.isMesh() {
		t.mistrustAll()
		return
	}
	select {
	case t.redial <- struct{}{}:
	default:
	}
}

// Run carries packets until ctx ends, then closes the link with a reason, and
// the device. It returns nil then, and an error when the device or the listener
// fails.
func (t *Tunnel) Run(ctx context.Context) error {
	parent := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(parent))
	defer context.AfterFunc(parent, func() { cancel(errShutdown) })()
	var reader sync.WaitGroup
	reader.Go(func() { cancel(t.readDevice()) })
	var err error
	switch {
	case t.config.Line != nil:
		err = t.overLine(ctx)
	case t.hub != nil:
		watched, stop := context.WithCancel(ctx)
		reader.Go(func() { t.watchLinks(watched) })
		hangUp := func() {}
		if t.hub.isMesh() {
			hangUp = t.startMesh(ctx)
		}
		err = t.serve(ctx)
		hangUp()
		stop()
	case t.config.Listener != nil:
		err = t.serve(ctx)
	default:
		err = t.call(ctx)
	}
	if cause := context.Cause(ctx); err == nil && errors.Is(cause, ErrDevice) {
		err = cause
	}
	if cerr := t.config.Device.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("close device: %w", cerr)
	}
	reader.Wait()
	cancel(nil)
	return err
}
