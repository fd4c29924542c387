package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"vpnd/cmd/internal/exit"
	"vpnd/conf"
	"vpnd/crypto"
	"vpnd/tunnel/pool"
)

// The commands that are words.
const (
	inviteWord = "invite"
	revokeWord = "revoke"
)

// invitation is the options of vpnd invite.
type invitation struct {
	server, publicKey, output string
	addresses                 []string
	subnets, routes           []string
}

// inviteFlags are the names of those options.
var inviteFlags = []string{"server", "address", "subnet", "route", "public-key", "output"}

func (i *invitation) define(f *pflag.FlagSet) {
	f.StringVar(&i.server, "server", "", "with invite: where the client calls, HOST or HOST:PORT")
	f.StringArrayVar(&i.addresses, "address", nil, "with invite: inner address of the client (default a free one of the pool)")
	f.StringArrayVar(&i.subnets, "subnet", nil, "with invite: network behind the client")
	f.StringArrayVar(&i.routes, "route", nil, "with invite: network behind the hub that the client reaches")
	f.StringVar(&i.publicKey, "public-key", "", "with invite: the client has this key already")
	f.StringVarP(&i.output, "output", "o", "", "with invite: file for the client (default NAME.conf)")
}

// takeWord finds a command that is a word, unless the first argument is the file of
// another one.
func (o *options) takeWord() {
	if len(o.args) > 0 && (o.args[0] == inviteWord || o.args[0] == revokeWord) && !o.makeKey && !o.makeStrong && !o.checkKey {
		o.word, o.args = o.args[0], o.args[1:]
	}
}

// validateWord is the part of validate that concerns them.
func (o *options) validateWord() error {
	for _, name := range inviteFlags {
		if o.flags.Changed(name) && o.word != inviteWord {
			return exit.Withf(exit.Usage, "--%s goes with invite", name)
		}
	}
	switch {
	case o.word == "":
		return nil
	case len(o.args) == 0:
		return exit.Withf(exit.Usage, "%s needs the name of a client", o.word)
	case len(o.args) > 1:
		return exit.Withf(exit.Usage, "unexpected argument %q\n%s", o.args[1], o.usage())
	}
	return exit.With(exit.Usage, conf.CheckPeerName(o.args[0]))
}

// hubConfig is the configuration of a hub whose clients have files.
func (o *options) hubConfig() (*conf.Config, error) {
	c, err := o.config()
	if err == nil && c.Peers == "" {
		return nil, exit.Withf(exit.Config, `%s: peers: missing; "vpnd %s" is for a hub with "auth strong" and "peers PATH"`, c.Path, o.word)
	}
	return c, err
}

// runInvite is vpnd invite. The client's file is complete before the hub knows the
// client: whenever this ends early, nobody is let in who has no file.
func (o *options) runInvite(sys system) error {
	c, err := o.hubConfig()
	if err != nil {
		return err
	}
	hub, err := o.hubKey(c, sys)
	if err != nil {
		return err
	}
	dir, err := openPeers(c.Peers)
	if err != nil {
		return err
	}
	defer dir.close()
	name := o.args[0]
	if err := dir.free(name); err != nil {
		return err
	}
	peers, err := dir.clients(c)
	if err != nil {
		return exit.With(exit.Config, err)
	}
	output := o.invite.output
	if output == "" {
		output = name + ".conf"
	}
	if dir.holds(output) {
		return exit.Withf(exit.Usage, "--output: %s is among the files of the hub's clients; name a file in another directory", output)
	}
	if err := vacant(output, hub, peers); err != nil {
		return err
	}
	i, key, err := o.invitation(hub)
	if err != nil {
		return err
	}
	if i.Addrs, err = dir.addresses(c, peers, i.Addrs); err != nil {
		return err
	}
	file, client, err := c.Invite(i, peers)
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	if err := writeWhole(output, client); err != nil {
		return err
	}
	if err := dir.add(name, file); err != nil {
		return errors.Join(err, os.Remove(output))
	}
	return o.sayInvited(sys.stdout, output, key, i)
}

func (o *options) sayInvited(out io.Writer, path string, id crypto.KeyID, i conf.Invitation) error {
	private := ""
	if o.invite.publicKey != "" {
		private = "There, put the client's private key (private:...) into the line \"key\".\n"
	}
	_, err := fmt.Fprintf(out, "client %s is let in: address %s, link %v\n"+
		"Move %s to the client over a safe way, keep its mode 0600, and start it there: vpnd -f %s\n%s",
		i.Name, strings.Join(i.Addrs, " "), id, path, filepath.Base(path), private)
	return err
}

