package compress

import (
	"sync"
	"testing"
)

// TestTrain has one link make the model while another one reads the dictionary: the race
// detector would see it written.
func TestTrain(t *testing.T) {
	var training sync.WaitGroup
	training.Go(func() {
		if *train() != *trained() {
			t.Error("the dictionary teaches something else")
		}
	})
	var sum int
	for range 100 {
		for _, b := range dictionary() {
			sum += int(b)
		}
	}
	training.Wait()
}
