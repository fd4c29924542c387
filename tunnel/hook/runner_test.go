package hook

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// stage is a place for scripts that write down when they begin and end.
type stage struct {
	t    *testing.T
	dir  string
	log  journal
	path string // of a script: record $1, say so through $2, wait for $3
}

func newStage(t *testing.T) *stage {
	dir := t.TempDir()
	return &stage{t: t, dir: dir, path: write(t, filepath.Join(dir, "hook"), `
echo "$1 begins"
if test -n "$2"; then echo >"$2"; read x <"$3"; fi
echo "$1 ends"`)}
}

// quick is a script that ends at once.
func (s *stage) quick(name string) Script {
	return Script{Path: s.path, Args: []string{name}, Env: environment, Timeout: time.Hour, Log: s.log.logger()}
}

// slow is a script that runs until end is called; begun waits for its begin.
func (s *stage) slow(name string) (script Script, begun, end func()) {
	up, down := fifo(s.t, s.dir, name+".up"), fifo(s.t, s.dir, name+".down")
	script = s.quick(name)
	script.Args = append(script.Args, up, down)
	return script, func() { open(s.t, up, os.O_RDONLY) }, func() { open(s.t, down, os.O_WRONLY).Close() }
}

func TestRunner(t *testing.T) {
	s := newStage(t)
	r := NewRunner(t.Context(), 2, s.log.logger())
	r.Wait()
	r.Start("link", s.quick("one"))
	r.Wait()
	r.Start("link", s.quick("two"))
	r.Wait()
	s.log.expect(t, "one begins", "one ends", "two begins", "two ends")
}

func TestRunnerLatestWins(t *testing.T) {
	s := newStage(t)
	r := NewRunner(t.Context(), 2, s.log.logger())
	first, begun, end := s.slow("first")
	r.Start("link", first)
	begun()
	r.Start("link", s.quick("second"))
	r.Start("link", s.quick("third"))
	fourth, begun4, end4 := s.slow("fourth")
	r.Start("link", fourth)
	end()
	begun4()
	r.Start("link", s.quick("fifth"))
	end4()
	r.Wait()
	s.log.expect(t, "first begins", "first ends", "fourth begins", "fourth ends", "fifth begins", "fifth ends")
}

func TestRunnerGoesOnAfterError(t *testing.T) {
	s := newStage(t)
	r := NewRunner(t.Context(), 2, s.log.logger())
	first, begun, end := s.slow("first")
	r.Start("link", first)
	begun()
	missing := s.quick("missing")
	missing.Path = "/no/such/hook"
	r.Start("link", missing)
	end()
	r.Wait()
	r.Start("link", s.quick("last"))
	r.Wait()
	s.log.expect(t, "first begins", "first ends",
		"WARN hook failed: hook /no/such/hook: lstat /no: no such file or directory; write it, or remove the keyword",
		"last begins", "last ends")
}

func TestRunnerCanceled(t *testing.T) {
	s := newStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := NewRunner(ctx, 2, s.log.logger())
	first, begun, _ := s.slow("first")
	r.Start("link", first)
	begun()
	r.Start("link", s.quick("second"))
	cancel()
	r.Wait()
	s.log.expect(t, "first begins",
		"WARN hook failed: hook "+s.path+": killed: context canceled",
		"WARN hook failed: hook "+s.path+": context canceled")
}

// TestRunnerOneAtATime starts scripts from all sides. Each would find the
// directory of another that still runs.
func TestRunnerOneAtATime(t *testing.T) {
	var log journal
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "hook"), `mkdir "$1" && rmdir "$1"`)
	script := Script{Path: path, Args: []string{dir + "/running"}, Env: environment, Timeout: time.Hour, Log: log.logger()}
	r := NewRunner(t.Context(), 2, log.logger())
	var starters sync.WaitGroup
	for range 4 {
		starters.Go(func() {
			for range 20 {
				r.Start("link", script)
			}
		})
	}
	starters.Wait()
	r.Wait()
	log.expect(t)
}

// TestRunnerLinks has scripts of three links, of which two run at a time.
func TestRunnerLinks(t *testing.T) {
	var stages [3]*stage
	for i := range stages {
		stages[i] = newStage(t) // their logs are filled at the same time
	}
	r := NewRunner(t.Context(), 2, stages[0].log.logger())
	one, begun1, end1 := stages[0].slow("one")
	two, begun2, end2 := stages[1].slow("two")
	three, begun3, end3 := stages[2].slow("three")
	r.Start("1", one)
	begun1()
	r.Start("2", two)
	begun2()
	r.Start("3", stages[2].quick("never"))
	r.Start("3", three)
	r.Start("1", stages[0].quick("four"))
	r.mu.Lock()
	if len(r.running) != 2 || r.running["3"] || len(r.waiting) != 2 {
		t.Errorf("%v run, %d wait", r.running, len(r.waiting))
	}
	r.mu.Unlock()
	end2()
	begun3() // while one runs, and before its own
	end1()
	end3()
	r.Wait()
	stages[0].log.expect(t, "one begins", "one ends", "four begins", "four ends")
	stages[1].log.expect(t, "two begins", "two ends")
	stages[2].log.expect(t, "three begins", "three ends")
}

// TestRunnerManyLinks has more links come than scripts can be run for.
func TestRunnerManyLinks(t *testing.T) {
	s := newStage(t)
	r := NewRunner(t.Context(), 1, s.log.logger())
	first, begun, end := s.slow("first")
	r.Start("link", first)
	begun()
	for i := range maxWaiting + 100 {
		r.Start(strconv.Itoa(i), s.quick("other"))
	}
	r.Start("0", s.quick("latest")) // who waits is not left out
	r.mu.Lock()
	if n := len(r.waiting); n != maxWaiting || r.waiting[0].script.Args[0] != "latest" {
		t.Errorf("%d wait", n)
	}
	r.waiting = r.waiting[:1]
	r.mu.Unlock()
	end()
	r.Wait()
	s.log.expect(t, "first begins", fmt.Sprint("WARN scripts of links do not keep up: some are left out from now on: ", maxWaiting), "first ends", "latest begins", "latest ends")
}

// TestRunnerStop has scripts wait behind one that takes its time: those that still do so
// after a while are left out.
func TestRunnerStop(t *testing.T) {
	s := newStage(t)
	r := NewRunner(t.Context(), 1, s.log.logger())
	first, begun, end := s.slow("first")
	r.Start("a", first)
	begun()
	r.Start("b", s.quick("second"))
	r.Start("a", s.quick("third"))
	for !s.log.has("first begins") { // it is on its way
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan struct{})
	go func() { r.Stop(time.Millisecond); close(stopped) }()
	for waits := true; waits; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		waits = len(r.waiting) > 0
		r.mu.Unlock()
	}
	select {
	case <-stopped:
		t.Error("the one that runs is not waited for")
	default:
	}
	end()
	<-stopped
	left := "WARN scripts of links are left out, so that the stop does not take longer: 2"
	s.log.expect(t, "first begins", left, "first ends")
	r.Start("a", s.quick("fourth"))
	r.Stop(time.Hour)
	s.log.expect(t, "first begins", left, "first ends", "fourth begins", "fourth ends")
}
