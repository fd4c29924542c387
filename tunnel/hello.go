package tunnel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

// version is the one version of the data channel that this code speaks.
const version = 2

// hello is the payload of the first flight: who calls and what it can do.
//
//	lowest and highest version 1+1 | ciphers 1 | compression 1 | terms 22 | client id 8 | inner addresses 20
//
// Ciphers and compression methods are sets: bit n stands for number n.
type hello struct {
	minVersion, maxVersion uint8
	ciphers                uint8
	compression            compress.Set
	terms                  terms
	client                 crypto.ClientID
	inner                  inner
}

// answer is the payload of the second flight: what the server chose, or why it
// does not serve an authenticated caller.
//
//	reason 1 | version 1 | cipher 1 | compression 1 | terms 22 | inner addresses 20 | the caller's 20
//
// A client whose transaction number was used, and who is to be told, finds the last
// one behind that, 8 bytes; one that may send only so many bytes in a second, how many, 4
// bytes.
type answer struct {
	reason      reason
	version     uint8
	cipher      crypto.Cipher
	compression compress.Set
	terms       terms
	inner       inner
	yours       inner  // what the caller's inner addresses are here
	number      uint64 // of reasonNumber
	rate        uint32 // bytes that the caller may send in a second; 0: any number
}

// terms are one end's settings that the other one needs, or wants to know.
//
//	key bits 2 | largest frame 2 | MTU 2 | keyttl 4 | keepalive 4 | noanswer 4 | maxdelay 4, times in seconds
//
// The server's keyttl is the smaller of both and holds for the session.
type terms struct {
	keyBits   int
	maxFrame  int
	mtu       int
	keyTTL    time.Duration
	keepalive time.Duration
	noAnswer  int
	maxDelay  time.Duration
}

// inner are an end's own addresses in the tunnel, IPv4 and IPv6, zeros for none.
type inner [2]netip.Addr

// reason is why a server does not serve.
type reason uint8

const (
	reasonNone    reason = 0
	reasonVersion reason = 1
	reasonCipher  reason = 2
	reasonAddress reason = 3
	reasonNumber  reason = 4
)

func (r reason) String() string {
	switch r {
	case reasonNone:
		return "none"
	case reasonVersion:
		return "no common version"
	case reasonCipher:
		return "no common cipher, or blowfish with another keysize"
	case reasonAddress:
		return "the local address is not one that the server has for this client; \"local auto\" takes what it gives"
	case reasonNumber:
		return "transaction number was used"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

const (
	termsSize  = 22
	innerSize  = 4 + 16
	numberSize = 8
	rateSize   = 4
	helloSize  = 4 + termsSize + 8 + innerSize
	answerSize = 4 + termsSize + innerSize + innerSize
)

func (h hello) append(b []byte) []byte {
	b = append(b, h.minVersion, h.maxVersion, h.ciphers, byte(h.compression))
	b = h.terms.append(b)
	b = append(b, h.client[:]...)
	return h.inner.append(b)
}

// parseHello takes what a caller with the right key sent. Bytes behind the known
// ones are left to later versions.
func parseHello(b []byte) (hello, error) {
	if len(b) < helloSize {
		return hello{}, errors.New("hello is too short")
	}
	h := hello{minVersion: b[0], maxVersion: b[1], ciphers: b[2], compression: compress.Set(b[3])}
	h.terms = parseTerms(b[4:])
	copy(h.client[:], b[4+termsSize:])
	h.inner = parseInner(b[4+termsSize+8:])
	return h, nil
}

func (a answer) append(b []byte) []byte {
	b = append(b, byte(a.reason), a.version, byte(a.cipher), byte(a.compression))
	b = a.yours.append(a.inner.append(a.terms.append(b)))
	switch {
	case a.reason == reasonNumber:
		b = binary.BigEndian.AppendUint64(b, a.number)
	case a.rate > 0:
		b = binary.BigEndian.AppendUint32(b, a.rate)
	}
	return b
}

func parseAnswer(b []byte) (answer, error) {
	if len(b) < answerSize || reason(b[0]) == reasonNumber && len(b) < answerSize+numberSize {
		return answer{}, errors.New("answer is too short")
	}
	a := answer{
		reason:      reason(b[0]),
		version:     b[1],
		cipher:      crypto.Cipher(b[2]),
		compression: compress.Set(b[3]),
		terms:       parseTerms(b[4:]),
		inner:       parseInner(b[4+termsSize:]),
		yours:       parseInner(b[4+termsSize+innerSize:]),
	}
	switch {
	case a.reason == reasonNumber:
		a.number = binary.BigEndian.Uint64(b[answerSize:])
	case len(b) >= answerSize+rateSize:
		a.rate = binary.BigEndian.Uint32(b[answerSize:])
	}
	return a, nil
}

func (t terms) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(t.keyBits))
	b = binary.BigEndian.AppendUint16(b, uint16(t.maxFrame))
	b = binary.BigEndian.AppendUint16(b, uint16(t.mtu))
	b = binary.BigEndian.AppendUint32(b, uint32(t.keyTTL/time.Second))
	b = binary.BigEndian.AppendUint32(b, uint32(t.keepalive/time.Second))
	b = binary.BigEndian.AppendUint32(b, uint32(t.noAnswer))
	return binary.BigEndian.AppendUint32(b, uint32(t.maxDelay/time.Second))
}

