//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "scale: it measures what /proc tells, which is only on Linux")
	os.Exit(1)
}
