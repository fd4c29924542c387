package tunnel

import (
	"context"
	"crypto/rand"
	"net"
	"testing"
)

// TestSettleAuth gives each kind of end one half of what it may need: who answers needs a
// door, who calls a key.
func TestSettleAuth(t *testing.T) {
	dial := func(context.Context) (net.Conn, error) { panic("not called") }
	shared := testKey(t, 1)
	for _, test := range []struct {
		name    string
		change  func(*Config)
		answers bool
	}{
		{"a listener", func(c *Config) { c.Listener = newRoad() }, true},
		{"servers", func(c *Config) { c.Servers = []Dial{dial} }, false},
		{"a line that answers", func(c *Config) { c.Line = &Line{Speed: 9600, Answers: true} }, true},
		{"a line that calls", func(c *Config) { c.Line = &Line{Speed: 9600} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			refused := func(door Door, key Key) bool {
				c := testConfig(t)
				c.Device, c.Keys, c.Door, c.Key = newFakeDevice(), nil, door, key
				test.change(&c)
				_, err := New(c)
				return err != nil
			}
			door, key := newSharedDoor(rand.Reader, shared), sharedKey{rand.Reader, shared}
			if !refused(nil, nil) || refused(door, nil) == test.answers || refused(nil, key) != test.answers || refused(door, key) {
				t.Errorf("refused with nothing: %v, with a door: %v, with a key: %v, with both: %v",
					refused(nil, nil), refused(door, nil), refused(nil, key), refused(door, key))
			}
		})
	}
}
