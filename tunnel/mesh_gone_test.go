package tunnel

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// TestMeshGone takes a gateway out that is being called: the call is given up at once, and
// nobody is left who calls again.
func TestMeshGone(t *testing.T) {
	sim(t, "while it is called", func(t *testing.T) {
		w := newMesh(t, 2)
		w.forbid(1, 2, true)
		w.start(1)
		synctest.Wait()
		before := runtime.NumGoroutine()
		w.know(1, 2)
		synctest.Wait()
		if w.called(1, 2, false) == 0 {
			t.Error("nobody calls")
		}
		w.know(1)
		noMore(t, before)
	})
}
