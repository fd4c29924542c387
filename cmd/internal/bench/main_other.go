//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: it measures between network namespaces, which are only on Linux")
	os.Exit(1)
}
