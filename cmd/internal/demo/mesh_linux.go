package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"vpnd/cmd/internal/meshlab"
)

// runMesh shows four networks that find each other.
func runMesh(ctx context.Context, programs string) (err error) {
	programs, err = filepath.Abs(programs)
	if err != nil {
		return err
	}
	w, err := meshlab.New(meshlab.Config{
		Nexus: filepath.Join(programs, "nexus"), Packthread: filepath.Join(programs, "packthread"), Examples: "examples/dynvpn",
		Sites: 4, NAT: []int{4},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	d := meshDemo{w}
	return play(ctx, d.scenes(), w.Logs)
}

// meshDemo is the scenes of the mesh.
type meshDemo struct{ *meshlab.World }

func (d meshDemo) scenes() []step {
	one, two, three := d.Sites[0], d.Sites[1], d.Sites[2]
	again := func(sites ...*meshlab.Site) func(context.Context) error {
		return func(ctx context.Context) error {
			for _, s := range sites {
				if err := s.Move(); err != nil {
					return err
				}
			}
			return d.all(ctx, func() error {
				for _, s := range sites {
					if err := s.Again(ctx); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	return []step{
		{"nexus under lighttpd, four gateways, the last one behind NAT, a computer behind each", d.start},
		{"what packthread --status says on the first", func(context.Context) error { return d.status(one) }},
		{"the first gateway has another address, and runs packthread again", again(one)},
		{"two gateways change at once", again(two, three)},
		{"nexus is killed", d.withoutNexus},
		{"a gateway moves while nexus is dead", again(one)},
		{"what packthread --status says on the first", func(context.Context) error { return d.status(one) }},
		{"the end", d.stop},
	}
}

// all does something and waits until all computers reach all others.
func (d meshDemo) all(ctx context.Context, do func() error) error {
	began := time.Now()
	if err := do(); err != nil {
		return err
	}
	if _, err := d.Paths(ctx); err != nil {
		return err
	}
	fmt.Printf("all computers reach all others after %v\n", time.Since(began).Round(time.Millisecond))
	return nil
}

func (d meshDemo) start(ctx context.Context) error {
	return d.all(ctx, func() error {
		if err := d.StartNexus(ctx); err != nil {
			return err
		}
		for _, s := range d.Sites {
			fmt.Printf("packthread %s, network %v\n", s.Name, s.Subnet())
			if err := s.Start(); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d meshDemo) status(s *meshlab.Site) error {
	text, err := s.Command("--status", s.Name).CombinedOutput()
	fmt.Printf("%s", text)
	return err
}

// direct waits until the gateway behind NAT is linked with where the others are now.
func (d meshDemo) direct(ctx context.Context) error {
	began, last := time.Now(), len(d.Sites)-1
	for _, s := range d.Sites[:last] {
		for {
			text, err := d.Sites[last].Command("--status", d.Sites[last].Name).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", d.Sites[last].Name, err, text)
			}
			if bytes.Contains(text, []byte(" at "+s.Outer().String()+":")) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s has no direct link with %s: %w", d.Sites[last].Name, s.Name, context.Cause(ctx))
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	fmt.Printf("the one behind NAT has direct links with all others after %v\n", time.Since(began).Round(time.Millisecond))
	return nil
}

func (d meshDemo) withoutNexus(ctx context.Context) error {
	if err := d.direct(ctx); err != nil { // it has to hear where the others are
		return err
	}
	return d.all(ctx, func() error { return d.StopNexus(ctx) })
}

func (d meshDemo) stop(ctx context.Context) error {
	for _, s := range d.Sites {
		if code, err := s.Kill(ctx, syscall.SIGTERM); err != nil || code != 0 {
			return fmt.Errorf("%s ended with code %d: %w", s.Name, code, err)
		}
	}
	fmt.Println("all gateways ended, interfaces and routes are gone, and so are the namespaces in a moment")
	return nil
}
