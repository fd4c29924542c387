package crypto

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew: the wire has changed")

const vectorsFile = "testdata/vectors.json"

// hexBytes is bytes that stand in hexadecimal in the file.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

type vectors struct {
	About     []string        `json:"about"`
	Key       keyVector       `json:"key"`
	Handshake handshakeVector `json:"handshake"`
	Channels  []channelVector `json:"channels"`
	Rekey     rekeyVector     `json:"rekey"`
}

type keyVector struct {
	Secret   hexBytes `json:"secret"`
	PSK      hexBytes `json:"psk"`
	DoorKey  hexBytes `json:"door_key"`
	ID       hexBytes `json:"key_id"`
	IDKey    hexBytes `json:"id_key"`
	Machine  string   `json:"machine"`
	Instance string   `json:"instance"`
	ClientID hexBytes `json:"client_id"`
}

type handshakeVector struct {
	ClientPrivate hexBytes         `json:"client_e_private"`
	ServerPrivate hexBytes         `json:"server_e_private"`
	Hello         hexBytes         `json:"hello"`
	Answer        hexBytes         `json:"answer"`
	Hint          hexBytes         `json:"hint"`
	Prologue      hexBytes         `json:"prologue"`
	F1            hexBytes         `json:"f1"`
	F2            hexBytes         `json:"f2"`
	Generation    generationVector `json:"generation"`
}

type generationVector struct {
	Hash   hexBytes `json:"handshake_hash"`
	C2S    hexBytes `json:"chain_c2s"`
	S2C    hexBytes `json:"chain_s2c"`
	Secret hexBytes `json:"rekey_secret"`
}

type channelVector struct {
	Cipher    string        `json:"cipher"`
	KeyBits   int           `json:"key_bits"`
	Direction string        `json:"direction"`
	Epochs    []epochVector `json:"epochs"`
}

type epochVector struct {
	Epoch  uint64        `json:"epoch"`
	Key    hexBytes      `json:"encryption_key"`
	MAC    hexBytes      `json:"mac_key,omitempty"`
	Next   hexBytes      `json:"next_chain"`
	Frames []frameVector `json:"frames"`
}

type frameVector struct {
	Number uint32   `json:"number"`
	Header hexBytes `json:"header"`
	Plain  hexBytes `json:"plaintext"`
	Sealed hexBytes `json:"sealed"`
}

type rekeyVector struct {
	ClientPrivate hexBytes         `json:"client_e_private"`
	ServerPrivate hexBytes         `json:"server_e_private"`
	Prologue      hexBytes         `json:"prologue"`
	M1            hexBytes         `json:"m1"`
	M2            hexBytes         `json:"m2"`
	Generation    generationVector `json:"generation"`
	Channels      []channelVector  `json:"channels"`
}

// inputs returns the vectors with only what is chosen, not computed.
func inputs() vectors {
	return vectors{
		About: []string{
			"Test vectors for package crypto, whose documentation describes the wire. Bytes are in hexadecimal.",
			"The hello and the answer are padded with zeros inside the flights.",
			"A sealed frame is header, ciphertext, tag; the header is the length of the ciphertext as on TCP.",
			"The epochs of a channel follow from the chain of its direction, and each from the chain before it.",
		},
		Key: keyVector{Secret: count(0x00, 32), Machine: "f00dfeed", Instance: "vpnd"},
		Handshake: handshakeVector{
			ClientPrivate: count(0x20, 32),
			ServerPrivate: count(0x40, 32),
			Hello:         hexBytes("the payload of the first flight"),
			Answer:        hexBytes("the payload of the second flight"),
		},
		Rekey: rekeyVector{ClientPrivate: count(0x60, 32), ServerPrivate: count(0x80, 32)},
	}
}

// count returns n bytes that count up from first.
func count(first byte, n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = first + byte(i)
	}
	return out
}

var vectorSuites = []Suite{{Blowfish, 448}, {Blowfish, 128}, {AES256GCM, 256}, {ChaCha20Poly1305, 256}}

// plan says which frames stand in the vectors: their epoch, and what they carry.
func plan(direction string) [][]hexBytes {
	return [][]hexBytes{
		{hexBytes("\x01" + direction + ", more than one block"), hexBytes("\x02")},
		{hexBytes("\x03epoch 1")},
	}
}

