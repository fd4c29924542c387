package main

import (
	"net/netip"
	"strings"
)

// conversations is what the packets say.
func conversations() []conversation {
	list := []conversation{
		v6(udp, 123, says{false, "\x23\x00\x06\x20" + zeros(44)}, says{true, "\x24\x01\x06\xe9" + zeros(44)}),
		v4(udp, 123, says{false, "\xe3\x00\x06\xec" + zeros(44)}, says{true, "\x24\x02\x06\xe9" + zeros(44)}),
		v4(udp, 5060, says{false, sip}),
		v4(tcp, 25, replies(smtp)...),
		v4(tcp, 143, replies(imap)...),
		v4(tcp, 1883, says{false, "\x10\x1a\x00\x04MQTT\x04\x02\x00\x3c\x00\x0esensor/status1"}, says{true, "\x20\x02\x00\x00"}),
		v4(udp, 161, says{false, "\x30\x29\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04\x00\x00\x00\x01\x02\x01\x00\x02\x01\x00\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x03\x00\x05\x00"}),
		{ping, at("fd00::2", 0), at("fd00::1", 0), []says{{false, echo(128)}, {true, echo(129)}}},
		{icmp, at("10.0.0.2", 0), at("10.0.0.1", 0), []says{{false, echo(8)}, {true, echo(0)}, {true, "\x03\x03" + zeros(6)}}},
	}
	for _, name := range []string{"www.example.com", "mail.example.org", "api.example.net", "cdn.example.de"} {
		for _, kind := range []byte{28, 65, 1} {
			list = append(list, v4(udp, 53, says{false, query(name, kind)}, says{true, answer(name, kind)}))
		}
	}
	return append(list,
		v6(tcp, 443, says{false, clientHello("www.example.org")}, says{true, serverHello}),
		v4(tcp, 443, says{false, clientHello("www.example.com")}, says{true, serverHello}, says{false, "\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x35"}, says{true, "\x17\x03\x03\x00\x1a"}),
		v4(tcp, 22, says{false, sshClient}, says{true, sshServer}, says{false, kexInit(clientKex)}, says{true, kexInit(serverKex)},
			says{false, zeros(4)}, says{true, zeros(4)}),
		v4(tcp, 80, says{false, browser("/")}, says{true, redirect}, says{false, browser("/index.html")}, says{true, notFound}),
		v4(tcp, 8080, says{false, post}, says{true, jsonAnswer}),
		v6(tcp, 80, says{false, tool}, says{true, answerOf("text/plain; charset=utf-8", 1000) + prose}),
		v4(tcp, 80, says{false, browser("/style.css")}, says{true, answerOf("text/css", 2000) + css},
			says{false, browser("/script.js")}, says{true, answerOf("text/javascript", 3000) + script},
			says{false, browser("/image.png")}, says{true, answerOf("image/png", 4000) + "\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"},
			says{false, tool}, says{true, answerOf("text/html; charset=utf-8", 6000) + html}),
	)
}

func v4(protocol byte, port uint16, s ...says) conversation {
	return conversation{protocol, at("10.0.0.2", 40000+port%1000), at("10.0.0.1", port), s}
}

func v6(protocol byte, port uint16, s ...says) conversation {
	return conversation{protocol, at("fd00::2", 50000+port%1000), at("fd00::1", port), s}
}

func at(addr string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port)
}

// replies has client and server speak in turn, the server first.
func replies(lines string) (list []says) {
	for i, line := range strings.SplitAfter(lines, "\r\n") {
		if line != "" {
			list = append(list, says{i%2 == 0, line})
		}
	}
	return list
}

func zeros(n int) string { return strings.Repeat("\x00", n) }

// echo is what ping sends: a type, a number, a time and a pattern.
func echo(kind byte) string {
	b := append([]byte{kind, 0, 0, 0, 0x12, 0x34, 0, 1}, zeros(16)...)
	for i := byte(0x10); i < 0x38; i++ {
		b = append(b, i)
	}
	return string(b)
}