func parseTerms(b []byte) terms {
	seconds := func(at int) time.Duration {
		return time.Duration(binary.BigEndian.Uint32(b[at:])) * time.Second
	}
	return terms{
		keyBits:   int(binary.BigEndian.Uint16(b)),
		maxFrame:  int(binary.BigEndian.Uint16(b[2:])),
		mtu:       int(binary.BigEndian.Uint16(b[4:])),
		keyTTL:    seconds(6),
		keepalive: seconds(10),
		noAnswer:  int(binary.BigEndian.Uint32(b[14:])),
		maxDelay:  seconds(18),
	}
}

func (in inner) append(b []byte) []byte {
	var v4 [4]byte
	if in[0].IsValid() {
		v4 = in[0].As4()
	}
	v6 := in[1].As16() // zeros for none
	return append(append(b, v4[:]...), v6[:]...)
}

func parseInner(b []byte) (in inner) {
	if v4 := netip.AddrFrom4([4]byte(b)); !v4.IsUnspecified() {
		in[0] = v4
	}
	if v6 := netip.AddrFrom16([16]byte(b[4:])); !v6.IsUnspecified() {
		in[1] = v6
	}
	return in
}

// addrs returns the addresses that there are.
func (in inner) addrs() (list []netip.Addr) {
	for _, a := range in {
		if a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

// innerOf sorts addresses by family.
func innerOf(addrs []netip.Addr) (in inner) {
	for _, a := range addrs {
		if a.Is4() {
			in[0] = a
		} else {
			in[1] = a
		}
	}
	return in
}

// hello returns what this end says when it calls.
func (t *Tunnel) hello() hello {
	h := hello{
		minVersion:  version,
		maxVersion:  version,
		compression: t.accepts(),
		terms:       t.terms(),
		client:      t.config.Client,
		inner:       innerOf(t.config.Local),
	}
	for _, c := range t.config.Ciphers {
		h.ciphers |= 1 << c
	}
	return h
}

// accepts returns the compression that the peer may use.
func (t *Tunnel) accepts() compress.Set {
	set, _ := compress.Accepts(t.tuning.Load().Compress) // New has checked the policy
	return set
}

func (t *Tunnel) terms() terms {
	tune := t.tuning.Load()
	return terms{
		keyBits:   t.config.KeyBits,
		maxFrame:  frame.MaxText,
		mtu:       t.config.MTU,
		keyTTL:    t.config.KeyTTL,
		keepalive: tune.Keepalive,
		noAnswer:  tune.NoAnswer,
		maxDelay:  t.config.MaxDelay,
	}
}

// choose is the server's answer to a hello: its own order of ciphers wins.
func (t *Tunnel) choose(h hello) answer {
	a := answer{
		version: version, compression: h.compression & t.accepts(), terms: t.terms(),
		inner: innerOf(t.config.Local), yours: innerOf(t.config.Remote),
	}
	a.terms.keyTTL = min(t.config.KeyTTL, max(h.terms.keyTTL, time.Second))
	if h.minVersion > version || h.maxVersion < version {
		a.reason = reasonVersion
		return a
	}
	for _, c := range t.config.Ciphers {
		if h.ciphers&(1<<c) != 0 && (c != crypto.Blowfish || h.terms.keyBits == t.config.KeyBits) {
			a.cipher = c
			return a
		}
	}
	a.reason = reasonCipher
	return a
}

// checkAddrs is the look of a client that takes its addresses from the server.
func (t *Tunnel) checkAddrs(a answer) error {
	if !t.config.Auto {
		return nil
	}
	for _, addr := range a.yours.addrs() {
		if addr.IsLoopback() || addr.IsMulticast() || slices.Contains(a.inner[:], addr) {
			return fmt.Errorf("server gives this end the address %v, which cannot be", addr)
		}
	}
	for i, family := range []string{"IPv4", "IPv6"} {
		if a.yours[i].IsValid() && !a.inner[i].IsValid() {
			return fmt.Errorf("server gives this end an %s address and has none itself", family)
		}
	}
	if len(a.yours.addrs()) == 0 {
		return errors.New("server gives no address: say \"local ADDRESS\" here, or \"pool\" or \"remote\" there")
	}
	return nil
}

// check is the client's look at the answer: each choice must have been offered.
func (h hello) check(a answer) error {
	switch {
	case a.reason != reasonNone:
		return fmt.Errorf("server refuses: %v", a.reason)
	case a.version < h.minVersion || a.version > h.maxVersion:
		return fmt.Errorf("server chose version %d, which was not offered", a.version)
	case h.ciphers&(1<<a.cipher) == 0: // as well for numbers that no set holds
		return fmt.Errorf("server chose %v, which was not offered", a.cipher)
	case a.cipher == crypto.Blowfish && a.terms.keyBits != h.terms.keyBits:
		return fmt.Errorf("server chose a key of %d bits, which was not offered", a.terms.keyBits)
	case a.compression&^h.compression != 0:
		return errors.New("server chose a compression that was not offered")
	case a.terms.keyTTL < time.Second || a.terms.keyTTL > h.terms.keyTTL:
		return fmt.Errorf("server chose a keyttl of %v, more than was offered", a.terms.keyTTL)
	}
	return nil
}
