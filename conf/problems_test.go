package conf

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// base is a whole configuration without the keyword that a test is about.
func base(mode Mode, without string) string {
	var b strings.Builder
	lines := []struct{ keyword, line string }{
		{"mode", "mode " + string(mode)},
		{"local", "local 10.0.0.1"},
		{"remote", "remote 10.0.0.2"},
		{"server", "server 203.0.113.1"},
	}
	for _, l := range lines {
		if l.keyword == without {
			l.line = ""
		}
		fmt.Fprintln(&b, l.line)
	}
	return b.String()
}

// A problemTest adds the lines to a base that lacks their first keyword. They
// begin at line 5.
type problemTest struct {
	lines string
	want  string // what stands after "vpnd.conf:5: keyword: ", or whole lines
}

var problemTests = []problemTest{
	{"mode", `wrong number of arguments; say "mode client|server"`},
	{"mode client server", `wrong number of arguments; say "mode client|server"`},
	{"mode peer", `"peer" is none of client, server`},
	{"mode clinet", `"clinet" is none of client, server; did you mean "client"?`},
	{"mode server\nmode client", `vpnd.conf:6: mode: stands on line 5 already; keep one of the two`},

	{"server", `wrong number of arguments; say "server ADDRESS [PORT]|DEVICE"`},
	{"server 10.9.9.9 1 2", `wrong number of arguments; say "server ADDRESS [PORT]|DEVICE"`},
	{"server 65536", `"65536" is not a port from 0 to 65535`},
	{"server 10.9.9.9 http", `"http" is not a port from 0 to 65535`},
	{"server 10.9.9.9 -1", `"-1" is not a port from 0 to 65535`},
	{"server 1.2.3", `"1.2.3" is not an IPv4 address, an IPv6 address or a host name`},
	{"server 192.168.001.1", `"192.168.001.1" is not an IPv4 address, an IPv6 address or a host name`},
	{"server [2001:db8::1]", `"[2001:db8::1]" has brackets; say 2001:db8::1`},
	{"server [fe80::1]", `fe80::1 is the address of a single link; say on which interface, such as fe80::1%eth0`},
	{"server [fe80::1%eth0]", `"[fe80::1%eth0]" has brackets; say fe80::1%eth0`},
	{"server [fe80::1]:379", `fe80::1 is the address of a single link; say on which interface, such as fe80::1%eth0`},
	{"server tcp://gate 379", `"tcp://gate" is a URL; say the host alone, without "tcp://"`},
	{"server fe80::1", `fe80::1 is the address of a single link; say on which interface, such as fe80::1%eth0`},
	{"server [2001:db8::1]:379", `"[2001:db8::1]:379" holds address and port; put a blank between them: "2001:db8::1 379"`},
	{"server gate:379", `"gate:379" holds address and port; put a blank between them: "gate 379"`},
	{"server :379", `":379" holds address and port; put a blank between them: "379"`},
	{"server -gate", `"-gate" is not an IPv4 address, an IPv6 address or a host name`},
	{"server a..b", `"a..b" is not an IPv4 address, an IPv6 address or a host name`},
	{"server a/b", `"a/b" is not an IPv4 address, an IPv6 address or a host name`},
	{`server ""`, `"" is not an IPv4 address, an IPv6 address or a host name`},
	{"server " + strings.Repeat("a", 64), `"` + strings.Repeat("a", 64) + `" is not an IPv4 address, an IPv6 address or a host name`},
	{"server " + strings.Repeat("a.", 128), `"` + strings.Repeat("a.", 32) + `..." is not an IPv4 address, an IPv6 address or a host name`},
	{"server 379 379", `"379" is not an IPv4 address, an IPv6 address or a host name`},
	{"server /dev/ttyS0 9600", `a device stands alone; the speed is a keyword, "speed BITRATE"`},
	{"server /dev/ttyS0\nserver /dev/ttyS1", `vpnd.conf:6: server: a serial line leads to one place, and line 5 names it already; keep one of the two`},
	{"server /dev/ttyS0\nclient 192.0.2.1", `vpnd.conf:6: client: an address or a port, but line 5 names the serial line "/dev/ttyS0"; remove one of the two`},
	{"server /dev/ttyS0\nclient 24741", `vpnd.conf:6: client: an address or a port, but line 5 names the serial line "/dev/ttyS0"; remove one of the two`},
	{"server 24741\nclient /dev/ttyS0", `an address or a port, but line 6 names the serial line "/dev/ttyS0"; remove one of the two`},
	{"server 192.0.2.1\nclient /dev/ttyS0", `an address or a port, but line 6 names the serial line "/dev/ttyS0"; remove one of the two`},
	{"server 379\nserver 380\nserver 381", `vpnd.conf:6: server: a server listens in one place, and line 5 names it already`},

	{"client", `wrong number of arguments; say "client ADDRESS [PORT]|DEVICE"`},
	{"client 0 99999", `"99999" is not a port from 0 to 65535`},
	{"client ?", `"?" is not an IPv4 address, an IPv6 address or a host name`},
	{"client /dev/ttyS0 0", `a device stands alone; the speed is a keyword, "speed BITRATE"`},
	{"client 0\nclient 0", `vpnd.conf:6: client: stands on line 5 already; keep one of the two`},

	{"local", `wrong number of arguments; say "local ADDRESS|auto"`},
	{"local 10.9.0.1 10.9.0.2", `wrong number of arguments; say "local ADDRESS|auto"`},
	{"local host", `"host" is not an IPv4 or IPv6 address (no name, no prefix length, no zone)`},
	{"local 10.9.0.1/24", `"10.9.0.1/24" is not an IPv4 or IPv6 address (no name, no prefix length, no zone)`},
	{"local fe80::1%eth0", `"fe80::1%eth0" is not an IPv4 or IPv6 address (no name, no prefix length, no zone)`},
	{"local 0.0.0.0", `0.0.0.0 cannot be the address of one host`},
	{"local ::1", `::1 cannot be the address of one host`},
	{"local ::ffff:127.0.0.1", `127.0.0.1 cannot be the address of one host`},
	{"local 224.0.0.1", `224.0.0.1 cannot be the address of one host`},
	{"local 255.255.255.255", `255.255.255.255 cannot be the address of one host`},
	{"pool", `wrong number of arguments; say "pool CIDR"`},
	{"pool 10.9.0.1", `"10.9.0.1" lacks a prefix length; for this one host say 10.9.0.1/32`},
	{"pool 10.9.0.1/24", `"10.9.0.1/24" has bits set behind the prefix; say 10.9.0.0/24 for the network or 10.9.0.1/32 for the one host`},
	{"pool 10.9.0.0/31", `10.9.0.0/31 has no room for clients; the longest prefix is /30`},
	{"pool 224.0.0.0/8", `224.0.0.0/8 holds no addresses for hosts`},
	{"pool 127.0.0.0/8", `127.0.0.0/8 holds no addresses for hosts`},
	{"pool 0.0.0.0/0", `0.0.0.0/0 holds no addresses for hosts`},
	{"pool 10.9.0.0/24\npool 10.8.0.0/24", `vpnd.conf:6: pool: 10.8.0.0/24 is a second IPv4 pool; keep one of the two`},
	{"pool 10.9.0.0/24", `vpnd.conf:3: remote: a hub has many other ends, and line 5 makes this one; remove the line`},
	{"clienttoclient on", `only for a hub; say "pool CIDR" too, or remove the line`},
	{"local auto", `"auto" is for clients; a server gives the addresses`},
	{"local auto\nlocal 10.9.0.1", `vpnd.conf:6: local: "auto" takes all addresses from the server; keep it or the others`},
	{"local 10.9.0.1\nlocal auto", `vpnd.conf:6: local: "auto" takes all addresses from the server; keep it or the others`},
	{"key", `wrong number of arguments; say "key KEY ..."`},
	{"peers", `wrong number of arguments; say "peers PATH"`},
	{"clienttoclient yes", `"yes" is none of on, off`},
	{"local 10.9.0.1\nlocal 10.9.0.3", `vpnd.conf:6: local: 10.9.0.3 is a second IPv4 address; keep one of the two`},
	{"local fd00::1\nlocal fd00::3\nlocal 10.9.0.1", `vpnd.conf:6: local: fd00::3 is a second IPv6 address; keep one of the two`},
	{"local fd00::1\nlocal 10.9.0.1", `fd00::1 needs an IPv6 address as remote too`},
	{"local fd00::1", `fd00::1 needs an IPv6 address as remote too`},
	{"local 10.0.0.2", `vpnd.conf:3: remote: 10.0.0.2 is the local address; the two ends need two addresses`},

	{"remote", `wrong number of arguments; say "remote ADDRESS"`},
	{"remote auto", `"auto" is not an IPv4 or IPv6 address (no name, no prefix length, no zone)`},
	{"remote ff02::1", `ff02::1 cannot be the address of one host`},
	{"remote 10.9.0.1\nremote 10.9.0.3", `vpnd.conf:6: remote: 10.9.0.3 is a second IPv4 address; keep one of the two`},
	{"remote fd00::1\nremote 10.9.0.1", `fd00::1 needs an IPv6 address as local too`},

	{"route", `wrong number of arguments; say "route CIDR [metric N]"`},
	{"route 10.1.0.0/16 metric", `wrong number of arguments; say "route CIDR [metric N]"`},
	{"route 10.1.0.0/16 via 10.0.0.2", `wrong number of arguments; say "route CIDR [metric N]"`},
	{"route 10.1.0.0/16 metric 0", `metric "0" is not a whole number from 1 to 2147483647`},
	{"route 10.1.0.0/16 metric 2147483648", `metric "2147483648" is not a whole number from 1 to 2147483647`},
	{"route 10.1.0.0", `"10.1.0.0" lacks a prefix length; for this one host say 10.1.0.0/32`},
	{"route fd00::1", `"fd00::1" lacks a prefix length; for this one host say fd00::1/128`},
	{"route fe80::1%x", `"fe80::1%x" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
	{"route 10.1.0.0/33", `"10.1.0.0/33" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
	{"route ::ffff:10.0.0.0/104", `"::ffff:10.0.0.0/104" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
	{"route default", `"default" is not a network such as 192.0.2.0/24 or 2001:db8::/32`},
	{"route 10.1.2.3/16", `"10.1.2.3/16" has bits set behind the prefix; say 10.1.0.0/16 for the network or 10.1.2.3/32 for the one host`},
	{"route 10.1.0.0/16\nroute 10.1.0.0/16 metric 5", `vpnd.conf:6: route: 10.1.0.0/16 has a route at vpnd.conf:5 already; keep one of the two`},

	{"route1 10.1.0.0 255.255.0.0", `wrong number of arguments; say "route1 DEST NETMASK GATEWAY"`},
	{"route2 net 255.255.0.0 10.0.0.2", `DEST "net" is not an IPv4 address`},
	{"route3 fd00:: ffff:: fd00::1", `DEST "fd00::" is not an IPv4 address`},
	{"route4 10.1.0.0 16 10.0.0.2", `NETMASK "16" is not an IPv4 address; say 255.255.0.0`},
	{"route5 10.1.0.0 255.255.0.0 tun0", `GATEWAY "tun0" is not an IPv4 address`},
	{"route6 10.1.0.0 255.0.255.0 10.0.0.2", `NETMASK 255.0.255.0 has ones behind a zero; say 255.0.0.0 if that is meant`},
	{"route7 10.1.0.0 0.0.255.255 10.0.0.2", `NETMASK 0.0.255.255 has ones behind a zero; say 255.255.0.0 if that is meant`},
	{"route8 10.1.0.0 0.255.0.0 10.0.0.2", `NETMASK 0.255.0.0 must begin with ones, such as 255.255.255.0`},
	{"route9 10.1.0.1 255.255.255.192 10.0.0.2", `DEST 10.1.0.1 has bits set behind NETMASK 255.255.255.192; say 10.1.0.0`},
	{"route1 10.1.0.0/16 255.255.0.0 10.0.0.2", `DEST "10.1.0.0/16" is not an IPv4 address; a network with its prefix length stands behind "route", alone`},
	{"route1 10.1.0.0 33 10.0.0.2", `NETMASK "33" is not an IPv4 address`},
	{"route1 32 255.255.0.0 10.0.0.2", `DEST "32" is not an IPv4 address`},
	{"route1 10.1.0.0 255.255.0.0 127.0.0.1", `GATEWAY 127.0.0.1 cannot be the address of one host`},
	{"route1 10.1.0.0 255.255.0.0 0.0.0.0\nroute2 10.1.0.0 255.255.0.0 10.0.0.2", `vpnd.conf:6: route2: 10.1.0.0/16 has a route at vpnd.conf:5 already; keep one of the two`},
	{"route1 10.1.0.0 255.255.0.0 0.0.0.0\nroute1 10.2.0.0 255.255.0.0 0.0.0.0", `vpnd.conf:6: route1: stands on line 5 already; keep one of the two`},

	{"autoroute yes", `"yes" is none of on, off`},
	{"autoroute on off", `wrong number of arguments; say "autoroute [on|off]"`},

	{"keyfile", `wrong number of arguments; say "keyfile PATH"`},
	{`keyfile ""`, `"" is not a path`},
	{"keyfile a b", `more than one path; put a path that holds blanks in double quotes`},
	{"keyfile vpnd.conf", `"/etc/vpnd/vpnd.conf" is the configuration already; name another file`},
	{"oldkeyfile", `wrong number of arguments; say "oldkeyfile PATH"`},
	{"oldkeyfile vpnd.key", `"/etc/vpnd/vpnd.key" is the keyfile already; name another file`},
	{"pidfile", `wrong number of arguments; say "pidfile PATH"`},
	{"pidfile ./vpnd.key", `"/etc/vpnd/vpnd.key" is the keyfile already; name another file`},
	{"control", `wrong number of arguments; say "control PATH"`},
	{"control c\npidfile c", `"/etc/vpnd/c" is the pidfile already; name another file`},
	{"randomdev", `wrong number of arguments; say "randomdev DEVICE"`},
	{"linkup", `wrong number of arguments; say "linkup PATH"`},
	{"linkdown a b", `more than one path; put a path that holds blanks in double quotes`},
	{"slipup", `wrong number of arguments; say "slipup PATH"`},
	{"slipdown", `wrong number of arguments; say "slipdown PATH"`},
	{"statedir", `wrong number of arguments; say "statedir PATH"`},

	{"keysize", `wrong number of arguments; say "keysize BITS"`},
	{"keysize 127", `"127" is not a whole number of bits from 128 to 448`},
	{"keysize 449", `"449" is not a whole number of bits from 128 to 448`},
	{"keysize 255", `255 is not a multiple of 8; say 248`},
	{"keepalive", `wrong number of arguments; say "keepalive SECONDS"`},
	{"keepalive=20", `vpnd.conf:5: unknown keyword; put a blank behind "keepalive", and no "="`},
	{"keepalive: 20", `vpnd.conf:5: unknown keyword; put a blank behind "keepalive", and no ":"`},
	{"keepalive 20 seconds", `wrong number of arguments; say "keepalive SECONDS"`},
	{"keepalive 20s", `"20s" is not a whole number of seconds from 1 to 86400`},
	{"keepalive 0", `"0" is not a whole number of seconds from 1 to 86400`},
	{"keepalive 86401", `"86401" is not a whole number of seconds from 1 to 86400`},
	{"keepalive 99999999999999999999", `"99999999999999999999" is not a whole number of seconds from 1 to 86400`},
	{"noanswer 0", `"0" is not a whole number of pings from 1 to 1000`},
	{"noanswer 1001", `"1001" is not a whole number of pings from 1 to 1000`},
	{"keyttl 4", `"4" is not a whole number of seconds from 5 to 86400`},
	{"keyttl 86401", `"86401" is not a whole number of seconds from 5 to 86400`},
	{"maxdelay -1", `"-1" is not a whole number of seconds from 0 to 86400`},
	{"maxdelay 86401", `"86401" is not a whole number of seconds from 0 to 86400`},
	{"mtu 67", `"67" is not a whole number of bytes from 68 to 65000`},
	{"mtu 65001", `"65001" is not a whole number of bytes from 68 to 65000`},
	{"mtu 1279\nroute 2001:db8::/32", `1279 is too small for IPv6 (2001:db8::/32); say at least 1280`},
	{"mtu 1279\nlocal fd00::1\nremote fd00::2", `1279 is too small for IPv6 (fd00::1); say at least 1280`},
	{"mtu x\nroute 2001:db8::/32\nsendbuf 1024", `"x" is not a whole number of bytes from 68 to 65000`},
	{"sendbuf x\nmtu 9000", `"x" is not a whole number of bytes from 1024 to 65000`},
	{"ipopts 16", `"16" is not a whole number from 0 to 15`},
	{"ipopts low", `"low" is not a whole number from 0 to 15`},
	{"sendbuf 1023", `"1023" is not a whole number of bytes from 1024 to 65000`},
	{"sendbuf 65001", `"65001" is not a whole number of bytes from 1024 to 65000`},
	{"sendbuf 1499", `1499 is less than one packet of mtu 1500; say at least that`},
	{"retry 0", `"0" is not a whole number of seconds from 1 to 86400`},
	{"retry 86401", `"86401" is not a whole number of seconds from 1 to 86400`},
	{"hooktimeout 0", `"0" is not a whole number of seconds from 1 to 3600`},
	{"hooktimeout 3601", `"3601" is not a whole number of seconds from 1 to 3600`},

	{"auth", `wrong number of arguments; say "auth psk|strong"`},
	{"auth none", `"none" is none of psk, strong`},
	{"auth strong,x", `"strong,x" is none of psk, strong; did you mean "strong"?`},
	{"passphrase", `wrong number of arguments; say "passphrase PATH"`},
	{"cipher", `wrong number of arguments; say "cipher CIPHER ..."`},
	{"cipher blowfish none", `"none" is none of blowfish, aes-256-gcm, chacha20-poly1305`},
	{"cipher aes-265-gcm", `"aes-265-gcm" is none of blowfish, aes-256-gcm, chacha20-poly1305; did you mean "aes-256-gcm"?`},
	{"cipher aes-256-gcm,blowfish", `"aes-256-gcm,blowfish" has commas; put blanks between the names`},
	{"cipher blowfish blowfish", `blowfish is named twice`},
	{"compress", `wrong number of arguments; say "compress METHOD"`},
	{"compress gzip", `"gzip" is none of auto, off, asym, s2, deflate, zstd`},
	{"compress s2,deflate", `"s2,deflate" is none of auto, off, asym, s2, deflate, zstd`},
	{"compress Auto", `"Auto" is none of auto, off, asym, s2, deflate, zstd; did you mean "auto"?`},

	{"tundev", `wrong number of arguments; say "tundev NAME"`},
	{`tundev ""`, `"" is not a name of 1 to 15 letters`},
	{"tundev sixteen-letters-", `"sixteen-letters-" is not a name of 1 to 15 letters`},
	{"tundev .", `"." is not a name for an interface; use letters, digits, "-", "_" and "."`},
	{"tundev ..", `".." is not a name for an interface; use letters, digits, "-", "_" and "."`},
	{"tundev a/b", `"a/b" is not a name for an interface; use letters, digits, "-", "_" and "."`},
	{"tundev vpn%d", `"vpn%d" is not a name for an interface; use letters, digits, "-", "_" and "."`},
	{"tundev a:b", `"a:b" is not a name for an interface; use letters, digits, "-", "_" and "."`},
	{`tundev "a b"`, `"a b" is not a name for an interface; use letters, digits, "-", "_" and "."`},
	{"tundev tün", `"tün" is not a name for an interface; use letters, digits, "-", "_" and "."`},

	{"speed", `wrong number of arguments; say "speed BITRATE"`},
	{"speed 0", `"0" is not a whole number of bit/s from 300 to 12000000`},
	{"speed 299", `"299" is not a whole number of bit/s from 300 to 12000000`},
	{"speed 12000001", `"12000001" is not a whole number of bit/s from 300 to 12000000`},
	{"speed 9600baud", `"9600baud" is not a whole number of bit/s from 300 to 12000000`},
	{"speed 9600", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"localline on", `wrong number of arguments; say "localline"`},
	{"localline", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"nortscts on", `wrong number of arguments; say "nortscts"`},
	{"nortscts", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"xfilter on", `wrong number of arguments; say "xfilter"`},
	{"xfilter", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"telnet on", `wrong number of arguments; say "telnet"`},
	{"telnet", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"rs485 1", `wrong number of arguments; say "rs485 [BEFORE AFTER]"`},
	{"rs485 1 101", `"101" is not a whole number of milliseconds from 0 to 100`},
	{"rs485 -1 1", `"-1" is not a whole number of milliseconds from 0 to 100`},
	{"rs485", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"halfduplex on", `wrong number of arguments; say "halfduplex"`},
	{"halfduplex", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"modemchat", `wrong number of arguments; say "modemchat PATH"`},
	{"modemchat a b", `more than one path; put a path that holds blanks in double quotes`},
	{"modemchat chat", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"demand 60", `wrong number of arguments; say "demand"`},
	{"demand", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"idle", `wrong number of arguments; say "idle SECONDS"`},
	{"idle 0", `"0" is not a whole number of seconds from 1 to 86400`},
	{"idle 60", `only for a serial line; name its device with "server DEVICE", or remove the line`},
	{"noipv6 on", `wrong number of arguments; say "noipv6"`},
	{"noipv6\nroute fd00::/64", `no IPv6 passes then, but there is fd00::/64; remove one of the two`},
	{"noipv6\nlocal fd00::1\nremote fd00::2", `no IPv6 passes then, but there is fd00::1; remove one of the two`},
	{"nomulticast on", `wrong number of arguments; say "nomulticast"`},

	{"keepalvie 20", `unknown keyword; did you mean "keepalive"?`},
	{"xyzzy 20", `unknown keyword; vpnd.conf(5) lists all there are`},
	{"pidfile \xff", "a word is not UTF-8 text"},
	{"\x1b[31m 1", "vpnd.conf:5: \"\\x1b[31m\": unknown keyword; vpnd.conf(5) lists all there are"},
	{"\"\" 1", "vpnd.conf:5: unknown keyword; vpnd.conf(5) lists all there are"},
	{"# " + strings.Repeat("x", maxLine-1), "vpnd.conf:5: the line is longer than 4096 bytes"},
}

// parseProblems parses text, which must have problems, and returns them.
func parseProblems(t *testing.T, text string) Errors {
	t.Helper()
	c, err := Parse("/etc/vpnd/vpnd.conf", strings.NewReader(text))
	var errs Errors
	if !errors.As(err, &errs) || c != nil {
		t.Fatalf("got %v and error %v, want only Errors from\n%s", c, err, text)
	}
	return errs
}

func TestProblems(t *testing.T) {
	for _, tt := range problemTests {
		name, _, _ := strings.Cut(tt.lines, "\n")
		t.Run(name, func(t *testing.T) {
			keyword, _, _ := strings.Cut(name, " ")
			errs := parseProblems(t, base(Server, keyword)+tt.lines+"\n")
			want := tt.want
			if !strings.HasPrefix(want, "vpnd.conf:") {
				want = fmt.Sprintf("vpnd.conf:5: %s: %s", keyword, want)
			}
			got := strings.ReplaceAll(errs.Error(), "/etc/vpnd/vpnd.conf:", "vpnd.conf:")
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestEveryKeywordHasProblems(t *testing.T) {
	for _, k := range Keywords() {
		tested := func(tt problemTest) bool {
			return tt.lines == k.Name || strings.HasPrefix(tt.lines, k.Name+" ")
		}
		if k.parse != nil && !slices.ContainsFunc(problemTests, tested) {
			t.Errorf("no problem of %q is tested", k.Name)
		}
	}
}

func TestHubProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"of IPv6", base(Server, "remote") + "pool fd09::/64", `vpnd.conf:5: pool: fd09::/64 needs an IPv6 address as local too
vpnd.conf:2: local: 10.0.0.1 needs an IPv4 pool too`},
		{"a client", base(Client, "") + "pool 10.9.0.0/24", `vpnd.conf:5: pool: only a server has clients; remove the line`},
		{"a line", "mode server\nserver /dev/ttyS0\nlocal 10.0.0.1\npool 10.9.0.0/24", `vpnd.conf:4: pool: a serial line has one other end; remove the line`},
		{"files for a shared key", base(Server, "remote") + "pool 10.9.0.0/24\npeers clients", `vpnd.conf:6: peers: clients with keys of their own need "auth strong"; clients that share a key need a pool and no files`},
		{"files of a client", base(Client, "") + "peers clients", `vpnd.conf:5: peers: only a server has clients; remove the line
vpnd.conf:5: peers: clients with keys of their own need "auth strong"; clients that share a key need a pool and no files`},
		{"no remote", base(Server, "remote"), `vpnd.conf: remote: missing; say "remote ADDRESS", the inner address of the other end, or "pool CIDR" for a hub of many clients`},
		{"no local", base(Server, "local") + "pool 10.9.0.0/24", `vpnd.conf:3: remote: a hub has many other ends, and line 5 makes this one; remove the line
vpnd.conf: local: missing; say "local ADDRESS", the inner address of this end`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.ReplaceAll(parseProblems(t, tt.text).Error(), "/etc/vpnd/vpnd.conf", "vpnd.conf")
			if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(got, "\n"), cmpopts.SortSlices(strings.Compare)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestClientProblems(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no server", base(Client, "server"), `vpnd.conf: server: missing; say "server ADDRESS [PORT]", where to connect`},
		{"misspelt server", base(Client, "server") + "sever 10.9.9.9", `vpnd.conf:5: sever: unknown keyword; did you mean "server"?`},
		{"any server", base(Client, "server") + "server 0.0.0.0 379", `vpnd.conf:5: server: a client needs the address of the server, not any address`},
		{"only a port", base(Client, "server") + "server 24741", `vpnd.conf:5: server: a client needs the address of the server, not any address`},
		{"old key", base(Client, "") + "oldkeyfile old.key", `vpnd.conf:5: oldkeyfile: only a server accepts an old key; remove the line`},
		{"old key beside strong ones", base(Server, "") + "auth strong\noldkeyfile old.key", `vpnd.conf:6: oldkeyfile: only for "auth psk"; remove the line`},
		{"pass phrase of a shared key", base(Client, "") + "passphrase /media/phrase", `vpnd.conf:5: passphrase: only for "auth strong": a shared key is not sealed; remove the line`},
		{"pass phrase in place of the key", base(Client, "") + "auth strong\npassphrase vpnd.rmt.key", `vpnd.conf:6: passphrase: "/etc/vpnd/vpnd.rmt.key" is the keyfile already; name another file`},
		{"key of a server", base(Server, "") + "auth strong\nkey a b c", `vpnd.conf:6: key: only for a client; a server says "keyfile PATH"`},
		{"key beside a shared one", base(Client, "") + "key a b c", `vpnd.conf:5: key: a key of the client's own needs "auth strong"`},
		{"key beside a file", base(Client, "") + "auth strong\nkeyfile k\nkey a b c", `vpnd.conf:7: key: line 6 names a file that holds the key; keep one of the two`},
		{"key that is not sealed", base(Client, "") + "auth strong\npassphrase p\nkey a b c", `vpnd.conf:6: passphrase: the key on line 7 is not sealed; remove the line`},
		{"no key", base(Client, "") + "auth strong\nkey", `vpnd.conf:6: key: wrong number of arguments; say "key KEY ..."`},
		{"two old keys", base(Client, "") + "oldkeyfile a\noldkeyfile b", `vpnd.conf:6: oldkeyfile: stands on line 5 already; keep one of the two`},
		{"what is missing comes last", base(Client, "remote") + "mtu x", `vpnd.conf:5: mtu: "x" is not a whole number of bytes from 68 to 65000
vpnd.conf: remote: missing; say "remote ADDRESS", the inner address of the other end`},
		{"no remote", base(Client, "remote"), `vpnd.conf: remote: missing; say "remote ADDRESS", the inner address of the other end`},
		{"two families", base(Client, "remote") + "remote fd00::2", `vpnd.conf:2: local: 10.0.0.1 needs an IPv4 address as remote too`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.ReplaceAll(parseProblems(t, tt.text).Error(), "/etc/vpnd/vpnd.conf:", "vpnd.conf:")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLineProblems gives what does not fit a serial line.
func TestLineProblems(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode Mode
		text string // from line 5 on
		want string
	}{
		{"two devices of a client", Client, "server /dev/a\nserver /dev/b\nclient /dev/c", `6: server: a serial line leads to one place, and line 5 names it already; keep one of the two`},
		{"server by two ways", Client, "server 192.0.2.1\nserver /dev/b", `6: server: a serial line leads to one place, and line 5 names it already; keep one of the two`},
		{"address and device", Client, "server 192.0.2.1\nclient /dev/b", `5: server: an address or a port, but line 6 names the serial line "/dev/b"; remove one of the two`},
		{"device and address", Client, "client 192.0.2.1\nserver /dev/b", `5: client: an address or a port, but line 6 names the serial line "/dev/b"; remove one of the two`},
		{"ipopts", Client, "client /dev/a\nipopts 4", `6: ipopts: a serial line has no outer packets; remove the line`},
		{"server that dials", Server, "server /dev/a\ndemand", `6: demand: a server waits for calls and does not dial; remove the line`},
		{"modem on a bus", Server, "server /dev/a\nmodemchat chat\nrs485", `6: modemchat: an RS-485 bus, line 7, has no modem to talk to; remove one of the two`},
		{"script that is the key", Server, "server /dev/a\nkeyfile x\nmodemchat x", `7: modemchat: "/etc/vpnd/x" is the keyfile already; name another file`},
		{"small packets", Server, "server /dev/a\nmtu 576\nlocal fd00::1\nremote fd00::2", `6: mtu: 576 is too small for IPv6 (fd00::1); say at least 1280`},
		{"nothing but the device is known", Server, "server /dev/a x\nspeed 9600", `5: server: a device stands alone; the speed is a keyword, "speed BITRATE"`},
		{"of a client over TCP", Client, "server 192.0.2.1\nspeed 9600", `6: speed: only for a serial line; name its device with "client DEVICE", or remove the line`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := strings.ReplaceAll(parseProblems(t, base(tt.mode, "server")+tt.text).Error(), "/etc/vpnd/vpnd.conf:", "")
			want := strings.Split(tt.want, "\n")
			slices.Sort(want)
			if diff := cmp.Diff(strings.Join(want, "\n"), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestTenMistakesMakeTenLines(t *testing.T) {
	_, err := ParseFile("testdata/ten-mistakes.conf")
	if err == nil || len(strings.Split(err.Error(), "\n")) != 10 {
		t.Errorf("got\n%v\nwant ten lines", err)
	}
}
