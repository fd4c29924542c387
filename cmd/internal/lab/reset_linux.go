package lab

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Sizes and values of linux/inet_diag.h.
const (
	diagIDSize      = 48     // struct inet_diag_sockid
	diagIDOffset    = 4      // of the id in struct inet_diag_msg
	diagEstablished = 1 << 1 // bit of TCP_ESTABLISHED in a set of states
	diagRequestSize = 8 + diagIDSize
)

// ResetTCP makes the kernel abort every established TCP connection of the
// namespace that has port at either end: the local program reads an error,
// the peer gets a RST. It returns how many there were.
func (n *Namespace) ResetTCP(port uint16) (int, error) {
	reset := 0
	err := n.Do(func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			ids, err := establishedTCP(family)
			if err != nil {
				return fmt.Errorf("list sockets: %w", err)
			}
			for _, id := range ids {
				if !id.hasPort(port) {
					continue
				}
				if err := destroyTCP(family, id); err != nil {
					return fmt.Errorf("destroy socket (needs a kernel with CONFIG_INET_DIAG_DESTROY): %w", err)
				}
				reset++
			}
		}
		return nil
	})
	if err != nil {
		return reset, fmt.Errorf("reset connections of port %d in %s: %w", port, n.name, err)
	}
	return reset, nil
}

// socketID is a struct inet_diag_sockid as the kernel wrote it.
type socketID []byte

func (id socketID) hasPort(port uint16) bool {
	return binary.BigEndian.Uint16(id) == port || binary.BigEndian.Uint16(id[2:]) == port
}

// diagRequest is a struct inet_diag_req_v2.
type diagRequest []byte

func newDiagRequest(family uint8, id socketID) diagRequest {
	r := make(diagRequest, diagRequestSize)
	r[0], r[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[4:], diagEstablished)
	copy(r[8:], id)
	return r
}

// Len returns the size of the request.
func (r diagRequest) Len() int { return len(r) }

// Serialize returns the request as it is sent.
func (r diagRequest) Serialize() []byte { return r }

func establishedTCP(family uint8) ([]socketID, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	req.AddData(newDiagRequest(family, nil))
	messages, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	if err != nil {
		return nil, err
	}
	var ids []socketID
	for _, m := range messages {
		if len(m) < diagIDOffset+diagIDSize {
			return nil, errors.New("short answer")
		}
		ids = append(ids, socketID(m[diagIDOffset:][:diagIDSize]))
	}
	return ids, nil
}

// destroyTCP aborts one connection. One that has ended by itself is fine.
func destroyTCP(family uint8, id socketID) error {
	req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	req.AddData(newDiagRequest(family, id))
	_, err := req.Execute(unix.NETLINK_INET_DIAG, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
