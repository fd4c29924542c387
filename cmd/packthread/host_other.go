//go:build !linux

package main

import "vpnd/tunnel/netif"

func readHost(string) (*hostView, error) { return nil, netif.ErrUnavailable }
