package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// startNothing leaves the wire as it is.
func startNothing(_ context.Context, b *bed) error {
	b.dst = outerB
	return nil
}

// startVpnd returns what starts two vpnds, over the cable if there is one. more is
// added to both configurations.
func startVpnd(cipher, compress string, more ...string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		key := b.file("vpnd.key")
		if out, err := exec.Command(b.o.vpnd, "-m", key).CombinedOutput(); err != nil {
			return fmt.Errorf("%s -m: %w %s", b.o.vpnd, err, out)
		}
		var commands [2]*exec.Cmd
		for i, end := range []string{"server", "client"} {
			path, err := b.write(end+".conf", vpndConfig(end, b.Dir(), b.vpndLine(end), cipher, compress)+strings.Join(more, "\n"))
			if err != nil {
				return err
			}
			commands[i] = exec.Command(b.o.vpnd, "-n", "-f", path)
			commands[i].Env = b.environ()
		}
		if b.cable != nil {
			return errors.Join(b.start(b.b, commands[0]), b.start(b.a, commands[1]))
		}
		return b.startBoth(ctx, commands[0], commands[1])
	}
}

// vpndLine is what leads an end, "server" or "client", to the other one.
func (b *bed) vpndLine(end string) string {
	switch {
	case b.cable != nil:
		return fmt.Sprintf("%s %s\nspeed %d", end, b.cable.device(end), b.cable.rate)
	case end == "client":
		return fmt.Sprintf("server %v %d", outerB, port)
	}
	return fmt.Sprintf("server %d", port)
}

// vpndConfig is the configuration of one end, "server" or "client".
func vpndConfig(end, dir, line, cipher, compress string) string {
	local, remote := innerB, innerA
	if end == "client" {
		local, remote = innerA, innerB
	}
	return fmt.Sprintf(`mode %s
%s
local %v
remote %v
keyfile vpnd.key
cipher %s
compress %s
tundev %s
statedir %s/state
control %s/%s.sock
`, end, line, local, remote, cipher, compress, tunnelDevice, dir, dir, end)
}
