//go:build !amd64

package crypto

const wideSize = 256

func cryptWide(*lanes, uint32, uint32, []byte) { panic("crypto: there is no wide way here") }

func wideWins() bool { return false }

func hasWide() bool { return false }
