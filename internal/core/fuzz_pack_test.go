package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
)

// sealed makes a packed value of any body, under a checksum that matches.
func sealed(kind, version, how byte, body []byte) []byte {
	b := append([]byte{packed, kind, version, how}, body...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// FuzzPacked reads values that get past the checksum: no panic, no more memory than
// a value may take, and what is taken can be written and read again.
func FuzzPacked(f *testing.F) {
	for _, rec := range []packer{
		headRecord{formatted: ours, Term: 1, Version: 2, Leader: "w-0", Seats: []headSeat{{Worker: "w-0", Inc: "x", Part: ref{Term: 1, Version: 2}}}},
		partRecord{formatted: ours, Inc: "x", Grants: []grantList{{Term: 1, Version: 1, IDs: []string{"a", "b"}, Weights: []int64{1, 2}}}},
		heldRecord{formatted: ours, Inc: "x", Term: 1, Version: 1},
		drainRecord{formatted: ours, Items: []drainEntry{{ID: "a", Weight: 1, Inc: "x", Next: "w-1"}}},
		chunkRecord{formatted: ours, Count: 3, Data: []byte("abc")},
	} {
		b := packRecord(rec, nil)
		f.Add(rec.kind(), byte(format), byte(plain), b[packHead:len(b)-packTail])
		var d deflater
		f.Add(rec.kind(), byte(format), byte(deflated), d.deflate(bytes.Repeat(b[packHead:len(b)-packTail], 100)))
		f.Add(rec.kind(), byte(format+1), byte(plain), b[packHead:])
		f.Add(rec.kind(), byte(0), byte(7), b[packHead:packHead+3])
		f.Add(rec.kind(), byte(format), byte(plain), binary.AppendUvarint(nil, 1<<62))
		f.Add(rec.kind(), byte(format), byte(deflated), binary.AppendUvarint(nil, 1<<62))
	}
	f.Fuzz(func(t *testing.T, kind, version, how byte, body []byte) {
		b := sealed(kind, version, how, body)
		check[headRecord](t, b)
		check[partRecord](t, b)
		check[heldRecord](t, b)
		check[drainRecord](t, b)
		check[chunkRecord](t, b)
		if _, err := Readable(b); err != nil && !errors.Is(err, ErrForeign) {
			t.Errorf("error %v does not say that the value is foreign", err)
		}
		if n := chunkCount(b); n < 1 || n > maxChunks {
			t.Errorf("of %d chunks", n)
		}
		if d := joined([]Done{{Val: b}, {Val: b}}); d.Err == OK && len(d.Val) > 2*len(b) {
			t.Errorf("%d bytes joined of twice %d", len(d.Val), len(b))
		}
	})
}
