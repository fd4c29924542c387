package registry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

var errState = errors.New("the state is damaged")

// parseState reads what format wrote. Whatever else it reads as something is not written
// like that, and so found in the end.
func parseState(text []byte) (*state, error) {
	lines := strings.Split(string(text), "\n")
	if len(lines) < 3 {
		return nil, errState
	}
	s := parseHead(strings.Split(lines[0], " "))
	for _, line := range lines[1 : len(lines)-2] {
		s.entries = append(s.entries, parseEntry(strings.Split(line, " ")))
	}
	inOrder := slices.IsSortedFunc(s.entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	if !inOrder || !bytes.Equal(s.format(), text) {
		return nil, errState
	}
	return s, nil
}

func parseHead(words []string) *state {
	if len(words) != 8 {
		return &state{}
	}
	s := &state{boot: words[2], saved: parseTime(words[3]), begun: parseTime(words[4]), serial: parseNumber(words[5]), floor: parseNumber(words[6])}
	parseHex(s.epoch[:], words[1])
	parseHex(s.digest[:], words[7])
	return s
}

func parseEntry(words []string) entry {
	if len(words) != 6 {
		return entry{}
	}
	e := entry{name: words[0], key: words[1], number: parseNumber(words[2]), until: parseTime(words[4]), told: parseTime(words[5])}
	e.endpoint, _ = netip.ParseAddrPort(words[3])
	return e
}

func parseNumber(word string) uint64 {
	n, _ := strconv.ParseUint(word, 10, 64)
	return n
}

func parseTime(word string) time.Duration {
	n, _ := strconv.ParseInt(word, 10, 64)
	return time.Duration(n) * time.Millisecond
}

func parseHex(to []byte, word string) {
	b, _ := hex.DecodeString(word)
	copy(to, b)
}
