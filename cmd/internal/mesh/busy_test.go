package mesh

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vpnd/cmd/internal/registry"
	"vpnd/crypto"
)

// flappingNexus tells another endpoint of one gateway each time.
type flappingNexus struct {
	*fakeNexus
	which int
}

func (f flappingNexus) Register(ctx context.Context) (*registry.Table, error) {
	f.mu.Lock()
	fresh := *f.table
	fresh.Gateways = slices.Clone(f.table.Gateways)
	fresh.Serial++
	fresh.Gateways[f.which].Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + fresh.Serial%2)}), 1)
	f.table = &fresh
	f.mu.Unlock()
	return f.fakeNexus.Register(ctx)
}

// A gateway that nexus sees at another address each time, as with a router that shares its
// load between two lines, asks no more for that; nor do others for ever because of it.
func TestFlapping(t *testing.T) {
	for _, test := range []struct {
		name   string
		which  int
		nudges bool
		most   int // questions in an hour
	}{
		{"this gateway", 0, false, 90},
		{"another one", 1, false, 400},
		{"another one, with nudges", 1, true, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := stateDir(t)
			synctest.Test(t, func(t *testing.T) {
				n := flappingNexus{&fakeNexus{table: live(registry.Lease)}, test.which}
				saved, err := NewSaved(dir, "a", crypto.PublicKey{1}, crypto.PublicKey{2})
				if err != nil {
					t.Fatal(err)
				}
				f := newFollower(n, saved, slog.New(slog.DiscardHandler), func(*registry.Table) {})
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				ended := make(chan error, 1)
				go func() { ended <- f.Run(ctx) }()
				for range 3600 {
					time.Sleep(time.Second)
					if test.nudges {
						ring(f.nudge)
					}
				}
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				if count, _ := n.asked(); count > test.most {
					t.Errorf("asked %d times in an hour", count)
				}
				synctest.Wait()
			})
		})
	}
}

// After a calm time nudges are quick again.
func TestCalm(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, _, _, stop := follow(t, dir, n)
		defer stop()
		for range 600 {
			time.Sleep(time.Second)
			ring(f.nudge)
		}
		time.Sleep(busy * calmPause)
		synctest.Wait()
		n.asked()
		for i := range 10 {
			ring(f.nudge)
			time.Sleep(nudgePause + nudgeSpread)
			synctest.Wait()
			if count, _ := n.asked(); count != 1 {
				t.Errorf("nudge %d: asked %d times", i, count)
			}
		}
	})
}

// What goes on for an hour is one line in the log.
func TestOneLine(t *testing.T) {
	dir := stateDir(t)
	synctest.Test(t, func(t *testing.T) {
		n := &fakeNexus{table: live(registry.Lease)}
		f, _, log, stop := follow(t, dir, n)
		synctest.Wait()
		temp := f.saved.path + ".new"
		if err := os.Mkdir(temp, 0o700); err != nil { // the table cannot be saved, whatever the reason
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if err := os.Remove(temp); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * pollMax)
		synctest.Wait()
		for port := range 100 {
			n.set(nil, fmt.Errorf("read tcp 192.0.2.1:%d: connection reset", 1000+port))
			time.Sleep(time.Minute)
		}
		n.set(nil, registry.ErrRefused)
		time.Sleep(time.Hour)
		stop()
		for text, want := range map[string]int{"table not saved": 1, "connection reset": 1, `registered" error="nexus refused it`: 1} {
			if got := strings.Count(log.String(), text); got != want {
				t.Errorf("%d lines with %q in\n%s", got, text, log)
			}
		}
	})
}
