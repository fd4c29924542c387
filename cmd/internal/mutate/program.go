package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/build"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program is a package with all its mutants inside: MUTANT in the environment
// says which one is alive, so that the compiler runs once and not once for each.
type program struct {
	target
	root    string // of the module, which is not touched
	scratch string
	overlay string // what the compiler reads instead of the module's files
	mutants []mutant
	tests   []*test       // the quick ones first; nil: not compiled
	grace   time.Duration // what tests get beside three times what they took
	// patience is how many times that a mutant gets which used up its time: it may
	// be the host that was slow.
	patience time.Duration
}

// test is one test function.
type test struct {
	name    string
	took    time.Duration
	reaches map[int]bool // mutants
}

// switchboard is the file that the package gets beside its own. With REACHED in
// the environment it notes in that pipe the mutants which a run comes across.
const switchboard = `package %s

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
)

var (
	mutantNumber, _ = strconv.Atoi(os.Getenv("MUTANT"))
	mutantNotes, _  = os.Create(os.Getenv("REACHED"))
	mutantReached   [%d]atomic.Bool
)

func mutantIs(n int) bool {
	if mutantNotes != nil && !mutantReached[n].Swap(true) {
		fmt.Fprintln(mutantNotes, n)
	}
	return n == mutantNumber
}

func mutantError(alive bool, err error) error {
	if alive {
		return nil
	}
	return err
}
`

// newProgram instruments a target. What it writes lies in scratch.
func newProgram(root, scratch string, t target) (*program, error) {
	code, err := regexp.Compile(t.code)
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(t.dir), "*.go"))
	if err != nil {
		return nil, err
	}
	p := &program{target: t, root: root, scratch: scratch}
	replace := make(map[string]string)
	for _, path := range names {
		name := filepath.Base(path)
		here, err := build.Default.MatchFile(filepath.Dir(path), name)
		if err != nil {
			return nil, err
		}
		if !here || strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		source, p.mutants, err = instrument(source, t.dir+"/"+name, p.mutants,
			func(function string) bool { return code.MatchString(name + " " + function) })
		if err != nil {
			return nil, err
		}
		if replace[path], err = p.write(name, source); err != nil {
			return nil, err
		}
	}
	if len(p.mutants) == 0 {
		return nil, fmt.Errorf("nothing to mutate in %s", t.dir)
	}
	board := fmt.Sprintf(switchboard, filepath.Base(t.dir), len(p.mutants)+1)
	path := filepath.Join(root, filepath.FromSlash(t.dir), "mutantswitch.go")
	if replace[path], err = p.write("mutantswitch.go", []byte(board)); err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	p.overlay, err = p.write("overlay.json", overlay)
	return p, err
}

func (p *program) write(name string, content []byte) (string, error) {
	path := filepath.Join(p.scratch, name)
	return path, os.WriteFile(path, content, 0o600)
}

// compile makes the tests, and runs each by itself without a mutant: it must pass,
// and shows which mutants it comes across.
func (p *program) compile(ctx context.Context) error {
	c := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", p.overlay, "-o", p.binary(), "./"+p.dir)
	c.Dir = p.root
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("compile tests of %s: %w: %s", p.dir, err, out)
	}
	list, err := exec.CommandContext(ctx, p.binary(), "-test.list", "^(Test|Fuzz|Example)").Output()
	if err != nil {
		return fmt.Errorf("list tests of %s: %w", p.dir, err)
	}
	p.grace = 10 * time.Minute
	for _, name := range strings.Fields(string(list)) {
		t, err := p.survey(ctx, name)
		if err != nil {
			return err
		}
		p.tests = append(p.tests, t)
	}
	slices.SortFunc(p.tests, func(a, b *test) int { return cmp.Compare(a.took, b.took) })
	p.grace, p.patience = 10*time.Second, 4
	return nil
}

// binary returns the path of the compiled tests.
func (p *program) binary() string { return filepath.Join(p.scratch, "tests") }

