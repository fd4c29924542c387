package crypto

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flynn/noise"
)

const strongVectorsFile = "testdata/strong.json"

type strongVectors struct {
	About         []string         `json:"about"`
	ClientPrivate hexBytes         `json:"client_s_private"`
	ServerPrivate hexBytes         `json:"server_s_private"`
	Secret        hexBytes         `json:"secret"`
	ClientPublic  hexBytes         `json:"client_s"`
	ServerPublic  hexBytes         `json:"server_s"`
	LinkID        hexBytes         `json:"link_id"`
	PSK           hexBytes         `json:"psk"`
	DoorKey       hexBytes         `json:"door_key"`
	ClientE       hexBytes         `json:"client_e_private"`
	ServerE       hexBytes         `json:"server_e_private"`
	Number        uint64           `json:"number"`
	Before        uint64           `json:"before"`
	Hello         hexBytes         `json:"hello"`
	Answer        hexBytes         `json:"answer"`
	Hint          hexBytes         `json:"hint"`
	Prologue      hexBytes         `json:"prologue"`
	F1            hexBytes         `json:"f1"`
	F2            hexBytes         `json:"f2"`
	Generation    generationVector `json:"generation"`
}

// strongInputs returns the vectors with only what is chosen, not computed.
func strongInputs() strongVectors {
	return strongVectors{
		About: []string{
			"Test vectors for the handshake with strong keys, which the package comment describes. Bytes are in hexadecimal.",
			"The hello and the answer are padded with zeros inside the flights.",
			"What follows from a generation is in vectors.json.",
		},
		ClientPrivate: clientS, ServerPrivate: serverS, Secret: strongSecret,
		ClientE: clientE, ServerE: serverE,
		Number: testNumber, Before: testBefore,
		Hello: hexBytes("hello"), Answer: hexBytes("answer"),
	}
}

// TestStrongVectors makes the vectors twice, with this package and with the second
// implementation, and compares both with the file byte for byte.
func TestStrongVectors(t *testing.T) {
	compareVectors(t, strongVectorsFile, strongPackageVectors(t), strongReferenceVectors())
}

// strongPackageVectors computes with the code under test.
func strongPackageVectors(t *testing.T) strongVectors {
	v := strongInputs()
	server, client := strongPair(t)
	cp, sp, id := client.own.public, server.own.public, server.ID()
	v.ClientPublic, v.ServerPublic, v.LinkID = cp[:], sp[:], id[:]
	v.PSK, v.DoorKey = server.Peer().psk[:], sp.doorKey()[:]
	i, f1 := initiateStrong(t)
	v.F1, v.Hint = f1, f1[pointSize:restAt]
	v.Prologue = strongPrologue(id, v.Hint)
	call := must(testStrongDoor(t).Open(f1))(t)
	f2, theirs, err := call.Answer(v.Answer)
	if err != nil {
		t.Fatal(err)
	}
	_, ours, err := i.Finish(f2)
	if err != nil {
		t.Fatal(err)
	}
	v.F2, v.Generation = f2, describe(t, ours, theirs)
	return v
}

// strongReferenceVectors computes with the second implementation.
func strongReferenceVectors() strongVectors {
	v := strongInputs()
	k := newRefStrong(v.ClientPrivate, v.ServerPrivate, v.Secret)
	v.ClientPublic, v.ServerPublic, v.LinkID, v.PSK, v.DoorKey = k.clientPublic, k.serverPublic, k.id, k.psk, k.door
	ce := refPublic(v.ClientE)
	v.Hint = k.hint(ce)
	v.Prologue = k.prologue(v.Hint)
	f1, n := k.f1(v.ClientE, v.Hint, refPayload())
	v.F1, v.F2 = f1, k.f2(n, v.ServerE, ce, zeroPadded(v.Answer, 80))
	g := newRefGeneration(n)
	v.Generation = generationVector{n.h, g.c2s, g.s2c, g.secret}
	return v
}

// publishedName is the one of our handshakes that has published vectors.
const publishedName = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"

// TestPublishedVectors holds both implementations to the vectors that come with the
// Noise library, and which other libraries share.
func TestPublishedVectors(t *testing.T) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/flynn/noise").Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(out)), "vectors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := 0
	v := map[string][]byte{}
	try := func() {
		if string(v["handshake"]) == publishedName {
			found++
			checkPublished(t, v)
		}
		v = map[string][]byte{}
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			try()
			continue
		}
		v[name] = []byte(value)
		if name != "handshake" {
			v[name] = must(hex.DecodeString(value))(t)
		}
	}
	try()
	if found != 4 {
		t.Errorf("%d vectors of %s, want 4", found, publishedName)
	}
}

// checkPublished plays one vector: two messages of the handshake, then one of the
// client's and one of the server's under the keys that came of it.
func checkPublished(t *testing.T, v map[string][]byte) {
	t.Helper()
	cs, ss, ce, se, psk := v["init_static"], v["resp_static"], v["gen_init_ephemeral"], v["gen_resp_ephemeral"], v["preshared_key"]
	cp, sp := refPublic(cs), refPublic(ss)

	n := newRefIK(v["prologue"], sp)
	equal(t, "the second implementation's message 1",
		n.firstIK(refPublic(ce), refShared(ce, sp), cp, refShared(cs, sp), v["msg_0_payload"]), v["msg_0_ciphertext"])
	equal(t, "the second implementation's message 2",
		n.secondIK(refPublic(se), refShared(se, refPublic(ce)), refShared(se, cp), psk, v["msg_1_payload"]), v["msg_1_ciphertext"])
	up, down := n.split()

	c := noise.Config{CipherSuite: noiseSuite, Random: bytes.NewReader(ce), Initiator: true, PeerStatic: sp, PresharedKey: psk}
	client := strongHandshake(c, must(identityOf((*subkey)(cs)))(t), v["prologue"])
	static := PublicKey(cp)
	c = noise.Config{
		CipherSuite: noise.NewCipherSuite(&pinned{DHFunc: noise.DH25519, static: static}, noise.CipherChaChaPoly, noise.HashBLAKE2s),
		Random:      bytes.NewReader(se), PresharedKey: psk,
	}
	server := strongHandshake(c, must(identityOf((*subkey)(ss)))(t), v["prologue"])
	m1, _, _, err := client.WriteMessage(nil, v["msg_0_payload"])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "message 1", m1, v["msg_0_ciphertext"])
	if _, _, _, err := server.ReadMessage(nil, m1); err != nil {
		t.Fatal(err)
	}
	m2, c2s, s2c, err := server.WriteMessage(nil, v["msg_1_payload"])
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "message 2", m2, v["msg_1_ciphertext"])
	for _, k := range []struct {
		state *noise.CipherState
		key   []byte
		name  string
	}{{c2s, up, "msg_2"}, {s2c, down, "msg_3"}} {
		key := k.state.UnsafeKey()
		equal(t, "key of "+k.name, key[:], k.key)
		equal(t, k.name, must(k.state.Encrypt(nil, nil, v[k.name+"_payload"]))(t), v[k.name+"_ciphertext"])
	}
}
