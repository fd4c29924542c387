package tunnel

import (
	"log/slog"
	"time"

	"vpnd/tunnel/loglimit"
)

// flapLimit logs links that come and go. When they do so again and again within
// seconds, which somebody on the way can bring about, not each is news. Its user has
// a lock.
type flapLimit struct {
	began time.Time // of the link
	short int       // links in a row that did not live long
	limit loglimit.Limit
	all   *loglimit.Limit // of all clients whose names mean nothing; nil: the peer has a limit of its own
}

// maxFlaps is how many short links are logged one by one.
const maxFlaps = 10

func (f *flapLimit) up(log *slog.Logger, args ...any) {
	f.began = time.Now()
	f.log(log, "link is up", args...)
}

func (f *flapLimit) down(log *slog.Logger, args ...any) {
	if life := time.Since(f.began); life < loglimit.Interval {
		f.short++
	} else { // one that lives for a while does not make up for all
		f.short = max(0, f.short-int(life/loglimit.Interval))
	}
	f.log(log, "link is down", args...)
}

func (f *flapLimit) log(log *slog.Logger, msg string, args ...any) {
	switch {
	case f.all != nil:
		f.all.Log(log, slog.LevelInfo, msg, args...)
	case f.short < maxFlaps:
		log.Info(msg, args...)
	default:
		f.limit.Log(log, slog.LevelInfo, msg, args...)
	}
}

// notes bounds what else is logged of a peer that comes again and again.
type notes struct {
	mtu    loglimit.Limit    // it has another one
	remote [2]loglimit.Limit // of each family: its address is not the one that is expected
	local  [2]loglimit.Limit // of each family: it expects another address of this end
	twins  loglimit.Limit    // two seem to have its key
}

// guestNotes bounds what is logged of all clients with a shared key together: who has it
// can come with as many names as he likes.
type guestNotes struct {
	notes
	links loglimit.Limit
}

// guestLines is how many links of such clients that come or go at once are logged: those
// of a company whose hub starts again.
const guestLines = 100
