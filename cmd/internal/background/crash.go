package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"vpnd/conf"
)

// maxCrashes bounds what earlier crashes may leave in the file: beyond that it
// begins anew.
const maxCrashes = 1 << 20

// crashFile is the place of an instance's file.
func crashFile(c *conf.Config) string { return filepath.Join(c.StateDir, c.Name+".crash") }

// keepCrashes makes the runtime write what it says when the program crashes to a
// file: the standard error of a detached daemon leads nowhere. One that has
// something in it from an earlier run is reported, and kept for whoever will look.
func keepCrashes(path string, log *slog.Logger) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("crash file: %w", err)
	}
	defer f.Close() // the runtime has a descriptor of its own
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("crash file: %w", err)
	}
	if info.Size() > 0 {
		log.Warn("vpnd has crashed before, please report it and remove the file", "file", path, "crashed", info.ModTime())
	}
	if info.Size() > maxCrashes {
		err = f.Truncate(0)
	}
	return errors.Join(err, debug.SetCrashOutput(f, debug.CrashOptions{}))
}

// dropCrashes removes the file when there was no crash, also one that a killed
// daemon left. Only who holds the instance may do it.
func dropCrashes(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Size() > 0 {
		return nil
	}
	return os.Remove(path)
}
