package tunnel

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vpnd/compress"
	"vpnd/crypto"
	"vpnd/tunnel/frame"
)

var update = flag.Bool("update", false, "write testdata/frames.json anew: the wire has changed")

const vectorsFile = "testdata/frames.json"

// hexBytes is bytes that stand in hexadecimal in the file.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// vectors is the content of the file.
type vectors struct {
	About        []string         `json:"about"`
	Hello        payloadVector    `json:"hello"`
	Answer       payloadVector    `json:"answer"`
	Refusal      payloadVector    `json:"refusal"`
	Told         payloadVector    `json:"told"`
	Reasons      map[uint8]string `json:"reasons"`
	CloseReasons map[uint8]string `json:"close_reasons"`
	Frames       []frameVector    `json:"frames"`
	Session      sessionVector    `json:"session"`
	Strong       strongVector     `json:"strong_session"`
}

// payloadVector is the payload of a flight, whole and in its fields.
type payloadVector struct {
	Fields  []fieldVector `json:"fields"`
	Payload hexBytes      `json:"payload"`
}

type fieldVector struct {
	Name  string   `json:"name"`
	Value any      `json:"value"`
	Bytes hexBytes `json:"bytes"`
}

// frameVector is the plaintext of a frame.
type frameVector struct {
	Name  string   `json:"name"`
	Type  uint8    `json:"type"`
	Plain hexBytes `json:"plaintext"`
}

// sessionVector is a session byte for byte, from the first flight to CLOSE.
type sessionVector struct {
	Secret        hexBytes       `json:"secret"`
	ClientPrivate hexBytes       `json:"client_e_private"`
	ServerPrivate hexBytes       `json:"server_e_private"`
	RekeyClient   hexBytes       `json:"rekey_client_e_private"`
	RekeyServer   hexBytes       `json:"rekey_server_e_private"`
	F1            hexBytes       `json:"f1"`
	F2            hexBytes       `json:"f2"`
	Wire          []sealedVector `json:"frames"`
}

// strongVector is the begin of a session with strong keys, with the hello and the
// answer of the other vectors.
type strongVector struct {
	ServerFile  string   `json:"server_key_file"`
	ClientFile  string   `json:"client_key_file"`
	Number      uint64   `json:"number"`
	Before      uint64   `json:"before"`
	ClientE     hexBytes `json:"client_e_private"`
	ServerE     hexBytes `json:"server_e_private"`
	F1          hexBytes `json:"f1"`
	F2          hexBytes `json:"f2"`
	Confirm     hexBytes `json:"confirm"`
	ServerNonce hexBytes `json:"hail_nonce"`
	Hail        hexBytes `json:"hail"`
}

// sealedVector is a frame as it stands on the wire.
type sealedVector struct {
	From  string   `json:"from"`
	Name  string   `json:"name"`
	Plain hexBytes `json:"plaintext"`
	Wire  hexBytes `json:"wire"`
}

