package conf

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files in testdata: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, tt := range problemTests {
		f.Add(base(Server, "") + tt.lines)
		f.Add(base(Client, "") + tt.lines)
	}
	f.Add(base(Client, "") + "auth strong\nkey private:a public:b secret:c")
	f.Add(base(Server, "remote") + "auth strong\npool 10.0.0.0/24\npeers p")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("/etc/vpnd/fuzz.conf", strings.NewReader(text))
		if err == nil {
			for _, broken := range broken(c) {
				t.Error(broken)
			}
			return
		}
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("error without problems: %v", err)
		}
		for _, e := range errs {
			if e.File == "" || e.Problem == "" || e.Line == 0 && e.Keyword == "" || strings.ContainsAny(e.Error(), "\n\x1b") {
				t.Errorf("unfit problem %+v", e)
			}
		}
	})
}

// broken returns the promises of a Config that c does not keep.
func broken(c *Config) (list []string) {
	keep := func(ok bool, promise string) {
		if !ok {
			list = append(list, promise)
		}
	}
	keep(c.Mode == Client || c.Mode == Server, "mode is client or server")
	keep(len(c.Server) == 1 || c.Mode == Client && len(c.Server) > 1, "one server, or several for a client")
	for _, e := range c.Server {
		keep(c.Device != "" || e.Port != 0 && (e.Host != "" || c.Mode == Server), "a server can be reached")
	}
	for _, e := range append(c.Server, c.Client) {
		h, err := host(e.Host)
		keep(e.Host == "" || err == nil && h == e.Host, "a host is in its shortest form")
		keep(e.Device == "" || c.Device != "" && filepath.IsAbs(e.Device), "a device is that of a serial line")
	}
	brokenLine(c, keep)
	brokenInner(c, keep)
	brokenRoutes(c, keep)
	keep(filepath.IsAbs(c.KeyFile) != (c.Key != ""), "the key is in a file, or here")
	for _, p := range []string{c.Path, c.StateDir, c.Control} {
		keep(filepath.IsAbs(p), "a path is absolute")
	}
	for _, p := range []string{c.OldKeyFile, c.PidFile, c.RandomDev, c.LinkUp, c.LinkDown, c.SlipUp, c.SlipDown, c.ModemChat, c.Device} {
		keep(p == "" || filepath.IsAbs(p), "a path is absolute or empty")
	}
	for _, d := range []time.Duration{c.Keepalive, c.KeyTTL, c.MaxDelay + time.Second, c.Retry, c.HookTimeout} {
		keep(d > 0 && d <= 86401*time.Second, "a time is in bounds")
	}
	keep(c.NoAnswer >= 1 && c.NoAnswer <= 1000, "noanswer is in bounds")
	keep(c.KeySize >= 128 && c.KeySize <= 448 && c.KeySize%8 == 0, "keysize fits Blowfish")
	keep(c.MTU >= 68 && c.MTU <= c.SendBuf && c.SendBuf >= 1024 && c.SendBuf <= maxSend, "a packet fits mtu fits sendbuf")
	keep(c.IPOpts >= 0 && c.IPOpts <= 15, "ipopts is in bounds")
	keep((c.Auth == PSK || c.Auth == Strong) && len(c.Ciphers) > 0 && c.Compress != "", "auth, cipher and compress are chosen")
	keep(len(c.TunDev) <= maxDevice && !strings.ContainsAny(c.TunDev, "/% :"), "tundev is a name")
	keep(c.OldKeyFile == "" || c.Mode == Server && c.OldKeyFile != c.KeyFile, "a second key is a server's")
	return list
}

func brokenLine(c *Config, keep func(ok bool, promise string)) {
	keep(c.Speed >= minSpeed && c.Speed <= maxSpeed, "speed is in bounds")
	keep(c.Idle >= 0 && c.Idle <= 86400*time.Second, "idle is in bounds")
	keep(c.RS485 == nil || c.HalfDuplex && c.NoRTSCTS && c.LocalLine && c.ModemChat == "", "a bus takes turns and has no modem")
	keep(!c.Demand || c.Mode == Client, "a server does not dial")
	keep(!c.NoIPv6 || c.firstIPv6() == "", "no IPv6 with noipv6")
	if c.Device == "" {
		keep(c.RS485 == nil && c.ModemChat == "" && c.Idle == 0, "TCP has no modem")
		keep(!c.LocalLine && !c.NoRTSCTS && !c.XFilter && !c.Telnet && !c.HalfDuplex && !c.Demand, "TCP has no line")
		return
	}
	keep(len(c.Server) == 1 && (c.Server[0].Device == c.Device || c.Client.Device == c.Device), "a keyword names the device")
	keep(c.IPOpts == 0, "a line has no outer packets")
}

func brokenInner(c *Config, keep func(ok bool, promise string)) {
	keep(!c.Hub() || c.Mode == Server && c.Device == "" && len(c.Remote) == 0, "a hub is a server without remote")
	keep(len(c.Pool) == 0 || len(c.Local) == len(c.Pool), "a pool has an address of the hub beside it")
	keep(c.Peers == "" || c.Auth == "strong" && filepath.IsAbs(c.Peers), "files of clients go with keys of their own")
	keep(!c.ClientToClient || c.Hub(), "clients of a hub only")
	keep(!c.LocalAuto || c.Mode == Client && len(c.Local) == 0, "a client takes all addresses from the server, or none")
	for i, pool := range c.Pool {
		keep(pool.Addr().Is4() == c.Local[i].Is4() && pool == pool.Masked(), "a pool has the family of the hub")
	}
	if c.Hub() || c.LocalAuto {
		return
	}
	n := len(c.Local)
	keep(n == len(c.Remote) && (n == 1 || n == 2 && c.Local[0].Is4() && c.Local[1].Is6()), "IPv4, IPv6 or both in this order")
	for i := range min(n, len(c.Remote)) {
		a, b := c.Local[i], c.Remote[i]
		keep(a.Is4() == b.Is4() && a != b && isHost(a) && isHost(b), "two addresses of one family")
		keep(a.Is4() || c.MTU >= minIPv6, "IPv6 has its mtu")
	}
}

func brokenRoutes(c *Config, keep func(ok bool, promise string)) {
	seen := map[netip.Prefix]bool{}
	for _, r := range c.Routes {
		keep(r.Dest.IsValid() && r.Dest == r.Dest.Masked() && !seen[r.Dest], "a route has one destination of its own")
		keep(!r.Gateway.IsValid() || r.Gateway.Is4() && !slices.Contains(c.Local, r.Gateway), "a gateway is another IPv4 host")
		keep(r.Dest.Addr().Is4() || c.MTU >= minIPv6, "IPv6 has its mtu")
		keep(strings.HasPrefix(r.Where, c.file+":"), "a route knows where it stands")
		seen[r.Dest] = true
	}
	keep(slices.IsSortedFunc(c.Routes, func(a, b Route) int {
		return strings.Compare(a.Keyword[len(a.Keyword)-1:], b.Keyword[len(b.Keyword)-1:])
	}), "routes are in order")
}
