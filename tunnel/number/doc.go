// Package number remembers transaction numbers, so that a recorded first flight is
// worth nothing and a client is never locked out.
//
// # Numbers
//
// Each first flight with a strong key has a number of its own, and the server takes
// it only if it is greater than all that it has taken from this client:
//
//	number = max(greatest one that may have been used + 1, unix time in ms)
//
// The client makes its number last on the disk before it uses it, the server before
// it answers. So nothing gets out of step when a flight, an answer or a process is
// lost at any moment. A client that forgets all, or is put back to an old state, goes
// by the clock, and is ahead of the server's number again. Only one that forgets after
// its clock has been in the future has to wait for that time, or be told: see
// Journal.Tell and Client.Raise. The server's number is never lowered. When two calls
// change places on the way, the earlier one is not taken; see UsedError.
//
// Beside its number a client sends the greatest one that it may have used before. If
// the server has taken a greater one, it did not come from the client's memory: there
// are two with the same key, or the client was put back to an old state. See Finding. A
// client that waits for a slow disk makes several calls at once, and the first of them
// alone shows that; so one that was overtaken is looked at, too.
//
// # The client's file
//
// A file for each key, named after it, of two blocks of 4096 bytes. Each begins with a
// line and is filled with line ends:
//
//	vpnd-number-1 ID LIMIT SUM
//
// ID is the link's in hexadecimal, LIMIT a number in 20 digits, SUM the first 8 bytes
// of SHA-256 of the line before it, in hexadecimal. The greater limit counts: numbers
// up to it may have been used. A limit is a little ahead of the number in use, so that
// not every call has to wait for the disk. The block that does not count is written
// over, so a torn write loses nothing, and no room on the disk is needed.
//
// # The server's journal
//
// A line, and any number of batches:
//
//	vpnd-numbers-1
//	batch COUNT SUM
//	ID NUMBER                      as often as COUNT says
//
// COUNT is 6 digits, SUM is of COUNT and the lines of the batch; the rest is as above.
// A batch counts as a whole or, torn at the end of the file, not at all. All callers
// that come while one batch is written to the disk make the next one. When the journal
// is twice as long as what it says, and after any error, it is written anew beside the
// old one, which it then replaces.
package number