// TestVectors compares what this package makes with the file byte for byte.
func TestVectors(t *testing.T) {
	ours, err := json.MarshalIndent(makeVectors(t), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	ours = append(ours, '\n')
	if *update {
		if err := os.WriteFile(vectorsFile, ours, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	frozen, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(frozen), string(ours)); diff != "" {
		t.Errorf("the wire has changed (-frozen +ours):\n%s", diff)
	}
}

func makeVectors(t *testing.T) vectors {
	h, a := vectorHello(t), vectorAnswer(t)
	v := vectors{
		About: []string{
			"Test vectors for package tunnel, whose documentation describes the wire. Bytes are in hexadecimal.",
			"Numbers are big-endian, times in seconds; ciphers and compression are sets, bit n stands for number n.",
			"Inside the flights the payloads are padded with zeros, see the vectors of package crypto.",
			"The session is sealed with blowfish and a key of 448 bits, which is what the hello and the answer say.",
		},
		Hello:        helloVector(t, h),
		Answer:       answerVector(t, a),
		Refusal:      answerVector(t, answer{reason: reasonCipher, version: version, compression: a.compression, terms: a.terms, inner: a.inner}),
		Told:         answerVector(t, vectorTold(t)),
		Reasons:      make(map[uint8]string),
		CloseReasons: make(map[uint8]string),
	}
	for _, r := range []reason{reasonNone, reasonVersion, reasonCipher, reasonNumber} {
		v.Reasons[uint8(r)] = r.String()
	}
	for r := closeShutdown; r <= closeDelay; r++ {
		v.CloseReasons[uint8(r)] = r.String()
	}
	for _, f := range vectorFrames() {
		v.Frames = append(v.Frames, frameVector{f.name, f.kind, append([]byte{f.kind}, f.payload...)})
	}
	v.Session = vectorSession(t, h, a)
	v.Strong = vectorStrong(t, h, a)
	return v
}

// vectorHello is a hello in which every field has a value of its own.
func vectorHello(t testing.TB) hello {
	c := Config{
		MTU:      1400,
		Local:    []netip.Addr{netip.MustParseAddr("10.8.0.2"), netip.MustParseAddr("fd00::8:2")},
		Client:   testKey(t, 1).ClientID("f00dfeed", "vpnd"),
		Ciphers:  []crypto.Cipher{crypto.Blowfish, crypto.ChaCha20Poly1305},
		KeyBits:  448,
		KeyTTL:   900 * time.Second,
		MaxDelay: 30 * time.Second,
		Tuning:   Tuning{Keepalive: 20 * time.Second, NoAnswer: 6, Compress: "auto"},
	}
	return speaker(c).hello()
}

// vectorAnswer is a server's answer to it.
func vectorAnswer(t testing.TB) answer {
	c := Config{
		MTU:     1500,
		Local:   []netip.Addr{netip.MustParseAddr("10.8.0.1")},
		Remote:  []netip.Addr{netip.MustParseAddr("10.8.0.2")},
		Ciphers: []crypto.Cipher{crypto.AES256GCM, crypto.Blowfish},
		KeyBits: 448,
		KeyTTL:  600 * time.Second,
		Tuning:  Tuning{Keepalive: 15 * time.Second, NoAnswer: 4, Compress: "asym"},
	}
	return speaker(c).choose(vectorHello(t))
}

// vectorTold is the answer to a client whose transaction number was used.
func vectorTold(t testing.TB) answer {
	a := vectorAnswer(t)
	return answer{reason: reasonNumber, version: version, compression: a.compression, terms: a.terms, inner: a.inner, number: 0x0102030405060708}
}

// layout cuts a payload into fields of known sizes.
type layout struct {
	t    testing.TB
	left []byte
	out  payloadVector
}

func (l *layout) field(name string, size int, value any) {
	l.out.Fields = append(l.out.Fields, fieldVector{name, value, l.left[:size]})
	l.left = l.left[size:]
}

func (l *layout) terms(t terms) {
	l.field("key bits", 2, t.keyBits)
	l.field("largest frame", 2, t.maxFrame)
	l.field("mtu", 2, t.mtu)
	l.field("keyttl", 4, t.keyTTL.Seconds())
	l.field("keepalive", 4, t.keepalive.Seconds())
	l.field("noanswer", 4, t.noAnswer)
	l.field("maxdelay", 4, t.maxDelay.Seconds())
}

func (l *layout) inner(whose string, in inner) {
	for i, name := range []string{"inner IPv4 address", "inner IPv6 address"} {
		name = whose + name
		value := "none"
		if in[i].IsValid() {
			value = in[i].String()
		}
		l.field(name, []int{4, 16}[i], value)
	}
}

func (l *layout) end() payloadVector {
	if len(l.left) != 0 {
		l.t.Errorf("%d bytes are in no field", len(l.left))
	}
	return l.out
}

func helloVector(t testing.TB, h hello) payloadVector {
	b := h.append(nil)
	l := &layout{t, b, payloadVector{Payload: b}}
	l.field("lowest version", 1, h.minVersion)
	l.field("highest version", 1, h.maxVersion)
	l.field("ciphers", 1, h.ciphers)
	l.field("compression", 1, h.compression)
	l.terms(h.terms)
	l.field("client id", 8, h.client.String())
	l.inner("", h.inner)
	return l.end()
}

func answerVector(t testing.TB, a answer) payloadVector {
	b := a.append(nil)
	l := &layout{t, b, payloadVector{Payload: b}}
	l.field("reason", 1, uint8(a.reason))
	l.field("version", 1, a.version)
	l.field("cipher", 1, uint8(a.cipher))
	l.field("compression", 1, a.compression)
	l.terms(a.terms)
	l.inner("", a.inner)
	l.inner("caller's ", a.yours)
	if a.reason == reasonNumber {
		l.field("last transaction number", numberSize, a.number)
	}
	return l.end()
}

// plainFrame is a frame before it is sealed.
type plainFrame struct {
	name    string
	kind    uint8
	payload []byte
}

// vectorFrames has one frame of each type, and some more.
func vectorFrames() []plainFrame {
	one, two := ipv4(17, 0, []byte("first packet")), ipv6(17, []byte("second packet"))
	frames := []plainFrame{
		{"BATCH, one IPv4 packet, stored", frameBatch, stored(one)},
		{"BATCH, an IPv4 and an IPv6 packet, stored", frameBatch, stored(one, two)},
		{"BATCH, deflate, raw, starts a history", frameBatch, append([]byte{0x2e}, one...)},
		{"BATCH, deflate, raw, continues the history", frameBatch, append([]byte{0x2a}, two...)},
		{"SEGMENTS, three bytes of TCP over IPv4 in two segments, stored", frameSegments, together(4)},
		{"PING", framePing, stamped(0x0102030405060708)},
		{"PONG", framePong, stamped(0x0102030405060708, time.Hour)},
		{"TIME, an hour after the host's start", frameTime, stamped(time.Hour)},
		{"RATCHET to the next epoch", frameRatchet, []byte{nextEpoch}},
		{"RATCHET to the next generation", frameRatchet, []byte{nextGeneration}},
		{"REKEY1", frameRekey1, bytes.Repeat([]byte{0xa1}, crypto.RekeySize)},
		{"REKEY2", frameRekey2, bytes.Repeat([]byte{0xa2}, crypto.RekeySize)},
		{"CONFIRM", frameConfirm, nil},
		{"RESET, the second of a session", frameReset, []byte{0, 0, 0, 2}},
	}
	for r := closeShutdown; r <= closeDelay; r++ {
		frames = append(frames, plainFrame{"CLOSE, " + r.String(), frameClose, []byte{byte(r)}})
	}
	return frames
}

// counting returns n bytes that count up from first.
func counting(first byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func vectorSession(t *testing.T, h hello, a answer) sessionVector {
	v := sessionVector{
		Secret:        bytes.Repeat([]byte{1}, 32), // of testKey(t, 1)
		ClientPrivate: counting(0x20, 32),
		ServerPrivate: counting(0x40, 32),
		RekeyClient:   counting(0x60, 32),
		RekeyServer:   counting(0x80, 32),
	}
	initiator, f1, err := crypto.Initiate(testKey(t, 1), bytes.NewReader(v.ClientPrivate), h.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	call, err := crypto.NewDoor(bytes.NewReader(v.ServerPrivate), testKey(t, 1)).Open(f1)
	if err != nil {
		t.Fatal(err)
	}
	f2, server, err := call.Answer(a.append(nil))
	if err != nil {
		t.Fatal(err)
	}
	_, client, err := initiator.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	v.F1, v.F2 = f1, f2
	suite := crypto.Suite{Cipher: a.cipher, KeyBits: a.terms.keyBits}
	script(t, &v, suite, client, server)
	return v
}

// halves are the keys of both ends.
type halves struct {
	c2s, s2c           *crypto.Sealer
	atServer, atClient *crypto.Opener
}

func halvesOf(t *testing.T, suite crypto.Suite, client, server *crypto.Generation) (k halves) {
	t.Helper()
	var err error
	if k.c2s, k.atClient, err = client.Keys(suite); err != nil {
		t.Fatal(err)
	}
	if k.s2c, k.atServer, err = server.Keys(suite); err != nil {
		t.Fatal(err)
	}
	return k
}

// script plays a session: packets, a ratchet, a rekey, the end.
func script(t *testing.T, v *sessionVector, suite crypto.Suite, client, server *crypto.Generation) {
	k := halvesOf(t, suite, client, server)
	say := func(from, name string, kind uint8, payload ...byte) {
		t.Helper()
		sealer, opener := k.c2s, k.atServer
		if from == "server" {
			sealer, opener = k.s2c, k.atClient
		}
		w := &sender{session: &session{}, wire: stream{}, sealer: sealer}
		w.begin(kind)
		w.out = append(w.out, payload...)
		if err := w.seal(); err != nil {
			t.Fatal(err)
		}
		header, body, err := frame.NewReader(bytes.NewReader(w.out), frame.MaxText).Next()
		if err != nil {
			t.Fatal(err)
		}
		plain, err := opener.Open(header, body)
		if err != nil || !bytes.Equal(plain, append([]byte{kind}, payload...)) {
			t.Fatalf("%s: opened as %x: %v", name, plain, err)
		}
		v.Wire = append(v.Wire, sealedVector{from, name, bytes.Clone(plain), w.out})
	}
	say("client", "CONFIRM", frameConfirm)
	say("client", "PING", framePing, stamped(time.Hour)...)
	say("server", "PING", framePing, stamped(2*time.Hour)...)
	say("server", "PONG", framePong, stamped(time.Hour, 2*time.Hour)...)
	say("server", "TIME", frameTime, stamped(2*time.Hour)...)
	say("server", "BATCH", frameBatch, stored(ipv4(17, 0, []byte("a packet to the client")))...)
	block := bytes.Repeat(ipv4(17, 0, []byte("a packet to the server, again and again")), 4)
	encoder, err := compress.NewEncoder("off", compress.All)
	if err != nil {
		t.Fatal(err)
	}
	say("client", "BATCH", frameBatch, packWith(encoder, block)...)
	say("client", "RATCHET to epoch 1", frameRatchet, nextEpoch)
	if k.c2s.Ratchet() != nil || k.atServer.Ratchet() != nil {
		t.Fatal("ratchet")
	}
	say("client", "BATCH in epoch 1", frameBatch, stored(ipv6(17, []byte("over IPv6")))...)

	rekey, m1, err := client.Rekey(bytes.NewReader(v.RekeyClient))
	if err != nil {
		t.Fatal(err)
	}
	say("client", "REKEY1", frameRekey1, m1...)
	m2, server2, err := server.AnswerRekey(bytes.NewReader(v.RekeyServer), m1)
	if err != nil {
		t.Fatal(err)
	}
	say("server", "REKEY2", frameRekey2, m2...)
	client2, err := rekey.Finish(m2)
	if err != nil {
		t.Fatal(err)
	}
	k2 := halvesOf(t, suite, client2, server2)
	say("client", "RATCHET to the next generation", frameRatchet, nextGeneration)
	k.c2s, k.atServer = k2.c2s, k2.atServer
	say("client", "CONFIRM, the first frame of the new generation", frameConfirm)
	say("server", "RATCHET to the next generation", frameRatchet, nextGeneration)
	k.s2c, k.atClient = k2.s2c, k2.atClient
	say("server", "BATCH in the new generation", frameBatch, stored(ipv4(17, 0, []byte("new keys")))...)
	say("server", "CLOSE, shutdown", frameClose, byte(closeShutdown))
}
