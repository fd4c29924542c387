package registry

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// mail is what is to be sent to gateways when the answer is written.
type mail struct {
	mu      sync.Mutex
	parcels []parcel
	news    *news
	wake    chan struct{}
}

// parcel is a datagram for an address.
type parcel struct {
	to       netip.AddrPort
	datagram []byte
}

// news is a table that gateways do not have yet. Only the latest one counts.
type news struct {
	epoch    Epoch
	serial   uint64
	except   string // who has it
	gateways []Gateway
}

// maxParcels bounds what waits. What is left out is sent when it is asked for again.
const maxParcels = 64

func (m *mail) add(p parcel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.parcels) < maxParcels {
		m.parcels = append(m.parcels, p)
	}
	m.ring()
}

func (m *mail) nudge(epoch Epoch, serial uint64, except string, gateways []Gateway) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := &news{epoch, serial, except, gateways}
	if old := m.news; old != nil && old.epoch == epoch {
		if old.serial > serial {
			return
		}
		if old.except != except {
			n.except = "" // who has the one before has not this one
		}
	}
	m.news = n
	m.ring()
}

// ring wakes who sends, if he waits.
func (m *mail) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mail) take() ([]parcel, *news) {
	m.mu.Lock()
	defer m.mu.Unlock()
	parcels, n := m.parcels, m.news
	m.parcels, m.news = nil, nil
	return parcels, n
}

// Run sends nudges and checks as they come up, until the context ends.
func (h *Handler) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.mail.wake:
			if err := h.SendMail(); err != nil {
				h.log.Warn("gateways were not told of a change: they will ask", "error", err)
			}
		}
	}
}

// SendMail sends the nudges and checks that have come up. It waits for nobody.
func (h *Handler) SendMail() error {
	parcels, news := h.mail.take()
	if news != nil {
		parcels = append(parcels, h.nudges(news)...)
	}
	if len(parcels) == 0 {
		return nil
	}
	conn, err := net.ListenUDP("udp", nil)
	if err != nil {
		return fmt.Errorf("send nudges: %w", err)
	}
	defer conn.Close()
	for _, p := range parcels {
		conn.WriteToUDPAddrPort(p.datagram, p.to) // no way to one is no reason to leave out the others
	}
	return nil
}

// nudges returns a nudge for each live gateway that has not asked just now.
func (h *Handler) nudges(n *news) (list []parcel) {
	for _, g := range n.gateways {
		if g.State == Live && g.Name != n.except && g.Endpoint.IsValid() {
			list = append(list, parcel{g.Endpoint, nudge(signOf(h.own, g.Key, n.epoch), n.serial)})
		}
	}
	return list
}
