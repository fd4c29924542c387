package background

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"syscall"
)

// maxCrashes bounds what earlier crashes may leave in the file: beyond that it
// begins anew.
const maxCrashes = 1 << 20

// keepCrashes makes the runtime write what it says when the program crashes to the
// crash file. One that has something in it from an earlier run is reported, and kept for
// whoever will look.
func (p *Program) keepCrashes(log *slog.Logger) error {
	f, err := os.OpenFile(p.CrashFile, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("crash file: %w", err)
	}
	defer f.Close() // the runtime has a descriptor of its own
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("crash file: %w", err)
	}
	if info.Size() > 0 {
		log.Warn(p.Name+" has crashed before, please report it and remove the file", "file", p.CrashFile, "crashed", info.ModTime())
	}
	if info.Size() > maxCrashes {
		err = f.Truncate(0)
	}
	return errors.Join(err, debug.SetCrashOutput(f, debug.CrashOptions{}))
}
