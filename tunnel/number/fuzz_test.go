package number

import (
	"bytes"
	"testing"
)

// What is read is what a journal with these last numbers says, and it can be written
// and read again.
func FuzzParseJournal(f *testing.F) {
	d := newFakeDisk()
	j := openTestJournal(f, d)
	for n := range uint64(3) {
		accept(f, j, testID, n+1)
		accept(f, j, ID{2}, n+1)
	}
	good := d.names[journalPath].seen
	for _, seed := range [][]byte{
		good, nil, []byte(journalTag), good[:len(good)-1], good[len(journalTag):],
		append([]byte(journalTag), "batch "...), append([]byte(journalTag), "batch 999999 0000000000000000\n"...),
		append(bytes.Clone(good), "batch 000000 "+sum([]byte("000000\n"))+"\n"...),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		last, err := parseJournal(text)
		if (last == nil) != (err != nil) {
			t.Fatalf("last %v, error %v", last, err)
		}
		if err != nil {
			return
		}
		again := []byte(journalTag)
		for id, n := range last {
			if !bytes.Contains(text, []byte(id.String()+" "+formatNumber(n)+"\n")) {
				t.Errorf("%v has number %d, and the text does not say so", id, n)
			}
			again = append(again, formatBatch([]record{{id, n}})...)
		}
		back, err := parseJournal(again)
		if err != nil || len(back) != len(last) {
			t.Fatalf("written and read again: %v, %v", back, err)
		}
		for id, n := range last {
			if back[id] != n {
				t.Errorf("%v: number %d, read again %d", id, n, back[id])
			}
		}
	})
}

// A batch is read only if it is what would be written, byte for byte.
func FuzzParseBatch(f *testing.F) {
	f.Add(formatBatch(nil))
	f.Add(formatBatch([]record{{testID, 5}}))
	f.Add(formatBatch([]record{{testID, 5}, {ID{2}, 1 << 63}}))
	f.Add([]byte("batch 100001 0000000000000000\n"))
	f.Add([]byte("batch +00001 0000000000000000\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		records, size, err := parseBatch(text)
		if err == nil && !bytes.Equal(formatBatch(records), text[:size]) {
			t.Errorf("%q was read as %v", text[:size], records)
		}
		// Behind the right checksum.
		if len(text) > headSize {
			count := (len(text) - headSize) / recordSize
			body := text[headSize:][:count*recordSize]
			head := []byte("batch 00000" + string(rune('0'+count%10)) + " ")
			head = append(head, sum(append([]byte(string(head[len(batchWord):len(head)-1])+"\n"), body...))+"\n"...)
			whole := append(head, body...)
			if records, size, err := parseBatch(whole); err == nil && !bytes.Equal(formatBatch(records), whole[:size]) {
				t.Errorf("%q was read as %v", whole[:size], records)
			}
		}
	})
}

// Whatever is in the file, the client's numbers grow, and what it writes it reads.
func FuzzClientFile(f *testing.F) {
	d, at := newFakeDisk(), newClock()
	next(f, openTest(f, d, at))
	good := d.names[clientPath].seen
	f.Add(good)
	f.Add(good[:block])
	f.Add([]byte(summed("00000000000000000007")))
	f.Add([]byte(summed("18446744073709551615")))
	f.Add([]byte("vpnd-number-1 "))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 2*block {
			return
		}
		d := newFakeDisk()
		d.names["file"] = &inode{seen: bytes.Clone(text)}
		c, err := openClient(d, "file", testID, at.now)
		if err != nil {
			t.Fatal(err)
		}
		call, err := c.Next()
		if err != nil { // the file says that there are no more
			return
		}
		if call.Number < at.ms() || call.Number <= call.Before {
			t.Errorf("call %+v", call)
		}
		c, err = openClient(d, "file", testID, at.now)
		if err != nil || c.Lost() || c.limit < call.Number {
			t.Errorf("opened again: %v, limit %d after %+v", err, c.limit, call)
		}
	})
}
