package main

import (
	"encoding/binary"
	"strings"
)

// query is a question to a name server.
func query(name string, kind byte) string {
	return "\x00\x00\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01" + question(name, kind) +
		"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00" // EDNS
}

// answer is what it says.
func answer(name string, kind byte) string {
	head := "\x00\x00\x81\x80\x00\x01\x00\x01\x00\x00\x00\x01" + question(name, kind)
	record := "\xc0\x0c\x00" + string(rune(kind)) + "\x00\x01\x00\x00\x01\x2c"
	switch kind {
	case 1:
		record += "\x00\x04\xc0\x00\x02\x01"
	case 28:
		record += "\x00\x10\x20\x01\x0d\xb8" + zeros(11) + "\x01"
	default:
		record = "\xc0\x10\x00\x06\x00\x01\x00\x00\x03\x84\x00\x2d\x02ns\xc0\x10\x0ahostmaster\xc0\x10" + zeros(4) + "\x00\x00\x1c\x20\x00\x00\x0e\x10\x00\x12\x75\x00\x00\x00\x01\x2c"
	}
	return head + record + "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"
}

func question(name string, kind byte) string {
	var q strings.Builder
	for label := range strings.SplitSeq(name, ".") {
		q.WriteByte(byte(len(label)))
		q.WriteString(label)
	}
	return q.String() + "\x00\x00" + string(rune(kind)) + "\x00\x01"
}

// sized puts the length of a text in front of it, in so many bytes.
func sized(bytes int, text string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))[4-bytes:]) + text
}

// extension is one of TLS (RFC 8446, 4.2).
func extension(kind uint16, text string) string {
	return string(binary.BigEndian.AppendUint16(nil, kind)) + sized(2, text)
}

// clientHello is the first record of TLS 1.3. What is random there is zero.
func clientHello(name string) string {
	suites := "\x13\x02\x13\x03\x13\x01\xc0\x2c\xc0\x30\x00\x9f\xcc\xa9\xcc\xa8\xcc\xaa\xc0\x2b\xc0\x2f\x00\x9e\xc0\x24\xc0\x28\x00\x6b" +
		"\xc0\x23\xc0\x27\x00\x67\xc0\x0a\xc0\x14\x00\x39\xc0\x09\xc0\x13\x00\x33\x00\x9d\x00\x9c\x00\x3d\x00\x3c\x00\x35\x00\x2f\x00\xff"
	extensions := extension(0, sized(2, "\x00"+sized(2, name))) +
		extension(11, "\x03\x00\x01\x02") +
		extension(10, sized(2, "\x00\x1d\x00\x17\x00\x1e\x00\x18\x00\x19\x01\x00\x01\x01")) +
		extension(16, sized(2, "\x02h2\x08http/1.1")) +
		extension(22, "") + extension(23, "") + extension(35, "") + extension(5, "\x01\x00\x00\x00\x00") +
		extension(49, "") + extension(0xff01, "\x00") + extension(18, "") +
		extension(13, sized(2, "\x04\x03\x05\x03\x06\x03\x08\x07\x08\x08\x08\x09\x08\x0a\x08\x0b\x08\x04\x08\x05\x08\x06\x04\x01\x05\x01\x06\x01\x03\x03\x03\x01")) +
		extension(43, "\x04\x03\x04\x03\x03") + extension(45, "\x01\x01") +
		extension(51, sized(2, "\x00\x1d"+sized(2, zeros(32))))
	hello := "\x03\x03" + zeros(32) + sized(1, zeros(32)) + sized(2, suites) + "\x01\x00" + sized(2, extensions)
	return "\x16\x03\x01" + sized(2, "\x01"+sized(3, hello))
}

// serverHello is the answer, and the heads of the records behind it.
var serverHello = "\x16\x03\x03" + sized(2, "\x02"+sized(3, "\x03\x03"+zeros(32)+sized(1, zeros(32))+"\x13\x02\x00"+
	sized(2, extension(43, "\x03\x04")+extension(51, "\x00\x1d"+sized(2, zeros(32)))))) +
	"\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x17"

// kexInit is the list of algorithms that an end of SSH begins with (RFC 4253, 7.1).
func kexInit(lists []string) string {
	text := "\x14" + zeros(16)
	for _, l := range lists {
		text += sized(4, l)
	}
	text += sized(4, "") + sized(4, "") + zeros(5)
	return sized(4, "\x06"+text+zeros(6))
}
