package crypto

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"testing"
)

func benchmarkFrames(b *testing.B, run func(b *testing.B, suite Suite, size int)) {
	for _, suite := range vectorSuites {
		for _, size := range []int{64, 1500, 16384} {
			b.Run(fmt.Sprintf("%v-%d/%d", suite.Cipher, suite.KeyBits, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				run(b, suite, size)
			})
		}
	}
}

// Ratchets are part of it.
func BenchmarkSeal(b *testing.B) {
	benchmarkFrames(b, func(b *testing.B, suite Suite, size int) {
		s, _ := channelOf(b, suite)
		frame := make([]byte, testHeader+size, testHeader+size+TagSize)
		for b.Loop() {
			if _, err := s.Seal(frame, testHeader); err != nil {
				b.Fatal(err)
			}
			if s.Due() {
				if err := s.Ratchet(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}

// One frame is opened again and again; copying it is part of it.
func BenchmarkOpen(b *testing.B) {
	benchmarkFrames(b, func(b *testing.B, suite Suite, size int) {
		s, o := channelOf(b, suite)
		sealed := must(s.Seal(make([]byte, testHeader+size), testHeader))(b)
		frame := join(sealed)
		for b.Loop() {
			copy(frame, sealed)
			if _, err := o.Open(frame[:testHeader], frame[testHeader:]); err != nil {
				b.Fatal(err)
			}
			o.number, o.blocks = 0, 0
		}
	})
}

func BenchmarkHandshake(b *testing.B) {
	key := testKey(b, testSecret)
	door := NewDoor(rand.Reader, key)
	for b.Loop() {
		i, f1, err := Initiate(key, rand.Reader, nil)
		if err != nil {
			b.Fatal(err)
		}
		f2, _, err := must(door.Open(f1))(b).Answer(nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := i.Finish(f2); err != nil {
			b.Fatal(err)
		}
	}
}

// What a stranger costs, one who replays, and one who has the key.
func BenchmarkDoor(b *testing.B) {
	_, f1 := initiate(b)
	stranger := join(f1)
	stranger[0] ^= 1
	for _, bb := range []struct {
		name string
		f1   []byte
	}{{"stranger", stranger}, {"replay", f1}} {
		b.Run(bb.name, func(b *testing.B) {
			door := testDoor(b, testSecret, otherSecret)
			door.Open(f1)
			for b.Loop() {
				if _, err := door.Open(bb.f1); err == nil {
					b.Fatal("it was opened")
				}
			}
		})
	}
	b.Run("answer", func(b *testing.B) {
		key := testKey(b, testSecret)
		for b.Loop() {
			call := must(NewDoor(bytes.NewReader(serverE), key).Open(f1))(b)
			if _, _, err := call.Answer(nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRekey(b *testing.B) {
	client, server, _ := handshake(b)
	for b.Loop() {
		client, server, _, _ = rekey(b, client, server)
	}
}

// The keys of one direction for the next epoch.
func BenchmarkRatchet(b *testing.B) {
	for _, suite := range vectorSuites {
		b.Run(fmt.Sprintf("%v-%d", suite.Cipher, suite.KeyBits), func(b *testing.B) {
			s, _ := channelOf(b, suite)
			for b.Loop() {
				if err := s.Ratchet(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNewKey(b *testing.B) {
	for b.Loop() {
		testKey(b, testSecret)
	}
}
