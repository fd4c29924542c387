package main

import (
	"os"
	"syscall"
	"testing"
	"testing/synctest"
)

// TestSignals has signals come while slipup runs, when nothing is done about them yet:
// the second one that ends the daemon has to end it at once.
func TestSignals(t *testing.T) {
	for _, end := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(end.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, released := make(chan os.Signal), 0
				orders, ends := sortSignals(t.Context(), in, func() { released++ })
				for range 2 * maxOrders { // more than anybody has a use for
					in <- syscall.SIGUSR1
				}
				in <- end
				synctest.Wait()
				if released != 1 {
					t.Fatalf("a second %v is not left to its default effect (%d)", end, released)
				}
				if sig := <-ends; sig != end {
					t.Errorf("the daemon gets %v", sig)
				}
				if len(orders) != maxOrders || <-orders != syscall.SIGUSR1 {
					t.Errorf("%d signals wait", len(orders))
				}
				in <- syscall.SIGHUP
				in <- end // on its way when the first one came
				in <- end
				synctest.Wait()
				if len(orders) != maxOrders || len(ends) != 1 {
					t.Errorf("%d and %d signals wait at the end", len(orders), len(ends))
				}
			})
		})
	}
}
