//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "demo: it is made of network namespaces, which are only on Linux")
	os.Exit(1)
}
