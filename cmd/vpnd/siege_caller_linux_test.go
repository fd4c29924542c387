package main

import (
	"crypto/rand"
	bytesof "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"vpnd/cmd/internal/lab"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// record returns a first flight that the server has answered.
func (s *siege) record() []byte {
	s.t.Helper()
	_, f1, err := crypto.Initiate(s.key, rand.Reader, helloOf(2))
	must(s.t, err)
	conn := s.dial(s.honest)
	_, err = conn.Write(f1)
	must(s.t, err)
	_, err = io.ReadFull(conn, make([]byte, crypto.F2Size))
	must(s.t, err)
	must(s.t, conn.Close())
	return f1
}

// callFor calls for a while without becoming the link.
func (s *siege) callFor(d time.Duration) (took []time.Duration) {
	s.t.Helper()
	for began := time.Now(); time.Since(began) < d; time.Sleep(50 * time.Millisecond) {
		took = append(took, s.calls(1, s.honest.ns, netip.Addr{}, false)...)
	}
	return took
}

// calls calls n times, and returns how long each took to succeed. Like a client,
// a caller that fails calls again.
func (s *siege) calls(n int, from *lab.Namespace, src netip.Addr, prove bool) (took []time.Duration) {
	s.t.Helper()
	for range n {
		began := time.Now()
		for err := s.call(from, src, prove); err != nil; err = s.call(from, src, prove) {
			s.vain++
			if time.Since(began) > patience {
				s.t.Fatalf("honest caller from %s: %v", from.Name(), err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		took = append(took, time.Since(began))
	}
	return took
}

// call calls as a client does, up to the server's answer, or, to prove itself, up
// to the first frame that the server sends over the link.
func (s *siege) call(from *lab.Namespace, src netip.Addr, prove bool) error {
	conn, err := from.Dial(s.t.Context(), src, netip.AddrPortFrom(serverOuter, outerPort))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := errors.Join(conn.SetLinger(0), conn.SetDeadline(time.Now().Add(5*time.Second))); err != nil {
		return err
	}
	initiator, f1, err := crypto.Initiate(s.key, rand.Reader, helloOf(2))
	if err != nil {
		return err
	}
	if _, err := conn.Write(f1); err != nil {
		return err
	}
	f2 := make([]byte, crypto.F2Size)
	if _, err := io.ReadFull(conn, f2); err != nil {
		return err
	}
	answer, keys, err := initiator.Finish(f2)
	switch {
	case err != nil:
		return err
	case answer[0] != 0:
		return fmt.Errorf("refused for reason %d", answer[0])
	case !prove:
		return nil
	}
	suite := crypto.Suite{Cipher: crypto.Cipher(answer[2]), KeyBits: int(bytesof.BigEndian.Uint16(answer[4:]))}
	sealer, opener, err := keys.Keys(suite)
	if err != nil {
		return err
	}
	const typeConfirm = 8
	confirm := make([]byte, frame.HeaderSize, 100)
	frame.PutHeader(confirm, 1)
	confirm, err = sealer.Seal(append(confirm, typeConfirm), frame.HeaderSize)
	if err != nil {
		return err
	}
	if _, err := conn.Write(confirm); err != nil {
		return err
	}
	header, body, err := frame.NewReader(conn, frame.MaxText).Next()
	if err == nil {
		_, err = opener.Open(header, body)
	}
	return err
}

// p99 returns what 99 of 100 do not exceed.
func p99(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[(99*len(d)+99)/100-1].Round(100 * time.Microsecond)
}
