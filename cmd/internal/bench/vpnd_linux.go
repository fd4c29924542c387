package main

import (
	"context"
	"fmt"
	"os/exec"
)

// startNothing leaves the wire as it is.
func startNothing(_ context.Context, b *bed) error {
	b.dst = outerB
	return nil
}

// startVpnd returns what starts two vpnds.
func startVpnd(cipher, compress string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		key := b.file("vpnd.key")
		if out, err := exec.Command(b.o.vpnd, "-m", key).CombinedOutput(); err != nil {
			return fmt.Errorf("%s -m: %w %s", b.o.vpnd, err, out)
		}
		var commands [2]*exec.Cmd
		for i, end := range []string{"server", "client"} {
			path, err := b.write(end+".conf", vpndConfig(end, b.Dir(), cipher, compress))
			if err != nil {
				return err
			}
			commands[i] = exec.Command(b.o.vpnd, "-n", "-f", path)
			commands[i].Env = b.environ()
		}
		return b.startBoth(ctx, commands[0], commands[1])
	}
}

// vpndConfig is the configuration of one end, "server" or "client".
func vpndConfig(end, dir, cipher, compress string) string {
	server, local, remote := fmt.Sprint(port), innerB, innerA
	if end == "client" {
		server, local, remote = fmt.Sprint(outerB, " ", port), innerA, innerB
	}
	return fmt.Sprintf(`mode %s
server %s
local %v
remote %v
keyfile vpnd.key
cipher %s
compress %s
tundev %s
statedir %s/state
control %s/%s.sock
`, end, server, local, remote, cipher, compress, tunnelDevice, dir, dir, end)
}
