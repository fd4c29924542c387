package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/tunnel"
	"vpnd/tunnel/number"
)

// auth is what proves calls and callers with strong keys, nil with shared ones.
type auth struct {
	door *tunnel.StrongDoor // of a server
	key  tunnel.Key         // of a client
	last io.Closer
}

// close gives the numbers back.
func (a *auth) close() error {
	if a == nil {
		return nil
	}
	return a.last.Close()
}

// openAuth opens the transaction numbers. Who has them holds the instance.
func openAuth(c *conf.Config, s *secrets, log *slog.Logger) (*auth, error) {
	if s.strong == nil {
		return nil, nil
	}
	if c.Mode == conf.Client {
		return openClientAuth(c, s, log)
	}
	journal, err := number.OpenJournal(journalFile(c), time.Now)
	if err != nil {
		return nil, exit.With(exit.Unavailable, err)
	}
	if journal.Made() {
		log.Info("transaction numbers begin anew: there is no file of them", "file", journalFile(c))
	}
	door := tunnel.NewStrongDoor(s.random, s.strong.Identity(), journal)
	if c.Peers != "" { // they are in files of their own
		return &auth{door: door, last: journal}, nil
	}
	peer := tunnel.Peer{Name: s.strong.ID().String(), Public: s.strong.Peer().Public(), Secret: s.strong.Secret()}
	return &auth{door: door, last: journal}, door.SetPeers([]tunnel.Peer{peer})
}

func openClientAuth(c *conf.Config, s *secrets, log *slog.Logger) (*auth, error) {
	numbers, err := number.OpenClient(c.StateDir, number.ID(s.strong.ID()), time.Now)
	if err != nil {
		return nil, exit.With(exit.Unavailable, err)
	}
	if numbers.Lost() {
		log.Warn("the file of the transaction number was damaged: the clock gives the next one", "directory", c.StateDir)
	}
	return &auth{key: tunnel.NewStrongKey(s.random, s.strong, numbers), last: numbers}, nil
}

// configure adds what proves calls and callers to a tunnel.
func (a *auth) configure(t *tunnel.Config) {
	switch {
	case a == nil:
	case a.door != nil:
		t.Door = a.door
	default:
		t.Key = a.key
	}
}

// resync lets a client be told its number, and says for how long.
func (a *auth) resync(client string) (string, error) {
	if a == nil || a.door == nil {
		return "", errors.New("this is no server with strong keys: it has no transaction numbers of clients")
	}
	until, err := a.door.Resync(client)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("client %s is told its number if it calls until %s", client, until.Local().Format(time.TimeOnly)), nil
}
