//go:build race

package compress

// raceDetector is on: sync.Pool then forgets at random what it holds, and the
// methods keep tables in pools.
const raceDetector = true
