package main

import (
	"fmt"
	"os/exec"
)

// roleEnv makes this program be one end of a tunnel instead.
const roleEnv = "VPND_BENCH_ROLE"

const (
	roleEmpty     = "empty"
	roleWireGuard = "wireguard"
)

// role is this program, started again in a role.
func (b *bed) role(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = b.environ(roleEnv + "=" + name)
	return cmd
}

// play is the part that runs in the new process. It returns only on an error.
func play(role string, args []string) error {
	switch {
	case role == roleEmpty && len(args) == 2:
		return playEmpty(args[0], args[1])
	case role == roleWireGuard && len(args) == 1:
		return playWireGuard(args[0])
	}
	return fmt.Errorf("no role %q with %d arguments", role, len(args))
}
