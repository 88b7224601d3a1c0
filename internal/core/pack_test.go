package core

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// samples are records with every field set, large and small.
func samples() map[string]any {
	r := ref{Term: 7, Version: 9, Digest: sum{1, 2, 3, 4, 5, 6, 7, 8}}
	big := grantList{Term: 1, Version: 2}
	for i := range 2000 {
		big.IDs = append(big.IDs, fmt.Sprintf("tenant-%06d.orders", i))
		big.Weights = append(big.Weights, int64(i%7+1))
	}
	return map[string]any{
		"head": headRecord{
			formatted: ours, Term: 1 << 40, Version: 3, Leader: "w-1", LeaderInc: "n", Rebuild: true, Owes: true, Root: 5, Base: version{6, 7}, Lease: 8, Lifecycle: "stable",
			Window: 1500, Created: "2026", App: "shop", List: "00ff",
			Seats: []headSeat{
				{Worker: "w-0", Inc: "a", Part: r, Drain: r, Away: 12, Vacant: true, Capacity: new(0.5)},
				{Worker: "w-1", Inc: "b"},
			},
		},
		"payload": partRecord{formatted: ours, Inc: "a", Grants: []grantList{
			{Term: 1, Version: 1, IDs: []string{"p1", "p2"}, Weights: []int64{100, 100}},
			{Term: 1, Version: 3, IDs: []string{"p3", "p4"}, Weights: []int64{1, math.MaxInt64}},
		}},
		"delta": partRecord{formatted: ours, Inc: "a", Base: r, Removed: []string{"p9"}, Grants: []grantList{}},
		"large": partRecord{formatted: ours, Inc: "a", Grants: []grantList{big}},
		"drain": drainRecord{formatted: ours, Items: []drainEntry{
			{ID: "p1", Weight: 3, Inc: "a", Next: "w-1", Release: version{2, 3}},
			{ID: "p2", Weight: -3, Inc: "a", Release: version{2, 3}},
		}},
		"held": heldRecord{
			formatted: ours, Inc: "a", Seq: 1, For: 2, Root: 3, Seen: 4, Term: 5, Version: 6, Lease: 7, Named: true,
			Grants: []grantList{{Term: 1, Version: 1, IDs: []string{"p1"}, Weights: []int64{100}}},
			Drains: []heldDrain{{ID: "p2", Weight: 5}},
		},
		"chunk": chunkRecord{formatted: ours, Count: 3, Data: []byte("xyz")},
	}
}

func decodeLike(rec any, b []byte) (any, error) {
	switch rec.(type) {
	case headRecord:
		return decode[headRecord](b)
	case partRecord:
		return decode[partRecord](b)
	case heldRecord:
		return decode[heldRecord](b)
	case drainRecord:
		return decode[drainRecord](b)
	default:
		return decode[chunkRecord](b)
	}
}

// TestPacked writes and reads back every record, packed and in JSON.
func TestPacked(t *testing.T) {
	for name, rec := range samples() {
		b := encode(rec)
		if b[0] != packed {
			t.Errorf("%s: is not packed", name)
		}
		got, err := decodeLike(rec, b)
		if err != nil || !reflect.DeepEqual(got, rec) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, rec)
		}
		text, err := Readable(b)
		if err != nil || !json.Valid(text) {
			t.Errorf("%s: in JSON: %v: %s", name, err, text)
		}
		if got, err := decodeLike(rec, text); err != nil || !reflect.DeepEqual(got, rec) {
			t.Errorf("%s: read from JSON: %v\n got %+v", name, err, got)
		}
		if len(text) > 2000 && len(b)*4 > len(text) {
			t.Errorf("%s: %d bytes, %d in JSON: not deflated?", name, len(b), len(text))
		}
	}
}

// TestPackedDamaged changes every byte of every record, and cuts it anywhere:
// each is refused by a checksum or for its format, and none by a panic.
func TestPackedDamaged(t *testing.T) {
	for name, rec := range samples() {
		b := encode(rec)
		for i := range b {
			bad := append([]byte{}, b...)
			bad[i] ^= 0x15
			if _, err := decodeLike(rec, bad); !errors.Is(err, ErrForeign) {
				t.Fatalf("%s: byte %d changed: %v", name, i, err)
			}
			if _, err := decodeLike(rec, b[:i]); !errors.Is(err, ErrForeign) {
				t.Fatalf("%s: cut at %d: %v", name, i, err)
			}
		}
	}
}

func TestPackedForeign(t *testing.T) {
	later := encode(headRecord{formatted: ours})
	later[2] = format + 1
	if _, err := decode[headRecord](later); !errors.Is(err, errNewer) {
		t.Errorf("a later format: %v", err)
	}
	if _, err := decode[headRecord](encode(drainRecord{})); err == nil || !strings.Contains(err.Error(), "kind") {
		t.Errorf("a drain list as head: %v", err)
	}
	if _, err := Readable([]byte("hello")); !errors.Is(err, ErrForeign) {
		t.Errorf("what is not ours is readable: %v", err)
	}
}

