//go:build !linux

package main

import (
	"errors"
	"os"
)

func isRandom(string, os.FileInfo) error { return errors.New("randomdev works only on Linux") }
