package registry

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"vpnd/cmd/internal/settings"
)

var errState = errors.New("the state is damaged")

// parseState reads what format wrote. Whatever is not exactly that is found in the end.
func parseState(text []byte) (*state, error) {
	lines := strings.Split(string(text), "\n")
	if len(text) > maxState || len(lines) < 3 || len(lines) > settings.MaxNetworks+3 {
		return nil, errState
	}
	p := stateParser{}
	s := p.head(strings.Split(lines[0], " "))
	for _, line := range lines[1 : len(lines)-2] {
		s.entries = append(s.entries, p.entry(strings.Split(line, " ")))
	}
	for i := range s.entries {
		if i > 0 && s.entries[i-1].name >= s.entries[i].name {
			p.bad = true
		}
	}
	if p.bad || !bytes.Equal(s.format(), text) {
		return nil, errState
	}
	return s, nil
}

type stateParser struct{ bad bool }

func (p *stateParser) head(words []string) *state {
	if len(words) != 8 {
		p.bad = true
		return &state{}
	}
	s := &state{boot: words[2], saved: p.time(words[3]), begun: p.time(words[4]), serial: p.number(words[5]), floor: p.number(words[6])}
	p.hex(s.epoch[:], words[1])
	p.hex(s.digest[:], words[7])
	return s
}

func (p *stateParser) entry(words []string) entry {
	if len(words) != 5 || settings.CheckName(words[0]) != nil {
		p.bad = true
		return entry{}
	}
	e := entry{name: words[0], key: words[1], number: p.number(words[2]), until: p.time(words[4])}
	e.endpoint, _ = netip.ParseAddrPort(words[3])
	return e
}

func (p *stateParser) number(word string) uint64 {
	n, err := strconv.ParseUint(word, 10, 64)
	p.bad = p.bad || err != nil
	return n
}

func (p *stateParser) time(word string) time.Duration {
	const most = 1 << 62 / int64(time.Millisecond)
	n, err := strconv.ParseInt(word, 10, 64)
	if err != nil || n > most || n < -most {
		p.bad = true
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

func (p *stateParser) hex(to []byte, word string) {
	b, err := hex.DecodeString(word)
	p.bad = p.bad || err != nil || copy(to, b) != len(to)
}