// TestChunks splits a value and puts it together.
func TestChunks(t *testing.T) {
	val := encode(samples()["large"])
	for _, limit := range []int{len(val), len(val) - 1, 1000, 100} {
		parts := chunks(val, limit)
		if n := chunkCount(parts[0]); n != len(parts) {
			t.Fatalf("limit %d: %d chunks, the first says %d", limit, len(parts), n)
		}
		if len(parts) == 1 {
			if limit < len(val) {
				t.Errorf("%d bytes in one chunk of %d", len(val), limit)
			}
			continue
		}
		var read []Done
		for _, p := range parts {
			if len(p) > limit {
				t.Errorf("a chunk of %d bytes, limit %d", len(p), limit)
			}
			read = append(read, Done{Val: p})
		}
		text, err := ReadableAt("k", func(key string) ([]byte, error) {
			k, _ := strconv.Atoi(strings.TrimPrefix(key, "k."))
			return parts[k], nil
		})
		if whole, _ := Readable(val); err != nil || string(text) != string(whole) {
			t.Errorf("limit %d: not readable: %v", limit, err)
		}
		if d := joined(read); d.Err != OK || string(d.Val) != string(val) {
			t.Errorf("limit %d: joined to something else: %v", limit, d.Err)
		}
		read[1].Val = val[:50]
		if d := joined(read); d.Err != NotFound {
			t.Errorf("a chunk that is none was joined: %v", d.Err)
		}
	}
}

func BenchmarkEncodePayload(b *testing.B) {
	rec := samples()["large"]
	b.ReportAllocs()
	for b.Loop() {
		encode(rec)
	}
	b.ReportMetric(float64(len(encode(rec))), "bytes")
}

func BenchmarkDecodePayload(b *testing.B) {
	val := encode(samples()["large"])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode[partRecord](val); err != nil {
			b.Fatal(err)
		}
	}
}

// TestIDsShareTheirBeginnings packs ids of all kinds of neighbours, and more than may
// be shared; and refuses what shares more than there is.
func TestIDsShareTheirBeginnings(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	many := make([]string, 0, maxShared/len(long)+3)
	for i := range cap(many) {
		many = append(many, long+strconv.Itoa(i))
	}
	for name, ids := range map[string][]string{
		"none": nil, "empty": {"", "", "a", ""}, "growing": {"a", "ab", "abc", "ab", "a"}, "equal": {"p1", "p1"},
		"parted": {"tenant-1.a", "tenant-1.b", "tenant-2", "other"}, "too much": many,
	} {
		var w packWriter
		w.ids(ids)
		w.ids(ids)
		r := packReader{s: string(w.b)}
		for range 2 {
			if got := r.ids(); r.err != nil || !slices.Equal(got, ids) {
				t.Errorf("%s: %v, or not what was written", name, r.err)
			}
		}
		if r.s != "" {
			t.Errorf("%s: %d bytes are left", name, len(r.s))
		}
	}
	for name, b := range map[string][]byte{
		"the first shares":         {1, 1, 1, 'a'},
		"more than the one before": {2, 0, 2, 'a', 'b', 3, 0},
	} {
		r := packReader{s: string(b)}
		if got := r.ids(); !errors.Is(r.err, errTruncated) {
			t.Errorf("%s: %q, %v", name, got, r.err)
		}
	}
	bomb := packWriter{}
	n := maxShared/len(long) + 2
	bomb.uint(uint64(n))
	for i := range n {
		if i == 0 {
			bomb.uint(0)
			bomb.str(long)
			continue
		}
		bomb.uint(uint64(len(long)))
		bomb.str("")
	}
	r := packReader{s: string(bomb.b)}
	if r.ids(); !errors.Is(r.err, errTruncated) {
		t.Errorf("a bomb of %d bytes: %v", len(bomb.b), r.err)
	}
}

// TestHeldFits: what one of ten workers says of a million partitions fits one value.
func TestHeldFits(t *testing.T) {
	rec := heldRecord{formatted: ours, Inc: "0123456789abcdef01234567.1", Named: true, Grants: make([]grantList, 3)}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 1_000_000 {
		if rng.IntN(10) == 0 {
			g := &rec.Grants[rng.IntN(20)/9]
			g.IDs = append(g.IDs, fmt.Sprintf("orders.eu-1.partition-%07d", i))
			g.Weights = append(g.Weights, 100)
		}
	}
	if b := encode(rec); len(b) > largestValue {
		t.Errorf("%d bytes, more than %d", len(b), largestValue)
	} else {
		t.Logf("%d bytes", len(b))
	}
}
