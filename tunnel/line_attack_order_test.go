package tunnel

import (
	"fmt"

	"vpnd/crypto"
)

// lineOrderAttacks play good frames at the wrong time.
var lineOrderAttacks = attacks{
	{"line: frames to a server, twice", 2 * lineSpecimens, lineTwice(false)},
	{"line: frames to a client, twice", 2 * lineSpecimens, lineTwice(true)},
	{"line: frames to a server, neighbours swapped", lineSpecimens - 1, lineSwapped(false)},
	{"line: frames to a client, neighbours swapped", lineSpecimens - 1, lineSwapped(true)},
	{"line: frames to a server, held back over epochs", 10 * len(heldEpochs), lineHeldEpochs(false)},
	{"line: frames to a client, held back over epochs", 10 * len(heldEpochs), lineHeldEpochs(true)},
	{"line: frames to a server, held back over generations", 9 * 10 / 2 * 2, lineHeldGenerations(false)},
	{"line: frames to a client, held back over generations", 9 * 10 / 2 * 2, lineHeldGenerations(true)},
	{"line: the largest numbers", 7, lineNumbers},
	{"line: epochs too far ahead", 2 * 17, lineFarAhead},
	{"line: packets behind a CLOSE", 2, lineClosed},
}

func lineTwice(client bool) func(a *attack) {
	return func(a *attack) {
		c := newLineCast(a, chacha, client)
		var all [][]byte
		for _, sp := range c.specimens() {
			f := sp.make()
			c.take(f)
			c.drops(sp.name+", at once", f)
			all = append(all, f)
		}
		for i, f := range all {
			c.drops(fmt.Sprint("number ", i, ", at the end"), f)
		}
	}
}

// lineSwapped brings each frame after the one that follows.
func lineSwapped(client bool) func(a *attack) {
	return func(a *attack) {
		for i := range lineSpecimens - 1 {
			c := newLineCast(a, chacha, client)
			sp := c.specimens()
			for _, s := range sp[:i] {
				c.take(s.make())
			}
			if sp[i].name == "REKEY" { // the next one is made from the answer to this
				f := sp[i].make()
				c.take(f)
				c.take(sp[i+1].make())
				c.drops(sp[i].name, f)
				continue
			}
			f := sp[i].make()
			c.take(sp[i+1].make())
			c.drops(sp[i].name, f)
		}
	}
}

// heldEpochs is how many epochs later a frame comes: 32 later their numbers look the
// same.
var heldEpochs = []int{1, 2, 15, 16, 17, 31, 32, 33, 64, 96}

func lineHeldEpochs(client bool) func(a *attack) {
	return func(a *attack) {
		for _, epochs := range heldEpochs {
			c := newLineCast(a, aes, client)
			var held [][]byte
			for n := range byte(10) {
				held = append(held, c.send(frameBatch, stored(udp(30, n))...))
			}
			for range epochs {
				c.ratchet(1)
				c.take(c.send(framePing, stamped(1)...))
			}
			for n, f := range held {
				c.drops(fmt.Sprintf("number %d, %d epochs later", n, epochs), f)
			}
		}
	}
}

// lineHeldGenerations goes through nine generations, so that each number of one comes
// up again, with frames of all those before: some that the end never saw, some that
// it took.
func lineHeldGenerations(client bool) func(a *attack) {
	return func(a *attack) {
		c := newLineCast(a, aes, client)
		var held [][]byte
		for n := range 9 {
			seen := c.send(frameBatch, stored(udp(30, byte(n)))...)
			c.take(seen)
			held = append(held, c.send(frameBatch, stored(udp(30, byte(n)))...), seen)
			c.take(c.startRekey())
			c.change()
			c.take(c.send(framePing, stamped(1)...))
			for i, f := range held {
				c.drops(fmt.Sprintf("frame %d of generation %d in generation %d", i%2, i/2, n+1), f)
			}
		}
	}
}

// lineNumbers plays frames with numbers near their end.
func lineNumbers(a *attack) {
	c := newLineCast(a, aes, false)
	number := field[uint64](c.sealer, "number")
	early := c.send(frameBatch, stored(udp(30, 1))...)
	for _, n := range []uint64{1 << (crypto.NumberBits - 1), 1<<crypto.NumberBits - 1} {
		*number = n
		f := c.send(framePing, stamped(1)...)
		c.take(f)
		c.drops(fmt.Sprint("again, ", n), f)
		c.drops(fmt.Sprint("early one after ", n), early)
	}
	*number = 1<<crypto.NumberBits + 5 // on the wire it is 5
	wrapped := c.send(frameBatch, stored(udp(30, 1))...)
	wrapped[0] = 0
	c.drops("wrapped number", wrapped)
	c.ratchet(1)
	*number = 1<<crypto.NumberBits + 5
	wrapped = c.send(frameBatch, stored(udp(30, 1))...)
	wrapped[0] = 1
	c.drops("wrapped number of the next epoch", wrapped)
	*number = 0
	f := c.send(framePing, stamped(1)...)
	c.take(f)
	c.drops("the first of the next epoch, again", f)
}

// lineFarAhead loses more epochs than an end looks ahead.
func lineFarAhead(a *attack) {
	for _, client := range []bool{false, true} {
		c := newLineCast(a, aes, client)
		c.ratchet(15)
		last := c.send(framePing, stamped(1)...)
		for n := range 17 {
			c.ratchet(1)
			f := c.send(frameBatch, stored(udp(30, 1))...)
			if n == 16 { // it has the bits of the first one
				f[0] = 0
			}
			c.drops(fmt.Sprint(16+n, " epochs ahead"), f)
		}
		c.take(last)
	}
}

// lineClosed closes the link and goes on with packets, before the driver has taken
// leave of the session.
func lineClosed(a *attack) {
	for _, client := range []bool{false, true} {
		c := newLineCast(a, aes, client)
		c.driver.data(c.send(frameBatch, stored(udp(30, 1))...))
		if c.bytes() == 0 {
			a.t.Error("no packet before the CLOSE")
		}
		a.try(fmt.Sprint("to a client ", client), func() error {
			c.driver.data(c.send(frameClose, byte(closeShutdown)))
			c.driver.data(c.send(frameBatch, stored(udp(30, 2))...))
			return nil
		})
	}
}
