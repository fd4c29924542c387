package conf

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustParse(t *testing.T, path, text string) *Config {
	t.Helper()
	c, err := Parse(path, strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v\nfrom\n%s", err, text)
	}
	return c
}

func TestOrderMeansNothing(t *testing.T) {
	text, err := os.ReadFile("testdata/article-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	want := withoutPlaces(mustParse(t, "vpnd.conf", string(text)))
	random := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
		got := withoutPlaces(mustParse(t, "vpnd.conf", strings.Join(lines, "")))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order\n%s\n-want +got:\n%s", lines, diff)
		}
	}
}

func withoutPlaces(c *Config) string {
	for i := range c.Routes {
		c.Routes[i].Where = ""
	}
	return dump(c)
}

// TestAccepted shows what old files and tired hands write.
func TestAccepted(t *testing.T) {
	server, client := base(Server, ""), base(Client, "server")
	noServer := base(Server, "server")
	for _, tt := range []struct {
		name, text string
		got        func(c *Config) any
		want       any
	}{
		{"CRLF", strings.ReplaceAll(server, "\n", "\r\n"), func(c *Config) any { return c.Mode }, Server},
		{"no last newline", server + "mtu 1400", func(c *Config) any { return c.MTU }, 1400},
		{"blanks and tabs", server + " \t mtu\t\t 1400 \t", func(c *Config) any { return c.MTU }, 1400},
		{"comment in Latin-1", server + "# f\xfcr Z\xfcrich", func(c *Config) any { return c.MTU }, 1500},
		{"leading zeros", server + "keepalive 020", func(c *Config) any { return c.Keepalive }, 20 * time.Second},
		{"quoted", server + `keyfile "a # b"#c`, func(c *Config) any { return c.KeyFile }, "/etc/vpnd/a # b"},
		{"client's device", base(Client, "server") + "client /dev/ttyS0", func(c *Config) any { return c.Device }, "/dev/ttyS0"},
		{"client's device and any server", base(Client, "server") + "client /dev/ttyS0\nserver 0.0.0.0 379", func(c *Config) any { return c.Device }, "/dev/ttyS0"},
		{"device as server of a client", base(Client, "server") + "server /dev/ttyS0\nclient 0", func(c *Config) any { return c.Device }, "/dev/ttyS0"},
		{"both ends' devices, on the client", base(Client, "server") + "server /dev/ttyS0\nclient /dev/ttyS1", func(c *Config) any { return c.Device }, "/dev/ttyS1"},
		{"both ends' devices, on the server", noServer + "server /dev/ttyS0\nclient /dev/ttyS1", func(c *Config) any { return c.Device }, "/dev/ttyS0"},
		{"server's device", noServer + "server /dev//ttyS0/\nclient 0.0.0.0 0", func(c *Config) any { return c.Device }, "/dev/ttyS0"},
		{"device as client of a server", noServer + "client /dev/ttyS0", func(c *Config) any { return c.Device }, "/dev/ttyS0"},
		{"fast line", noServer + "server /dev/a\nspeed 57600", func(c *Config) any { return [2]int{c.MTU, c.SendBuf} }, [2]int{576, 4096}},
		{"slow line", noServer + "server /dev/a\nspeed 57599", func(c *Config) any { return [2]int{c.MTU, c.SendBuf} }, [2]int{296, 4096}},
		{"slowest line", noServer + "server /dev/a\nspeed 300", func(c *Config) any { return c.Speed }, 300},
		{"fastest line", noServer + "server /dev/a\nspeed 12000000", func(c *Config) any { return c.Speed }, 12000000},
		{"line with IPv6", noServer + "server /dev/a\nspeed 9600\nlocal fd00::1\nremote fd00::2", func(c *Config) any { return c.MTU }, 1280},
		{"line with long packets", noServer + "server /dev/a\nmtu 5000", func(c *Config) any { return [2]int{c.MTU, c.SendBuf} }, [2]int{5000, 5000}},
		{"line as it is set", noServer + "server /dev/a\nmtu 1500\nsendbuf 2000", func(c *Config) any { return [2]int{c.MTU, c.SendBuf} }, [2]int{1500, 2000}},
		{"bus", noServer + "server /dev/a\nrs485 1 100", func(c *Config) any { return *c.RS485 }, RS485{time.Millisecond, 100 * time.Millisecond}},
		{"bus takes turns", noServer + "server /dev/a\nrs485", func(c *Config) any { return [3]bool{c.HalfDuplex, c.NoRTSCTS, c.LocalLine} }, [3]bool{true, true, true}},
		{"turns alone", noServer + "server /dev/a\nhalfduplex", func(c *Config) any { return [3]bool{c.HalfDuplex, c.NoRTSCTS, c.LocalLine} }, [3]bool{true, false, false}},
		{"thin TCP", server + "noipv6\nnomulticast", func(c *Config) any { return c.NoIPv6 && c.NoMulticast }, true},
		{"autoroute alone", server + "autoroute", func(c *Config) any { return c.AutoRoute }, true},
		{"autoroute on", server + "autoroute on", func(c *Config) any { return c.AutoRoute }, true},
		{"autoroute off", server + "autoroute off", func(c *Config) any { return c.AutoRoute }, false},
		{"no server", noServer, func(c *Config) any { return c.Server }, []Endpoint{{Port: 379}}},
		{"server port", noServer + "server 24741", func(c *Config) any { return c.Server }, []Endpoint{{Port: 24741}}},
		{"server 0", noServer + "server 0", func(c *Config) any { return c.Server }, []Endpoint{{Port: 379}}},
		{"server 0 port", noServer + "server 0 80", func(c *Config) any { return c.Server }, []Endpoint{{Port: 80}}},
		{"server :: port", noServer + "server :: 80", func(c *Config) any { return c.Server }, []Endpoint{{Port: 80}}},
		{"server any, port 0", noServer + "server 0.0.0.0 0", func(c *Config) any { return c.Server }, []Endpoint{{Port: 379}}},
		{"longest name", noServer + "server " + strings.Repeat("a.", 127), func(c *Config) any { return c.Server }, []Endpoint{{Host: strings.Repeat("a.", 127), Port: 379}}},
		{"servers", client + "server b.example.\nserver 192.0.2.1 80\nserver ::ffff:192.0.2.2", func(c *Config) any { return c.Server },
			[]Endpoint{{Host: "b.example.", Port: 379}, {Host: "192.0.2.1", Port: 80}, {Host: "192.0.2.2", Port: 379}}},
		{"client 0", server + "client 0", func(c *Config) any { return c.Client }, Endpoint{}},
		{"client any", server + "client 0.0.0.0 0", func(c *Config) any { return c.Client }, Endpoint{}},
		{"client port", server + "client 24741", func(c *Config) any { return c.Client }, Endpoint{Port: 24741}},
		{"client address", server + "client 2001:DB8::0:1", func(c *Config) any { return c.Client }, Endpoint{Host: "2001:db8::1", Port: 0}},
		{"IPv6 route without IPv6 addresses", server + "route ::/0", func(c *Config) any { return c.Routes[0].Dest.String() }, "::/0"},
		{"default route", server + "route1 0.0.0.0 0.0.0.0 0.0.0.0", func(c *Config) any { return c.Routes[0].Dest.String() }, "0.0.0.0/0"},
		{"host route", server + "route1 10.1.2.3 255.255.255.255 10.0.0.2", func(c *Config) any { return c.Routes[0].Dest.String() }, "10.1.2.3/32"},
		{"gateway is remote", server + "route1 10.1.0.0 255.255.0.0 10.0.0.2", func(c *Config) any { return c.Routes[0].Gateway.String() }, "10.0.0.2"},
		{"gateway is local", server + "route1 10.1.0.0 255.255.0.0 10.0.0.1", func(c *Config) any { return c.Routes[0].Gateway == netip.Addr{} }, true},
		{"gateway is nothing", server + "route1 10.1.0.0 255.255.0.0 0.0.0.0", func(c *Config) any { return c.Routes[0].Gateway == netip.Addr{} }, true},
		{"smallest mtu", server + "mtu 68", func(c *Config) any { return c.MTU }, 68},
		{"smallest IPv6 mtu", server + "mtu 1280\nroute ::/0", func(c *Config) any { return c.MTU }, 1280},
		{"sendbuf of one packet", server + "mtu 9000\nsendbuf 9000", func(c *Config) any { return c.SendBuf }, 9000},
		{"mtu above the default sendbuf", server + "mtu 16385", func(c *Config) any { return c.SendBuf }, 16385},
		{"mtu of the default sendbuf", server + "mtu 16384", func(c *Config) any { return c.SendBuf }, 16384},
		{"keysize", server + "keysize 200", func(c *Config) any { return c.KeySize }, 200},
		{"maxdelay", server + "maxdelay 0", func(c *Config) any { return c.MaxDelay }, time.Duration(0)},
		{"old key of a server", server + "oldkeyfile old", func(c *Config) any { return c.OldKeyFile }, "/etc/vpnd/old"},
		{"shared key", server + "auth psk", func(c *Config) any { return c.KeyFile }, "/etc/vpnd/vpnd.key"},
		{"strong key of a server", server + "auth strong", func(c *Config) any { return c.KeyFile }, "/etc/vpnd/vpnd.lcl.key"},
		{"strong key of a client", base(Client, "") + "auth strong", func(c *Config) any { return c.KeyFile }, "/etc/vpnd/vpnd.rmt.key"},
		{"strong key elsewhere", server + "keyfile k\nauth strong", func(c *Config) any { return c.KeyFile }, "/etc/vpnd/k"},
		{"key in the configuration", base(Client, "") + "auth strong\nkey  a\tb c # d", func(c *Config) any { return c.Key + c.KeyFile }, "a b c"},
		{"pass phrase", server + "auth strong\npassphrase p", func(c *Config) any { return c.Passphrase }, "/etc/vpnd/p"},
		{"longest tundev", server + "tundev fifteen-letters", func(c *Config) any { return c.TunDev }, "fifteen-letters"},
		{"odd tundev", server + "tundev !a~", func(c *Config) any { return c.TunDev }, "!a~"},
		{"one hook for all", server + "linkup h\nlinkdown h", func(c *Config) any { return c.LinkUp + c.LinkDown }, "/etc/vpnd/h/etc/vpnd/h"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustParse(t, "/etc/vpnd/vpnd.conf", tt.text)
			if diff := cmp.Diff(tt.want, tt.got(c)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDefaults writes out each default of the table, which must change nothing.
func TestDefaults(t *testing.T) {
	for _, k := range Keywords() {
		if k.parse == nil || k.Default == "" {
			continue
		}
		text := base(Server, "server")
		if slices.Contains(serialOnly, k.Name) {
			text += "server /dev/ttyS0\n"
		}
		want := dump(mustParse(t, "/etc/vpnd/NAME.conf", text))
		got := dump(mustParse(t, "/etc/vpnd/NAME.conf", text+k.Name+" "+k.Default+"\n"))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s %s: -implied +written:\n%s", k.Name, k.Default, diff)
		}
	}
}

func TestWhere(t *testing.T) {
	c := mustParse(t, "some/vpnd.conf", base(Server, "")+"local fd00::1\nremote fd00::2\nroute1 10.1.0.0 255.255.0.0 0.0.0.0\nroute ::/0\n")
	for keyword, want := range map[string]string{
		"mode": "some/vpnd.conf:1", "local": "some/vpnd.conf:2", "route1": "some/vpnd.conf:7", "mtu": "some/vpnd.conf", "nothing": "some/vpnd.conf",
	} {
		if got := c.Where(keyword); got != want {
			t.Errorf("Where(%q) = %q, want %q", keyword, got, want)
		}
	}
	if got := c.Routes[0].Where + " " + c.Routes[1].Where; got != "some/vpnd.conf:7 some/vpnd.conf:8" {
		t.Errorf("routes stand at %s", got)
	}
}

func TestPaths(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "my office.conf"), []byte(base(Server, "")+"pidfile run/pid"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	c, err := ParseFile("my office.conf")
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Path, c.Name, c.PidFile, c.KeyFile, c.Control, c.Where("mode")}
	want := []string{dir + "/my office.conf", "my office", dir + "/run/pid", dir + "/vpnd.key", "/run/vpnd/my office.sock", "my office.conf:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for path, name := range map[string]string{"/etc/vpnd": "vpnd", "/etc/a.conf.conf": "a.conf", "/etc/.conf": ".conf"} {
		if c := mustParse(t, path, base(Server, "")); c.Name != name {
			t.Errorf("instance of %s is %q, want %q", path, c.Name, name)
		}
	}
}

func TestUnreadable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "vpnd.conf")
	if _, err := ParseFile(missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: %v", err)
	}
	broken := errors.New("broken")
	_, err := Parse("vpnd.conf", iotest.ErrReader(broken))
	if !errors.Is(err, broken) || err.Error() != "read configuration vpnd.conf: broken" {
		t.Errorf("broken reader: %v", err)
	}
}

