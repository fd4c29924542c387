package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// startWireGuard starts wireguard-go, in the version of the module that vpnd has
// its interface from: its program is what playWireGuard is, and a control socket
// that all namespaces would share.
func startWireGuard(ctx context.Context, b *bed) error {
	keyA, errA := ecdh.X25519().GenerateKey(rand.Reader)
	keyB, errB := ecdh.X25519().GenerateKey(rand.Reader)
	if errA != nil || errB != nil {
		return fmt.Errorf("make keys: %w, %w", errA, errB)
	}
	confA, errA := b.write("a.wg", wireGuardConfig(keyA, keyB, innerB, outerB))
	confB, errB := b.write("b.wg", wireGuardConfig(keyB, keyA, innerA, outerA))
	if errA != nil || errB != nil {
		return fmt.Errorf("write configuration: %w, %w", errA, errB)
	}
	if err := b.start(b.b, b.role(roleWireGuard, confB)); err != nil {
		return err
	}
	if err := b.start(b.a, b.role(roleWireGuard, confA)); err != nil {
		return err
	}
	return b.address(ctx, 0)
}

// wireGuardConfig is the configuration of one end, in the form of the control
// socket.
func wireGuardConfig(key, peer *ecdh.PrivateKey, inner, outer netip.Addr) string {
	return fmt.Sprintf(`private_key=%x
listen_port=%d
public_key=%x
endpoint=%v:%d
allowed_ip=%v/32
`, key.Bytes(), port, peer.PublicKey().Bytes(), outer, port, inner)
}

// playWireGuard is one end.
func playWireGuard(config string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	dev, err := tun.CreateTUN(tunnelDevice, device.DefaultMTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(dev, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, ""))
	if err := d.IpcSet(string(text)); err != nil {
		return err
	}
	if err := d.Up(); err != nil {
		return err
	}
	<-d.Wait()
	return fmt.Errorf("device %s is gone", tunnelDevice)
}
