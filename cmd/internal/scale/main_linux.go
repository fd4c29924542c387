package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"vpnd/tunnel"
)

func main() {
	if address := os.Getenv(hubEnv); address != "" {
		if err := beHub(address); err != nil {
			fmt.Fprintln(os.Stderr, "hub:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// options is the command line.
type options struct {
	clients, active int
	idle, time      time.Duration
}

// patience bounds every wait for clients.
const patience = 2 * time.Minute

func run(args []string, out io.Writer) error {
	var o options
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.IntVar(&o.clients, "clients", 1000, "how many clients there are")
	f.DurationVar(&o.idle, "idle", time.Minute, "how long the CPU time of idle clients is measured; 0: not")
	f.IntVar(&o.active, "active", 100, "how many clients send; 0: not")
	f.DurationVar(&o.time, "time", 10*time.Second, "how long they send")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.clients > 0 {
		if err := o.measureIdle(out); err != nil {
			return err
		}
	}
	if o.active > 0 {
		return o.measureActive(out)
	}
	return nil
}

// settle is how long idle clients are left alone before they are measured: the hub
// gives memory back when nothing came for a while.
const settle = 35 * time.Second

// measureIdle measures clients that say nothing, and how they come back.
func (o options) measureIdle(out io.Writer) error {
	h, err := startHub("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { h.kill() }()
	empty, err := h.resident()
	if err != nil {
		return err
	}
	address := h.address
	f, err := launch(o.clients, func(int) string { return address }, func(int) tunnel.Device { return newSilent() })
	if err != nil {
		return err
	}
	defer f.close()
	took, err := f.await(o.clients, patience)
	if err != nil {
		return err
	}
	busy, err := h.used()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d clients there after %.1f s, %.1f s of CPU time of the hub\n", o.clients, took.Seconds(), busy.Seconds())
	if o.idle > 0 {
		if err := o.measureCost(out, h, empty); err != nil {
			return err
		}
	}
	h.kill()
	began := time.Now()
	if _, err := f.await(0, patience); err != nil {
		return err
	}
	if h, err = startHub(address); err != nil {
		return err
	}
	if _, err := f.await(o.clients, patience); err != nil {
		return err
	}
	fmt.Fprintf(out, "hub killed and started again: all back after %.1f s\n", time.Since(began).Seconds())
	return nil
}

// measureCost measures what clients cost that say nothing.
func (o options) measureCost(out io.Writer, h *hub, empty int64) error {
	time.Sleep(settle)
	before, err := h.used()
	if err != nil {
		return err
	}
	time.Sleep(o.idle)
	after, err := h.used()
	if err != nil {
		return err
	}
	full, err := h.resident()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "idle: %.1f MB resident, %.1f KB a client, %.2f %% of a core\n",
		float64(full)/1e6, float64(full-empty)/1024/float64(o.clients), 100*(after-before).Seconds()/o.idle.Seconds())
	return nil
}