func headerOf(plain []byte) []byte {
	return binary.BigEndian.AppendUint16(nil, uint16(len(plain)))
}

// TestVectors makes the vectors twice, with this package and with the second
// implementation, and compares both with the file byte for byte.
func TestVectors(t *testing.T) {
	compareVectors(t, vectorsFile, packageVectors(t), referenceVectors(t))
}

func compareVectors(t *testing.T, file string, our, other any) {
	t.Helper()
	ours, second := encode(t, our), encode(t, other)
	if diff := cmp.Diff(string(second), string(ours)); diff != "" {
		t.Fatalf("this package differs from the second implementation (-second +ours):\n%s", diff)
	}
	if *update {
		if err := os.WriteFile(file, ours, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frozen := must(os.ReadFile(file))(t)
	if diff := cmp.Diff(string(frozen), string(ours)); diff != "" {
		t.Errorf("the wire has changed (-frozen +ours):\n%s", diff)
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	return append(must(json.MarshalIndent(v, "", "  "))(t), '\n')
}

// packageVectors computes with the code under test.
func packageVectors(t *testing.T) vectors {
	v := inputs()
	key := must(NewKey(v.Key.Secret))(t)
	id, client := key.ID(), key.ClientID(v.Key.Machine, v.Key.Instance)
	v.Key.PSK, v.Key.DoorKey, v.Key.IDKey = key.psk[:], key.door[:], key.idKey[:]
	v.Key.ID, v.Key.ClientID = id[:], client[:]

	h := &v.Handshake
	i, f1, err := Initiate(key, bytes.NewReader(h.ClientPrivate), h.Hello)
	if err != nil {
		t.Fatal(err)
	}
	h.F1, h.Hint = f1, key.hint(f1[:32])
	h.Prologue = key.prologue(h.Hint)
	call := must(NewDoor(bytes.NewReader(h.ServerPrivate), key).Open(f1))(t)
	f2, server, err := call.Answer(h.Answer)
	if err != nil {
		t.Fatal(err)
	}
	h.F2 = f2
	answer, g, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "hello", call.Hello, pad(h.Hello, HelloSize))
	equal(t, "answer", answer, pad(h.Answer, AnswerSize))
	h.Generation = describe(t, g, server)
	for _, suite := range vectorSuites {
		v.Channels = append(v.Channels, channels(t, suite, g, server)...)
	}

	r := &v.Rekey
	r.Prologue = join([]byte("vpnd 2 rekey"), g.hash)
	rekey, m1, err := g.Rekey(bytes.NewReader(r.ClientPrivate))
	if err != nil {
		t.Fatal(err)
	}
	m2, server2, err := server.AnswerRekey(bytes.NewReader(r.ServerPrivate), m1)
	if err != nil {
		t.Fatal(err)
	}
	r.M1, r.M2 = m1, m2
	g2 := must(rekey.Finish(m2))(t)
	r.Generation = describe(t, g2, server2)
	r.Channels = channels(t, vectorSuites[0], g2, server2)
	return v
}

func describe(t *testing.T, client, server *Generation) generationVector {
	t.Helper()
	equal(t, "c2s chain", client.send[:], server.receive[:])
	equal(t, "s2c chain", client.receive[:], server.send[:])
	equal(t, "rekey secret", client.secret[:], server.secret[:])
	equal(t, "hash", client.hash, server.hash)
	return generationVector{client.hash, join(client.send[:]), join(client.receive[:]), join(client.secret[:])}
}

// channels seals and opens the planned frames both ways, and leaves the
// generations as they are.
func channels(t *testing.T, suite Suite, client, server *Generation) []channelVector {
	t.Helper()
	c, s := twin(client), twin(server)
	cs, co, err := c.Keys(suite)
	if err != nil {
		t.Fatal(err)
	}
	ss, so, err := s.Keys(suite)
	if err != nil {
		t.Fatal(err)
	}
	return []channelVector{
		channel(t, suite, "c2s", client.send, cs, so),
		channel(t, suite, "s2c", client.receive, ss, co),
	}
}

func channel(t *testing.T, suite Suite, direction string, chain *subkey, s *Sealer, o *Opener) channelVector {
	t.Helper()
	v := channelVector{Cipher: suite.Cipher.String(), KeyBits: suite.KeyBits, Direction: direction}
	for n, frames := range plan(direction) {
		if n > 0 {
			ratchet(t, s, o)
		}
		own := *chain
		e := expand(&own, suite, uint64(n))
		chain = e.next
		epoch := epochVector{Epoch: s.Epoch(), Key: e.key, MAC: e.mac, Next: e.next[:]}
		for i, plain := range frames {
			header := headerOf(plain)
			sealed := must(s.Seal(join(header, plain), len(header)))(t)
			epoch.Frames = append(epoch.Frames, frameVector{uint32(i), header, plain, sealed})
			opened := must(o.Open(header, join(sealed[len(header):])))(t)
			equal(t, "opened frame", opened, plain)
		}
		v.Epochs = append(v.Epochs, epoch)
	}
	return v
}

// referenceVectors computes with the second implementation.
func referenceVectors(t *testing.T) vectors {
	v := inputs()
	k := newRefKey(v.Key.Secret)
	v.Key.PSK, v.Key.DoorKey, v.Key.IDKey, v.Key.ID = k.psk, k.door, k.idKey, k.id
	v.Key.ClientID = k.clientID(v.Key.Machine, v.Key.Instance)

	h := &v.Handshake
	ce, se := refPublic(h.ClientPrivate), refPublic(h.ServerPrivate)
	h.Hint = k.hint(ce)
	h.Prologue = k.prologue(h.Hint)
	f1, n := k.f1(ce, h.Hint, zeroPadded(h.Hello, 120))
	h.F1 = f1
	h.F2 = n.second(se, refShared(h.ServerPrivate, ce), zeroPadded(h.Answer, 80))
	g := newRefGeneration(n)
	h.Generation = generationVector{n.h, g.c2s, g.s2c, g.secret}
	for _, suite := range vectorSuites {
		v.Channels = append(v.Channels, g.channels(t, suite.Cipher.String(), suite.KeyBits)...)
	}

	r := &v.Rekey
	ce, se = refPublic(r.ClientPrivate), refPublic(r.ServerPrivate)
	r.Prologue = join([]byte("vpnd 2 rekey"), n.h)
	n = newRefNoise(g.secret, r.Prologue)
	r.M1 = n.first(ce, nil)
	r.M2 = n.second(se, refShared(r.ServerPrivate, ce), nil)
	g = newRefGeneration(n)
	r.Generation = generationVector{n.h, g.c2s, g.s2c, g.secret}
	r.Channels = g.channels(t, "blowfish", 448)
	return v
}

func (g refGeneration) channels(t *testing.T, cipher string, keyBits int) []channelVector {
	t.Helper()
	var out []channelVector
	for _, d := range []struct {
		name  string
		chain []byte
	}{{"c2s", g.c2s}, {"s2c", g.s2c}} {
		v := channelVector{Cipher: cipher, KeyBits: keyBits, Direction: d.name}
		for n, frames := range plan(d.name) {
			e := newRefEpoch(d.chain, cipher, keyBits, uint64(n))
			d.chain = e.next
			epoch := epochVector{Epoch: uint64(n), Key: e.key, MAC: e.mac, Next: e.next}
			for i, plain := range frames {
				header := headerOf(plain)
				sealed := e.seal(t, uint32(i), header, plain)
				epoch.Frames = append(epoch.Frames, frameVector{uint32(i), header, plain, sealed})
			}
			v.Epochs = append(v.Epochs, epoch)
		}
		out = append(out, v)
	}
	return out
}

func zeroPadded(b []byte, n int) []byte { return join(b, make([]byte, n-len(b))) }

// equal ends the test when two byte strings differ.
func equal(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s is %x, want %x", what, got, want)
	}
}

// twin returns a generation with the same keys, which can be used up in place of
// the first.
func twin(g *Generation) *Generation {
	send, receive, secret := *g.send, *g.receive, *g.secret
	return &Generation{send: &send, receive: &receive, secret: &secret, hash: g.hash}
}

// ratchet moves both ends to the next epoch.
func ratchet(t testing.TB, s *Sealer, o *Opener) {
	t.Helper()
	if err := s.Ratchet(); err != nil {
		t.Fatal(err)
	}
	if err := o.Ratchet(); err != nil {
		t.Fatal(err)
	}
}