// hubKey returns the public key of the hub, which may be sealed.
func (o *options) hubKey(c *conf.Config, sys system) (public crypto.PublicKey, err error) {
	file, err := crypto.LoadStrong(c.KeyFile)
	if err == nil {
		err = rightEnd(c, file)
	}
	var key *crypto.StrongKey
	if err == nil {
		phrases := newPassphrases(o, sys)
		phrases.path = c.Passphrase
		key, err = phrases.unlock(c.KeyFile, file)
	}
	if err != nil {
		return public, keyError(fmt.Errorf("%s: keyfile: %w", c.Where("keyfile"), err))
	}
	return key.Identity().Public(), nil
}

// invitation makes the key of a new client, or what goes with its public one.
func (o *options) invitation(hub crypto.PublicKey) (i conf.Invitation, id crypto.KeyID, err error) {
	key, err := crypto.NewClientKey(rand.Reader, hub)
	if err != nil {
		return i, id, err
	}
	public, words := key.Identity().Public(), key.Words()
	if o.invite.publicKey != "" {
		if public, err = crypto.ParsePublicKey(o.invite.publicKey); err != nil {
			return i, id, exit.Withf(exit.Usage, "--public-key: %w", err)
		}
		words = hub.String() + " " + key.Secret().Text()
	}
	i = conf.Invitation{
		Name: o.args[0], PublicKey: public.String(), Secret: key.Secret().Text(), Key: words,
		Server: o.invite.server, Addrs: o.invite.addresses, Subnets: o.invite.subnets, Routes: o.invite.routes,
	}
	return i, crypto.NewPeer(public, key.Secret()).ID(), nil
}

// vacant reports whether a client's file may be written: there is none, or it is what
// an invitation that was interrupted, or a client that was revoked, has left.
func vacant(path string, hub crypto.PublicKey, peers []*conf.Peer) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && info.Mode().IsRegular() && isLeft(path, hub, peers) { // a pipe would hold this up
		return nil
	}
	return fmt.Errorf("%s exists already: it was left as it is; name another file with --output", path)
}

// isLeft reports whether a file lets nobody in: it is for this hub, which does not know
// its key.
func isLeft(path string, hub crypto.PublicKey, peers []*conf.Peer) bool {
	c, err := conf.ParseFile(path)
	if err != nil || c.Key == "" {
		return false
	}
	key, err := crypto.ParseStrongWords(crypto.ClientRole, c.Key)
	return err == nil && key.Peer().Public() == hub && !slices.ContainsFunc(peers, func(p *conf.Peer) bool {
		return p.PublicKey == key.Identity().Public().String()
	})
}

// addresses adds free addresses of the families that were not asked for.
func (d *peersDir) addresses(c *conf.Config, peers []*conf.Peer, wanted []string) ([]string, error) {
	if len(wanted) == 0 && len(c.Pool) == 0 {
		return nil, exit.Withf(exit.Usage, "the hub has no pool to take an address from; say --address ADDRESS")
	}
	taken, err := d.taken(c, peers)
	if err != nil {
		return nil, err
	}
	for _, r := range c.Pool {
		if slices.ContainsFunc(wanted, func(text string) bool {
			a, err := netip.ParseAddr(text)
			return err != nil || a.Unmap().Is4() == r.Addr().Is4() // a mistake is found later
		}) {
			continue
		}
		a, ok := pool.Free(r, r.Masked().Addr(), func(a netip.Addr) bool { return taken[a] })
		if !ok {
			return nil, fmt.Errorf("%s: pool %v: %w; revoke a client, or make the pool larger", c.Where("pool"), r, pool.ErrFull)
		}
		wanted = append(wanted, a.String())
	}
	return wanted, nil
}

// taken returns the addresses that a new client does not get: those that files name,
// and those that the hub has given to clients whose files name none.
func (d *peersDir) taken(c *conf.Config, peers []*conf.Peer) (map[netip.Addr]bool, error) {
	all := slices.Clone(c.Local)
	for _, p := range peers {
		all = append(all, p.Addrs...)
	}
	if len(c.Pool) > 0 {
		leases, err := pool.Leases(poolFile(c), c.Pool)
		if err != nil {
			return nil, exit.With(exit.Config, err)
		}
		for name, addrs := range leases {
			if d.has(name) {
				all = append(all, addrs...)
			}
		}
	}
	taken := make(map[netip.Addr]bool)
	for _, a := range all {
		taken[a] = true
	}
	return taken, nil
}

// runRevoke is vpnd revoke.
func (o *options) runRevoke(sys system) error {
	c, err := o.hubConfig()
	if err != nil {
		return err
	}
	dir, err := openPeers(c.Peers)
	if err != nil {
		return err
	}
	defer dir.close()
	if err := dir.remove(o.args[0]); err != nil {
		return err
	}
	_, err = fmt.Fprintf(sys.stdout, "client %s is shut out; a hub that runs cuts it off within a second\n", o.args[0])
	return err
}
