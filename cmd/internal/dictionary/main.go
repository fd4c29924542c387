// Dictionary makes the dictionary of package compress: IP packets such as connections
// begin with, so that the first ones through a slow line need not teach a compressor
// what packets look like. It makes them from the texts in this directory and from
// nothing else, the same bytes each time:
//
//	go generate ./compress
//
// Another dictionary is another version of the protocol: both ends need the same one.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "dictionary.bin", "write the packets to this file")
	flag.Parse()
	if err := os.WriteFile(*out, packets(), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
