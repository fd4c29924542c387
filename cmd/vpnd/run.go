package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"vpnd/cmd/internal/background"
	"vpnd/cmd/internal/exit"
	"vpnd/conf"
)

// options is the command line.
type options struct {
	file         string
	foreground   bool
	makeKey      bool
	makeStrong   bool
	checkKey     bool
	passphrase   bool
	passphraseFD *int
	check        bool
	status       bool
	json         bool
	resync       string
	chat         bool
	lookup       bool
	version      bool
	help         bool
	word         string // a command that is a word
	invite       invitation
	args         []string
	flags        *pflag.FlagSet
}

func parseOptions(args []string) (*options, error) {
	o := &options{flags: pflag.NewFlagSet("vpnd", pflag.ContinueOnError)}
	f := o.flags
	f.SortFlags = false
	f.Usage = func() {}
	f.StringVarP(&o.file, "file", "f", "", "configuration (default /etc/vpnd/vpnd.conf, then /etc/vpnd.conf)")
	f.BoolVarP(&o.foreground, "foreground", "n", false, "stay in the foreground, log to standard error")
	f.BoolVarP(&o.makeKey, "make-key", "m", false, "make a shared key in the file that is named, or in vpnd.key")
	f.BoolVar(&o.check, "check", false, "check configuration, key and hooks, change nothing")
	f.BoolVar(&o.status, "status", false, "print the state of the running daemon")
	f.BoolVar(&o.json, "json", false, "with --status: as JSON")
	f.StringVar(&o.resync, "resync", "", "on a server: let this client be told its transaction number")
	f.BoolVarP(&o.chat, "test-chat", "t", false, "run the modem chat alone and show it")
	f.BoolVarP(&o.lookup, "lookup", "l", false, "accepted, without effect: names are always looked up")
	f.BoolVarP(&o.makeStrong, "make-strong-keys", "x", false, "make a strong pair of keys in the directory that is named")
	f.BoolVarP(&o.checkKey, "check-key", "c", false, "check the key file that is named, change its pass phrase")
	f.BoolVar(&o.passphrase, "passphrase", false, "with -x: seal the keys under a pass phrase")
	f.Func("passphrase-fd", "read pass phrases from this descriptor, not from the terminal", o.setPassphraseFD)
	o.invite.define(f)
	f.BoolVar(&o.version, "version", false, "print the version")
	f.BoolVarP(&o.help, "help", "h", false, "print this help")
	if err := f.Parse(args); err != nil {
		return o, exit.Withf(exit.Usage, "%w\n%s", err, o.usage())
	}
	o.args = f.Args()
	o.takeWord()
	return o, o.validate()
}

func (o *options) usage() string {
	return "usage: vpnd [-n] [-f FILE]            join the networks\n" +
		"       vpnd -m [FILE]                make a shared key\n" +
		"       vpnd -x [--passphrase] DIR    make a strong pair of keys\n" +
		"       vpnd -c FILE                  check a key file, change its pass phrase\n" +
		"       vpnd --check [-f FILE]        check the configuration\n" +
		"       vpnd -t [-f FILE]             test the modem chat\n" +
		"       vpnd --status [--json] [-f FILE]\n" +
		"       vpnd --resync CLIENT [-f FILE]\n" +
		"       vpnd invite CLIENT [-f FILE]  let a client of a hub in, write its file\n" +
		"       vpnd revoke CLIENT [-f FILE]  shut a client of a hub out\n"
}

func (o *options) validate() error {
	commands := 0
	for _, set := range []bool{o.makeKey, o.makeStrong, o.checkKey, o.check, o.status, o.chat, o.flags.Changed("resync"), o.word != ""} {
		if set {
			commands++
		}
	}
	switch {
	case commands > 1:
		return exit.Withf(exit.Usage, "-m, -x, -c, -t, --check, --status, --resync, invite and revoke exclude each other")
	case o.json && !o.status:
		return exit.Withf(exit.Usage, "--json goes with --status")
	case o.word == "" && (len(o.args) > 1 || len(o.args) == 1 && !o.makeKey && !o.makeStrong && !o.checkKey):
		return exit.Withf(exit.Usage, "unexpected argument %q\n%s", o.args[len(o.args)-1], o.usage())
	}
	if err := o.validateWord(); err != nil {
		return err
	}
	return o.validateStrong()
}

// configFile returns the configuration that the command line names, or the
// first of the default ones that exists.
func (o *options) configFile() (string, error) {
	if o.file != "" {
		return o.file, nil
	}
	places := []string{"/etc/vpnd/vpnd.conf", "/etc/vpnd.conf"}
	for _, p := range places {
		if _, err := os.Stat(p); !errors.Is(err, os.ErrNotExist) {
			return p, nil
		}
	}
	return "", exit.Withf(exit.Config, "no configuration: neither %s nor %s exists; name one with -f", places[0], places[1])
}

func (o *options) config() (*conf.Config, error) {
	path, err := o.configFile()
	if err != nil {
		return nil, err
	}
	c, err := conf.ParseFile(path)
	return c, exit.With(exit.Config, err)
}

// run is the whole command. It returns the exit code.
func run(args []string, sys system) int {
	o, err := parseOptions(args)
	if err == nil {
		err = o.run(sys)
	}
	if err == nil {
		return exit.OK
	}
	code := background.Code(err)
	if !exit.IsSaid(err) {
		fmt.Fprintln(sys.stderr, prefixed(err))
	}
	return code
}

// prefixed names the program in front of errors; those of a configuration begin
// with file and line, which tools understand.
func prefixed(err error) string {
	if errors.As(err, new(conf.Errors)) || errors.As(err, new(problems)) {
		return err.Error()
	}
	return "vpnd: " + err.Error()
}

func (o *options) run(sys system) error {
	switch {
	case o.help:
		_, err := fmt.Fprintf(sys.stdout, "%s\n%s\nvpnd(8) and vpnd.conf(5) say more.\n", o.usage(), o.flags.FlagUsages())
		return err
	case o.version:
		_, err := fmt.Fprintln(sys.stdout, exit.About("vpnd"))
		return err
	case o.makeKey:
		return o.runMakeKey(sys)
	case o.makeStrong:
		return o.runMakeStrong(sys)
	case o.checkKey:
		return o.runCheckKey(sys)
	case o.status:
		return o.runStatus(sys)
	case o.check:
		return o.runCheck(sys)
	case o.chat:
		return o.runChat(sys)
	case o.resync != "":
		return o.runResync(sys)
	case o.word == inviteWord:
		return o.runInvite(sys)
	case o.word == revokeWord:
		return o.runRevoke(sys)
	}
	return o.runDaemon(sys)
}

// runDaemon is vpnd without a command. A daemon that detaches runs in a second
// process; the first one waits until it is up, and otherwise ends with its exit code.
func (o *options) runDaemon(sys system) error {
	second, secret := background.Begin()
	if secret != nil {
		o.passphraseFD = secret
	}
	if !o.foreground && !second {
		phrase, err := o.handOn(sys)
		if err != nil {
			return err
		}
		return background.Detach(phrase, sys.stdout, sys.stderr)
	}
	c, err := o.config()
	if err != nil {
		return err
	}
	self := &background.Program{Name: "vpnd", Instance: c.Name, CrashFile: filepath.Join(c.StateDir, c.Name+".crash"), Stderr: sys.stderr}
	run := self.Background
	if o.foreground {
		run = self.Foreground
	}
	return run(func(log *slog.Logger, ready func() error) error {
		return serve(c, newPassphrases(o, sys), sys, self, log, ready)
	})
}
