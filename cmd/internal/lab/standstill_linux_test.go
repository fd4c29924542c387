package lab

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestStandstill watches where time passes by itself: that is no standstill.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worst := Standstill()
		time.Sleep(time.Hour)
		if d := worst(); d != 0 {
			t.Errorf("%v where time passes by itself", d)
		}
	})
}
