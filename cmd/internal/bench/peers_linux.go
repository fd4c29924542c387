package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"

	"vpnd/cmd/internal/lab"
)

// sshdDir is a directory that sshd wants; packages make it when a host starts.
const sshdDir = "/run/sshd"

// startSSH returns what starts ssh -w, with compression "yes" or "no".
func startSSH(compression string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error { return b.startSSH(ctx, compression) }
}

func (b *bed) startSSH(ctx context.Context, compression string) error {
	sshd, err := lookUp("sshd") // it insists on its full path
	if err != nil {
		return err
	}
	ssh, err := lookUp("ssh")
	if err != nil {
		return err
	}
	for _, name := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", b.file(name)).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w %s", err, out)
		}
	}
	config, err := b.write("sshd_config", sshdConfig(b.Dir()))
	if err != nil {
		return err
	}
	b.takeAway(sshdDir)
	if err := os.MkdirAll(sshdDir, 0o755); err != nil {
		return err
	}
	if err := b.startBoth(ctx, exec.Command(sshd, "-D", "-e", "-f", config), exec.Command(ssh, sshArgs(b.Dir(), compression)...)); err != nil {
		return err
	}
	return b.address(ctx, 1500)
}

func sshdConfig(dir string) string {
	return fmt.Sprintf(`Port %d
ListenAddress %v
HostKey %s/host
AuthorizedKeysFile %s/user.pub
StrictModes no
PermitRootLogin prohibit-password
PermitTunnel point-to-point
UsePAM no
UseDNS no
PidFile none
`, port, outerB, dir, dir)
}

// sshArgs runs a command on the other end, as without one ssh and sshd leave
// Nagle's algorithm on, which delays every lone packet.
func sshArgs(dir, compression string) []string {
	args := []string{"-F", "none", "-i", dir + "/user", "-p", fmt.Sprint(port), "-w", "0:0"}
	for _, o := range []string{
		"Tunnel=point-to-point", "ExitOnForwardFailure=yes", "BatchMode=yes", "IdentitiesOnly=yes", "LogLevel=ERROR",
		"StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null",
		"Ciphers=aes128-gcm@openssh.com", "Compression=" + compression,
	} {
		args = append(args, "-o", o)
	}
	return append(args, "root@"+outerB.String(), "exec sleep 1000000")
}

// fastdMTU leaves room for its own header on the way.
const fastdMTU = 1420

// startFastd starts fastd, which is over UDP.
func startFastd(ctx context.Context, b *bed) error {
	var keys [2]fastdKey
	for i := range keys {
		cmd, err := tool("fastd", "--generate-key")
		if err != nil {
			return err
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("fastd --generate-key: %w %s", err, out)
		}
		if keys[i], err = parseFastdKey(string(out)); err != nil {
			return err
		}
	}
	configB, err := b.write("b/fastd.conf", fastdConfig(keys[1], keys[0], netip.Addr{}))
	if err != nil {
		return err
	}
	configA, err := b.write("a/fastd.conf", fastdConfig(keys[0], keys[1], outerB))
	if err != nil {
		return err
	}
	for _, end := range []struct {
		host   *lab.Namespace
		config string
	}{{b.b, configB}, {b.a, configA}} {
		cmd, err := tool("fastd", "-c", end.config)
		if err != nil {
			return err
		}
		if err := b.start(end.host, cmd); err != nil {
			return err
		}
	}
	return b.address(ctx, fastdMTU)
}

type fastdKey struct{ secret, public string }

// parseFastdKey reads what fastd prints when it has made a key.
func parseFastdKey(text string) (k fastdKey, err error) {
	m := regexp.MustCompile(`(?s)Secret: ([0-9a-f]{64})\s.*Public: ([0-9a-f]{64})\s`).FindStringSubmatch(text)
	if m == nil {
		return k, fmt.Errorf("fastd --generate-key says %q", text)
	}
	return fastdKey{secret: m[1], public: m[2]}, nil
}

// fastdConfig is the configuration of one end; the one with an address of the
// other calls it.
func fastdConfig(self, peer fastdKey, remote netip.Addr) string {
	call := ""
	if remote.IsValid() {
		call = fmt.Sprintf(" remote %v:%d;", remote, port)
	}
	return fmt.Sprintf(`mode tun;
interface "%s";
method "salsa2012+umac";
mtu %d;
bind 0.0.0.0:%d;
secret "%s";
log level info;
peer "other" { key "%s";%s }
`, tunnelDevice, fastdMTU, port, self.secret, peer.public, call)
}