// survey runs one test without a mutant. What it comes across it tells through a pipe:
// a test may let its process write to no file.
func (p *program) survey(ctx context.Context, name string) (*test, error) {
	path := filepath.Join(p.scratch, "reached")
	if err := syscall.Mkfifo(path, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make pipe %s: %w", path, err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	t := &test{name: name, reaches: make(map[int]bool)}
	ended := make(chan error, 1)
	go func() { ended <- t.note(pipe) }()
	began := time.Now()
	by, err := p.run(ctx, []*test{t}, "REACHED="+path, p.grace)
	if err != nil {
		return nil, err
	}
	if by != "" {
		return nil, fmt.Errorf("tests of %s fail without a mutant: %s", p.dir, by)
	}
	t.took = time.Since(began)
	if _, err := fmt.Fprintln(pipe, lastNote); err != nil {
		return nil, err
	}
	return t, <-ended
}

// lastNote is no mutant's number.
const lastNote = 0

// note takes the numbers of mutants until the last one.
func (t *test) note(from io.Reader) error {
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		number, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		if number == lastNote {
			return nil
		}
		t.reaches[number] = true
	}
	return lines.Err()
}

// try runs the tests that come across a mutant, with the mutant alive: the quick
// ones, which are most, and then the others. It returns what noticed the mutant,
// or nothing.
func (p *program) try(ctx context.Context, number int) (by string, err error) {
	var tests []*test
	var all, first time.Duration
	env := fmt.Sprintf("MUTANT=%d", number)
	for _, t := range p.tests {
		if t.reaches[number] {
			tests = append(tests, t)
			all += t.took
		}
	}
	quick := 0
	for quick < len(tests) && first <= all/8 {
		first += tests[quick].took
		quick++
	}
	for _, some := range [][]*test{tests[:quick], tests[quick:]} {
		if len(some) == 0 {
			continue
		}
		limit := p.grace
		for _, t := range some {
			limit += 3 * t.took
		}
		by, err = p.run(ctx, some, env, limit)
		if by == overTime {
			by, err = p.run(ctx, some, env, p.patience*limit)
		}
		if err != nil || by != "" {
			return by, err
		}
	}
	return "", nil
}

// memory bounds the address space of the tests in KiB: a mutant may eat without
// end.
const memory = 8 << 20

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// overTime is what notices a mutant that comes to no end.
const overTime = "the time limit"

// run runs tests until one fails or the limit is over, and returns which.
func (p *program) run(ctx context.Context, tests []*test, env string, limit time.Duration) (failed string, err error) {
	temp, err := os.MkdirTemp(p.scratch, "temp")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
	}
	backstop, cancel := context.WithTimeout(ctx, 2*limit)
	defer cancel()
	c := exec.CommandContext(backstop, "sh", "-c", `ulimit -v "$0" && exec "$@"`, fmt.Sprint(memory), p.binary(),
		"-test.failfast", "-test.timeout", limit.String(), "-test.run", "^("+strings.Join(names, "|")+")$")
	c.Dir = filepath.Join(p.root, filepath.FromSlash(p.dir))
	c.Env = append(os.Environ(), "TMPDIR="+temp, env)
	c.WaitDelay = time.Second
	var out head
	c.Stdout, c.Stderr = &out, &out
	err = c.Run()
	switch name := failedTest.FindSubmatch(out.kept); {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err == nil:
		return "", nil
	case backstop.Err() != nil || bytes.Contains(out.kept, []byte("panic: test timed out")):
		return overTime, nil
	case name != nil:
		return string(name[1]), nil
	case errors.As(err, new(*exec.ExitError)):
		return "a crash", nil
	}
	return "", fmt.Errorf("run tests of %s: %w", p.dir, err)
}

// head keeps the beginning of what is written.
type head struct{ kept []byte }

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), 1<<20-len(h.kept))]...)
	return len(p), nil
}
