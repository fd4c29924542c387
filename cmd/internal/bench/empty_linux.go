package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.zx2c4.com/wireguard/tun"
)

// The empty tunnel carries packets over one TCP connection and does nothing else:
// no cipher, no compression, no queue. It is what a tunnel written in Go on this
// device can reach. On the connection each packet follows its length, 2 bytes,
// big-endian.
const (
	emptyMTU = 1500
	// emptyHeadroom is what the device needs in front of a packet that it writes.
	emptyHeadroom = 16
	emptyPacket   = emptyHeadroom + 1<<16
	emptyLength   = 2
	emptyRead     = 256 << 10
)

func startEmpty(ctx context.Context, b *bed) error {
	at := fmt.Sprintf("%v:%d", outerB, port)
	if err := b.startBoth(ctx, b.role(roleEmpty, "listen", at), b.role(roleEmpty, "dial", at)); err != nil {
		return err
	}
	return b.address(ctx, 0)
}

// playEmpty is one end.
func playEmpty(how, at string) error {
	conn, err := emptyConn(how, at)
	if err != nil {
		return err
	}
	dev, err := tun.CreateTUN(tunnelDevice, emptyMTU)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- emptyOut(dev, conn) }()
	go func() { failed <- emptyIn(dev, conn) }()
	return <-failed // the process ends with it
}

func emptyConn(how, at string) (net.Conn, error) {
	if how == "dial" {
		return net.Dial("tcp4", at)
	}
	l, err := net.Listen("tcp4", at)
	if err != nil {
		return nil, err
	}
	return l.Accept()
}

// emptyOut sends all packets of one read in one write.
func emptyOut(dev tun.Device, conn net.Conn) error {
	packets, sizes := emptyBuffers(dev), make([]int, dev.BatchSize())
	var out []byte
	for {
		n, err := dev.Read(packets, sizes, emptyHeadroom)
		if errors.Is(err, os.ErrClosed) {
			return err
		}
		out = out[:0]
		for i, p := range packets[:n] { // any other error is that of a packet
			out = binary.BigEndian.AppendUint16(out, uint16(sizes[i]))
			out = append(out, p[emptyHeadroom:emptyHeadroom+sizes[i]]...)
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}

// emptyIn gives all packets of one read to the device at once.
func emptyIn(dev tun.Device, conn net.Conn) error {
	packets := emptyBuffers(dev)
	in, have := make([]byte, emptyRead), 0
	for {
		n, err := conn.Read(in[have:])
		if err != nil {
			return err
		}
		have += n
		have = copy(in, emptyDeliver(dev, packets, in[:have]))
	}
}

// emptyDeliver writes the packets that are there in full, and returns the rest.
func emptyDeliver(dev tun.Device, packets [][]byte, in []byte) []byte {
	batch := packets[:0:len(packets)]
	for {
		whole := len(in) >= emptyLength && len(in) >= emptyLength+int(binary.BigEndian.Uint16(in))
		if len(batch) == cap(batch) || !whole && len(batch) > 0 {
			_, _ = dev.Write(batch, emptyHeadroom) // an error is that of a packet
			batch = batch[:0]
		}
		if !whole {
			return in
		}
		end := emptyLength + int(binary.BigEndian.Uint16(in))
		p := append(packets[len(batch)][:emptyHeadroom], in[emptyLength:end]...)
		batch = append(batch, p)
		in = in[end:]
	}
}

func emptyBuffers(dev tun.Device) [][]byte {
	list := make([][]byte, dev.BatchSize())
	for i := range list {
		list[i] = make([]byte, emptyPacket)
	}
	return list
}
