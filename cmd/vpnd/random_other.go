//go:build !linux

package main

import (
	"errors"
	"os"
)

func isRandom(*os.File) error { return errors.New("randomdev works only on Linux") }
