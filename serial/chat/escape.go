package chat

import (
	"strings"
	"time"
)

// Waits of \d and \p.
const (
	longWait  = time.Second
	shortWait = time.Second / 10
)

// message turns a word into what is sent.
func (p *parser) message(text string) *message {
	m, end := &message{}, "\r"
	if len(text) > 1 && text[0] == '@' {
		p.fail(`%q: text from a file is not possible here; \@ sends the sign itself`, text)
	}
	switch text {
	case "EOT":
		text, end = "^D", ""
	case "BREAK":
		text, end = `\K`, ""
	}
	for text != "" {
		var c byte
		var special bool
		c, special, text = cutChar(text)
		switch {
		case !special:
			m.add(string([]byte{c}))
		case c == 'N':
			m.add("\x00")
		case c == 'd':
			m.parts = append(m.parts, part{wait: longWait})
		case c == 'p':
			m.parts = append(m.parts, part{wait: shortWait})
		case c == 'K':
			m.parts = append(m.parts, part{breakIt: true})
		case c == 'q':
			m.hidden = true
		case c == 'c' && text == "":
			end = ""
		case c == 'c':
			p.fail(`\c may stand only at the end`)
		case c == 'T', c == 'U':
			p.fail(noNumber, c)
		}
	}
	if end != "" {
		m.add(end)
	}
	return m
}

// add appends bytes to the last part.
func (m *message) add(text string) {
	if n := len(m.parts); n > 0 && m.parts[n-1].text != "" {
		m.parts[n-1].text += text
		return
	}
	m.parts = append(m.parts, part{text: text})
}

const noNumber = `\%c: there is no telephone number but what the script says`

// expected turns a word into what is looked for. Scripts that are in use have
// escapes there that have a meaning only in what is sent: they are left out.
func (p *parser) expected(text string) string {
	var b strings.Builder
	for text != "" {
		var c byte
		var special bool
		c, special, text = cutChar(text)
		switch {
		case !special:
			b.WriteByte(c)
		case c == 'T', c == 'U':
			p.fail(noNumber, c)
		}
	}
	if b.Len() > maxText {
		p.fail("text of %d bytes, at most %d", b.Len(), maxText)
	}
	return b.String()
}

// cutChar returns the first character of a word and the rest. Special ones are
// letters that stand for something that is no byte, or one only in what is sent.
func cutChar(text string) (c byte, special bool, rest string) {
	c, rest = text[0], text[1:]
	if rest == "" {
		return c, false, ""
	}
	switch c {
	case '^':
		return rest[0] & 0x1f, false, rest[1:]
	case '\\':
		return cutEscape(rest)
	}
	return c, false, rest
}

// cutEscape is what stands behind a backslash.
func cutEscape(text string) (c byte, special bool, rest string) {
	c, rest = text[0], text[1:]
	switch c {
	case 'b':
		c = '\b'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 's':
		c = ' '
	case 't':
		c = '\t'
	case 'c', 'd', 'K', 'N', 'p', 'q', 'T', 'U':
		return c, true, rest
	case '0', '1', '2', '3', '4', '5', '6', '7':
		c, rest = cutOctal(text)
	}
	return c, false, rest
}

// cutOctal takes up to three octal digits.
func cutOctal(text string) (c byte, rest string) {
	n := 0
	for ; n < 3 && n < len(text) && '0' <= text[n] && text[n] <= '7'; n++ {
		c = c<<3 | text[n]&7
	}
	return c, text[n:]
}
