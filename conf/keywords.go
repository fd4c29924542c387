package conf

import "strconv"

// A Keyword is one entry of the table that drives the parser and that the
// manual is compared with.
type Keyword struct {
	Name    string
	Args    string // as the manual writes them
	Default string // arguments that hold when the keyword stands nowhere; "" for none
	Meaning string

	repeat bool             // may stand on several lines
	parse  func(line) error // nil: not in this build
}

// Keywords returns every keyword that is documented, also those that this build
// answers with [ErrNotInBuild].
func Keywords() []Keyword { return keywords(&Config{}) }

// keywords returns the table; its parse functions fill c. To turn a keyword on,
// give it one.
func keywords(c *Config) []Keyword {
	table := []Keyword{
		{Name: "mode", Args: "client|server",
			Meaning: "which end of the link this is",
			parse:   choice(&c.Mode, Client, Server)},
		{Name: "server", Args: "ADDRESS [PORT]|DEVICE", Default: "0.0.0.0 379",
			Meaning: "server: where to listen; client: where to connect, required, tried in order; or the serial line",
			repeat:  true, parse: c.addServer},
		{Name: "client", Args: "ADDRESS [PORT]|DEVICE", Default: "0.0.0.0 0",
			Meaning: "server: whom to accept; client: the local end to bind; or the serial line",
			parse:   c.setClient},
		{Name: "local", Args: "ADDRESS",
			Meaning: "inner address of this end; one IPv4 and one IPv6 at most",
			repeat:  true, parse: c.addLocal},
		{Name: "remote", Args: "ADDRESS",
			Meaning: "inner address of the other end; one IPv4 and one IPv6 at most",
			repeat:  true, parse: c.addRemote},
		{Name: "route", Args: "CIDR [metric N]",
			Meaning: "a network behind the tunnel",
			repeat:  true, parse: c.addRoute},
		{Name: "autoroute", Args: "[on|off]", Default: "on",
			Meaning: "route to the remote end",
			parse:   onOff(&c.AutoRoute)},
		{Name: "keyfile", Args: "PATH", Default: "vpnd.key",
			Meaning: "the key",
			parse:   c.path(&c.KeyFile)},
		{Name: "oldkeyfile", Args: "PATH",
			Meaning: "a key that a server still accepts during a change of keys",
			parse:   c.path(&c.OldKeyFile)},
		{Name: "passphrase", Args: "PATH",
			Meaning: "holds the pass phrase of a sealed key",
			parse:   c.path(&c.Passphrase)},
		{Name: "keysize", Args: "BITS", Default: "448",
			Meaning: "length of the Blowfish key",
			parse:   multiple(&c.KeySize, "bits", 8, 128, 448)},
		{Name: "pidfile", Args: "PATH",
			Meaning: "holds the process number while the daemon runs",
			parse:   c.path(&c.PidFile)},
		{Name: "randomdev", Args: "DEVICE",
			Meaning: "a random device that is mixed in",
			parse:   c.path(&c.RandomDev)},
		{Name: "keepalive", Args: "SECONDS", Default: "20",
			Meaning: "ping interval",
			parse:   seconds(&c.Keepalive, 1, 86400)},
		{Name: "noanswer", Args: "COUNT", Default: "6",
			Meaning: "unanswered pings that end the link",
			parse:   number(&c.NoAnswer, "pings", 1, 1000)},
		{Name: "keyttl", Args: "SECONDS", Default: "600",
			Meaning: "life of a session key",
			parse:   seconds(&c.KeyTTL, 5, 86400)},
		{Name: "maxdelay", Args: "SECONDS", Default: "0",
			Meaning: "drop the connection when data is held back longer; 0 is never",
			parse:   seconds(&c.MaxDelay, 0, 86400)},
		{Name: "mtu", Args: "BYTES", Default: "1500",
			Meaning: "largest packet of the tunnel",
			parse:   number(&c.MTU, "bytes", 68, maxSend)},
		{Name: "linkup", Args: "PATH",
			Meaning: "called when the link is established",
			parse:   c.path(&c.LinkUp)},
		{Name: "linkdown", Args: "PATH",
			Meaning: "called when the link is terminated",
			parse:   c.path(&c.LinkDown)},
		{Name: "slipup", Args: "PATH",
			Meaning: "called and waited for when the interface is there",
			parse:   c.path(&c.SlipUp)},
		{Name: "slipdown", Args: "PATH",
			Meaning: "called and waited for before the interface goes",
			parse:   c.path(&c.SlipDown)},
		{Name: "ipopts", Args: "SUM",
			Meaning: "service of the outer connection: 1 reliability, 2 throughput, 4 low delay, 8 priority",
			parse:   number(&c.IPOpts, "", 0, 15)},
		{Name: "sendbuf", Args: "BYTES", Default: "16384",
			Meaning: "most queued data that is sent as one frame",
			parse:   number(&c.SendBuf, "bytes", 1024, maxSend)},
		{Name: "auth", Args: "psk|strong", Default: "psk",
			Meaning: "how the ends prove who they are",
			parse:   choice(&c.Auth, PSK, Strong)},
		{Name: "cipher", Args: "CIPHER ...", Default: "blowfish",
			Meaning: "ciphers allowed here",
			parse:   choices(&c.Ciphers, "blowfish", "aes-256-gcm", "chacha20-poly1305")},
		{Name: "compress", Args: "METHOD", Default: "auto",
			Meaning: "how this end compresses what it sends",
			parse:   choice(&c.Compress, "auto", "off", "asym", "s2", "deflate", "zstd")},
		{Name: "retry", Args: "SECONDS", Default: "60",
			Meaning: "longest wait between two dials",
			parse:   seconds(&c.Retry, 1, 86400)},
		{Name: "tundev", Args: "NAME",
			Meaning: "name of the interface, or of a persistent one",
			parse:   device(&c.TunDev)},
		{Name: "hooktimeout", Args: "SECONDS", Default: "30",
			Meaning: "a hook that runs longer is killed",
			parse:   seconds(&c.HookTimeout, 1, 3600)},
		{Name: "statedir", Args: "PATH", Default: "/var/lib/vpnd",
			Meaning: "holds what must outlive the process",
			parse:   c.path(&c.StateDir)},
		{Name: "control", Args: "PATH", Default: "/run/vpnd/NAME.sock",
			Meaning: "control socket",
			parse:   c.path(&c.Control)},
		{Name: "speed", Args: "BITRATE", Default: "115200",
			Meaning: "serial speed",
			parse:   number(&c.Speed, "bit/s", minSpeed, maxSpeed)},
		{Name: "localline",
			Meaning: "ignore the modem control lines",
			parse:   alone(&c.LocalLine)},
		{Name: "nortscts",
			Meaning: "no RTS/CTS flow control",
			parse:   alone(&c.NoRTSCTS)},
		{Name: "xfilter",
			Meaning: "escape XON and XOFF",
			parse:   alone(&c.XFilter)},
		{Name: "telnet",
			Meaning: "escape IAC",
			parse:   alone(&c.Telnet)},
		{Name: "rs485", Args: "[BEFORE AFTER]",
			Meaning: "a bus whose driver switches the direction by RTS; how long before and after the data, in ms",
			parse:   c.setRS485},
		{Name: "halfduplex",
			Meaning: "the two ends take turns",
			parse:   alone(&c.HalfDuplex)},
		{Name: "modemchat", Args: "PATH",
			Meaning: "chat script that runs before the link",
			parse:   c.path(&c.ModemChat)},
		{Name: "demand",
			Meaning: "client: dial when the first packet waits",
			parse:   alone(&c.Demand)},
		{Name: "idle", Args: "SECONDS",
			Meaning: "hang up after so long without a packet",
			parse:   seconds(&c.Idle, 1, 86400)},
		{Name: "noipv6",
			Meaning: "keep IPv6 off a thin line",
			parse:   alone(&c.NoIPv6)},
		{Name: "nomulticast",
			Meaning: "keep multicast and broadcast off a thin line",
			parse:   alone(&c.NoMulticast)},
	}
	for i := range 9 {
		table = append(table, Keyword{
			Name: "route" + strconv.Itoa(i+1), Args: "DEST NETMASK GATEWAY",
			Meaning: "an IPv4 network behind the tunnel",
			parse:   c.addClassicRoute,
		})
	}
	return append(table, notInBuild()...)
}

// notInBuild returns the keywords that wait for a later build.
func notInBuild() []Keyword {
	return []Keyword{
		{Name: "pool", Args: "CIDR", Meaning: "addresses that a hub assigns"},
		{Name: "peers", Args: "PATH", Meaning: "clients of a hub"},
		{Name: "clienttoclient", Args: "[on|off]", Meaning: "let the clients of a hub reach each other"},
		{Name: "proxy", Args: "URL", Meaning: "proxy on the way to the server"},
		{Name: "redirect", Args: "[on|off]", Meaning: "send all traffic through the tunnel"},
		{Name: "dns", Args: "ADDRESS", Meaning: "name server behind the tunnel"},
		{Name: "user", Args: "NAME", Meaning: "user to run as"},
		{Name: "metrics", Args: "ADDRESS", Meaning: "where to serve counters"},
		{Name: "logformat", Args: "FORMAT", Meaning: "form of the log"},
	}
}