func TestNoDirectory(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(gone, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(gone)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if c, err := Parse("vpnd.conf", strings.NewReader(base(Server, ""))); err == nil {
		t.Errorf("got %v from a directory that is gone", c.Path)
	}
}

func TestErrorsAreReachable(t *testing.T) {
	errs := parseProblems(t, base(Server, "")+"mtu x\nproxy 1")
	var first Error
	if !errors.As(errs, &first) || first.Line != 5 || first.Keyword != "mtu" || first.File != "/etc/vpnd/vpnd.conf" {
		t.Errorf("first problem is %+v", first)
	}
	if errors.Is(errs[0], ErrNotInBuild) || !errors.Is(errs[1], ErrNotInBuild) {
		t.Errorf("want only the second to be ErrNotInBuild: %v", errs)
	}
}

func TestEndpointString(t *testing.T) {
	var got []string
	for _, e := range []Endpoint{{Device: "/dev/ttyS0", Port: 1}, {}, {Port: 379}, {Host: "192.0.2.1", Port: 0}, {Host: "2001:db8::1", Port: 379}, {Host: "gate.example.org", Port: 24741}} {
		got = append(got, e.String())
	}
	want := []string{"/dev/ttyS0", ":0", ":379", "192.0.2.1:0", "[2001:db8::1]:379", "gate.example.org:24741"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
