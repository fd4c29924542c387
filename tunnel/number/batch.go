package number

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
)

const (
	journalTag  = "vpnd-numbers-1\n"
	batchWord   = "batch "
	countDigits = 6
	maxLinks    = 100_000 // of one server; and records in one batch
	headSize    = len(batchWord) + countDigits + 1 + 2*sumSize + 1
	recordSize  = 2*len(ID{}) + 1 + digits + 1
)

// record says that a number was taken.
type record struct {
	id     ID
	number uint64
}

// formatBatch returns a batch of at most maxLinks records.
func formatBatch(records []record) []byte {
	body := make([]byte, 0, headSize+len(records)*recordSize)
	for _, r := range records {
		body = fmt.Appendf(body, "%v %s\n", r.id, formatNumber(r.number))
	}
	count := fmt.Sprintf("%0*d", countDigits, len(records))
	head := fmt.Appendf(nil, "%s%s %s\n", batchWord, count, sum(append([]byte(count+"\n"), body...)))
	return append(head, body...)
}

// parseBatch reads the batch that text begins with, and returns its length. Whatever
// is not exactly what formatBatch writes is found in the end.
func parseBatch(text []byte) (records []record, size int, err error) {
	if len(text) < headSize {
		return nil, 0, errFormat
	}
	count, _ := strconv.Atoi(string(text[len(batchWord):][:countDigits]))
	size = headSize + max(0, count)*recordSize
	if len(text) < size {
		return nil, 0, errFormat
	}
	for line := range slices.Chunk(text[headSize:size], recordSize) {
		records = append(records, parseRecord(line))
	}
	if !bytes.Equal(formatBatch(records), text[:size]) {
		return nil, 0, errFormat
	}
	return records, size, nil
}

func parseRecord(line []byte) (r record) {
	hex.Decode(r.id[:], line[:2*len(r.id)])
	r.number = parseNumber(line[2*len(r.id)+1:][:digits])
	return r
}

// parseJournal reads a journal. A batch at its end that was not written completely is
// left out: nobody relies on it. It is an error if something is damaged that somebody
// may rely on.
func parseJournal(text []byte) (last map[ID]uint64, err error) {
	rest, ok := bytes.CutPrefix(text, []byte(journalTag))
	if !ok {
		return nil, fmt.Errorf("it does not begin with %q", journalTag)
	}
	last = make(map[ID]uint64)
	for len(rest) > 0 {
		records, size, err := parseBatch(rest)
		if err != nil {
			if holdsBatch(rest[1:]) {
				return nil, fmt.Errorf("it is damaged at byte %d", len(text)-len(rest))
			}
			return last, nil
		}
		for _, r := range records {
			last[r.id] = max(last[r.id], r.number)
		}
		rest = rest[size:]
	}
	return last, nil
}

// holdsBatch reports whether there is a whole batch anywhere. The next batch is
// written only after the one before it is on the disk, so what comes before a whole
// batch was whole once.
func holdsBatch(text []byte) bool {
	for {
		at := bytes.Index(text, []byte(batchWord))
		if at < 0 {
			return false
		}
		text = text[at:]
		if _, _, err := parseBatch(text); err == nil {
			return true
		}
		text = text[1:]
	}
}
