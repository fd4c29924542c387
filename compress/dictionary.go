package compress

import (
	"bytes"
	_ "embed"
	"sync"
)

//go:generate go run vpnd/cmd/internal/dictionary -o dictionary.bin

// preset is what cmd/internal/dictionary made: IP packets such as connections begin
// with. Both ends must have the same ones, so another file is another version of the
// protocol.
//
//go:embed dictionary.bin
var preset []byte

// dictionary is what each history begins with.
var dictionary = sync.OnceValue(func() []byte {
	var h headers
	d := bytes.Clone(preset)
	h.take(d)
	return d
})
