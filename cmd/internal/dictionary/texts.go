package main

import "strconv"

const sip = "OPTIONS sip:10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bK;rport\r\nMax-Forwards: 70\r\n" +
	"From: <sip:user@10.0.0.2>;tag=1\r\nTo: <sip:10.0.0.1>\r\nCall-ID: 1@10.0.0.2\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

const smtp = "220 mail.example.com ESMTP Postfix\r\nEHLO host.example.com\r\n250-mail.example.com\r\n" +
	"MAIL FROM:<user@example.com> SIZE=1000\r\n250 2.1.0 Ok\r\nRCPT TO:<user@example.org>\r\n250 2.1.5 Ok\r\nDATA\r\n" +
	"354 End data with <CR><LF>.<CR><LF>\r\nMessage-ID: <1@example.com>\r\n250 2.0.0 Ok: queued as 1\r\nQUIT\r\n221 2.0.0 Bye\r\n"

const imap = "* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR LOGIN-REFERRALS ID ENABLE IDLE STARTTLS AUTH=PLAIN] ready.\r\na1 LOGIN user secret\r\n"

const (
	sshClient = "SSH-2.0-OpenSSH_9.6\r\n"
	sshServer = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"

	kexes = "sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521," +
		"diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256"
	ciphers = "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com"
	macs    = "umac-64-etm@openssh.com,umac-128-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha1-etm@openssh.com," +
		"umac-64@openssh.com,umac-128@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1"
)

var (
	clientKex = []string{
		"mlkem768x25519-sha256," + kexes + ",ext-info-c,kex-strict-c-v00@openssh.com",
		"ssh-ed25519-cert-v01@openssh.com,ecdsa-sha2-nistp256-cert-v01@openssh.com,rsa-sha2-512-cert-v01@openssh.com," +
			"sk-ssh-ed25519@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256",
		ciphers, ciphers, macs, macs, "none,zlib@openssh.com", "none,zlib@openssh.com",
	}
	serverKex = []string{
		kexes + ",kex-strict-s-v00@openssh.com", "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519",
		ciphers, ciphers, macs, macs, "none,zlib@openssh.com", "none,zlib@openssh.com",
	}
)

func browser(path string) string {
	return "GET " + path + " HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n" +
		"Referer: http://www.example.com/\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Cookie: session=\r\nIf-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT\r\nIf-None-Match: \"\"\r\nCache-Control: max-age=0\r\n\r\n"
}

const tool = "GET /object HTTP/1.1\r\nHost: 10.0.0.1:8000\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n"

const post = "POST /api/v1/status HTTP/1.1\r\nHost: api.example.net:8080\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 72\r\n" +
	"Authorization: Bearer \r\nContent-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n" +
	`{"id":1,"name":"","type":"status","value":null,"enabled":true,"tags":[]}`

const jsonAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n1a0\r\n" +
	`{"status":"ok","error":null,"message":"","data":{"items":[{"id":1,"name":"","title":"","url":"https://www.example.com/","date":"2024-01-01T00:00:00Z","count":0,"active":false}]},"next":""}` + "\r\n0\r\n\r\n"

const redirect = "HTTP/1.1 301 Moved Permanently\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/html\r\n" +
	"Content-Length: 162\r\nConnection: keep-alive\r\nLocation: https://www.example.com/\r\n\r\n"

const notFound = "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n" +
	"Date: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Length: 19\r\n\r\n404 page not found\n"

func answerOf(kind string, length int) string {
	return "HTTP/1.1 200 OK\r\nServer: nginx/1.24.0\r\nDate: Tue, 02 Jan 2024 10:20:30 GMT\r\nContent-Type: " + kind +
		"\r\nContent-Length: " + strconv.Itoa(length) + "\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: keep-alive\r\n" +
		"ETag: \"\"\r\nCache-Control: max-age=3600\r\nVary: Accept-Encoding\r\nAccept-Ranges: bytes\r\n\r\n"
}

const css = "body {\n\tmargin: 0;\n\tpadding: 0;\n\tfont-family: sans-serif;\n\tfont-size: 16px;\n\tcolor: #333;\n\tbackground: #fff;\n}\n" +
	"a:hover {\n\ttext-decoration: underline;\n}\n.header, .footer {\n\tdisplay: flex;\n\twidth: 100%;\n\tborder: 1px solid #ccc;\n}\n"

const script = "\"use strict\";\nfunction load(url) {\n\tvar request = new XMLHttpRequest();\n\treturn fetch(url).then(function (response) {\n\t\tif (!response.ok) {\n" +
	"\t\t\tthrow new Error(response.status);\n\t\t}\n\t\treturn response.json();\n\t});\n}\ndocument.addEventListener(\"DOMContentLoaded\", () => {\n\tconst element = document.getElementById(\"main\");\n});\n"

const html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n" +
	"<title>The title of the page</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n<script src=\"/script.js\"></script>\n</head>\n<body>\n" +
	"<div class=\"header\"><h1>The page</h1></div>\n<div id=\"main\" class=\"content\">\n<p>This is the text of the page, and <a href=\"http://www.example.com/\">a link</a>.</p>\n" +
	"<img src=\"/image.png\" alt=\"\" width=\"100\" height=\"100\">\n<ul>\n<li><a href=\"/\">Home</a></li>\n<li><a href=\"/about\">About</a></li>\n</ul>\n" +
	"<table>\n<tr><td>one</td><td>two</td></tr>\n</table>\n<form action=\"/search\" method=\"get\"><input type=\"text\" name=\"q\"></form>\n</div>\n</body>\n</html>\n"

const prose = "The line is slow, so what goes over it should be short. There are many words that are used again and again in any text, such as " +
	"the, and, of, to, that, which, with, for, from, this, not, have, when, what, there, would, could, about, more, other, than, into, only, all, " +
	"been, before, after, first, also, their, these, some, will, are, was, were, can, has, had, its, because, between, through, each, must, should.\n" +
	"package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\n// main is where it begins.\nfunc main() {\n\tif err := run(os.Args); err != nil {\n\t\tfmt.Fprintln(os.Stderr, err)\n\t\tos.Exit(1)\n\t}\n\treturn nil\n}\n" +
	"#include <stdio.h>\n\nint main(int argc, char *argv[])\n{\n\tfor (int i = 0; i < argc; i++) {\n\t\tprintf(\"%s\\n\", argv[i]);\n\t}\n\treturn 0;\n}\n" +
	"drwxr-xr-x 2 root root 4096 Jan  1 00:00 .\n-rw-r--r-- 1 root root  220 Jan  1 00:00 file\nroot@host:~# \x1b[0m\x1b[01;34m\x1b[00m\r\nuser@host:~$ ls -l\r\n"
