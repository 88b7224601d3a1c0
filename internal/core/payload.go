package core

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Values larger than largestValue, or than what the server takes without
// valueMargin for the message's headers, are split over several keys.
const (
	largestValue = 256 << 10
	valueMargin  = 1 << 10
)

// maxChunks bounds what a value may claim.
const maxChunks = 1 << 12

// chunks splits a value that is larger than limit into what is written under its
// key, and under its key with .1, .2 and so on.
func chunks(val []byte, limit int) [][]byte {
	if len(val) <= limit {
		return [][]byte{val}
	}
	const frame = packHead + packTail + 5 // 5 for the count
	var out [][]byte
	n := (len(val) + limit - frame - 1) / (limit - frame)
	for part := range slices.Chunk(val, limit-frame) {
		c := chunkRecord{formatted: ours, Data: part}
		if len(out) == 0 {
			c.Count = n
		}
		out = append(out, packRecord(c, nil))
	}
	return out
}

func chunkKey(key string, k int) string {
	if k == 0 {
		return key
	}
	return key + "." + strconv.Itoa(k)
}

// chunkCount tells how many chunks a value has, of which it is the first.
func chunkCount(val []byte) int {
	if len(val) < packHead || val[0] != packed || val[1] != (chunkRecord{}).kind() {
		return 1
	}
	if c, err := decode[chunkRecord](val); err == nil {
		return max(1, c.Count)
	}
	return 1
}

// getWhole reads a value and, when it was split, its chunks. A chunk that is
// absent or not ours answers as an absent value would.
func (c *Core) getWhole(key string, then func(Done)) {
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: key}, false, func(first Done) {
		n := 1
		if first.Err == OK {
			n = chunkCount(first.Val)
		}
		if n == 1 {
			then(first)
			return
		}
		parts := make([]Done, n)
		parts[0] = first
		waiting := n - 1
		for k := 1; k < n; k++ {
			c.kv(KV{Verb: Get, Bucket: Assignments, Key: chunkKey(key, k)}, false, func(d Done) {
				parts[k] = d
				if waiting--; waiting == 0 {
					then(joined(parts))
				}
			})
		}
	})
}

// ReadableAt returns the form in JSON of what stands under a key, put together if
// it was split. Get reads a key.
func ReadableAt(key string, get func(key string) ([]byte, error)) ([]byte, error) {
	first, err := get(key)
	if err != nil {
		return nil, err
	}
	n := chunkCount(first)
	if n == 1 {
		return Readable(first)
	}
	parts := []Done{{Val: first}}
	for k := 1; k < n; k++ {
		val, err := get(chunkKey(key, k))
		if err != nil {
			return nil, err
		}
		parts = append(parts, Done{Val: val})
	}
	d := joined(parts)
	if d.Err != OK {
		return nil, fmt.Errorf("%w: %s", ErrForeign, d.Text)
	}
	return Readable(d.Val)
}

func joined(parts []Done) Done {
	var val []byte
	for _, d := range parts {
		if d.Err != OK {
			return Done{Err: d.Err, Text: d.Text}
		}
		c, err := decode[chunkRecord](d.Val)
		if err != nil {
			return Done{Err: NotFound, Text: err.Error()}
		}
		val = append(val, c.Data...)
	}
	return Done{Val: val, Rev: parts[0].Rev}
}

// partRead is a payload as read: what it grants, whole.
type partRead struct {
	inc   string
	owned []Owned // sorted
	// base is the payload that the ref named, or that it is a delta on. It is
	// kept for the next delta.
	base basePart
	// delta is what the ref named, when that is a delta, and its size.
	delta     partRecord
	deltaSize int
}

// basePart is a payload that is not a delta.
type basePart struct {
	ref   ref
	size  int
	owned []Owned
}

// getPart reads the payload that a ref names, and its base unless that is known.
// A value that does not match its ref answers as an absent one would.
func (c *Core) getPart(want ref, known basePart, then func(partRead, Done)) {
	key := c.partKey(want)
	c.getWhole(key, func(d Done) {
		rec, ok := partOf(&d, key, want)
		switch {
		case !ok:
			then(partRead{}, d)
		case rec.Base.none():
			owned := ownedBy(rec)
			then(partRead{inc: rec.Inc, owned: owned, base: basePart{want, len(d.Val), owned}}, d)
		default:
			g := partRead{inc: rec.Inc, delta: rec, deltaSize: len(d.Val), base: known}
			base := rec.Base
			base.Worker = want.Worker
			if known.ref == base {
				g.owned = applyDelta(known.owned, rec)
				then(g, d)
				return
			}
			key := c.partKey(base)
			c.getWhole(key, func(d Done) {
				rec, ok := partOf(&d, key, base)
				if ok {
					g.base = basePart{base, len(d.Val), ownedBy(rec)}
					g.owned = applyDelta(g.base.owned, g.delta)
				}
				then(g, d)
			})
		}
	})
}

// partOf decodes what was read under a ref. When it is not what the ref names,
// the answer says so.
func partOf(d *Done, key string, want ref) (partRecord, bool) {
	if d.Err != OK {
		return partRecord{}, false
	}
	if digest(d.Val) != want.Digest {
		*d = Done{Err: NotFound, Text: key + " is not what the head names"}
		return partRecord{}, false
	}
	rec, err := decode[partRecord](d.Val)
	if err != nil {
		*d = Done{Err: NotFound, Text: key + ": " + err.Error()}
		return partRecord{}, false
	}
	return rec, true
}

func ownedBy(rec partRecord) []Owned {
	n := 0
	for _, g := range rec.Grants {
		n += len(g.IDs)
	}
	out := make([]Owned, 0, n)
	for _, g := range rec.Grants {
		for i, id := range g.IDs {
			out = append(out, Owned{ID: id, Weight: g.Weights[i], Token: Token{g.Term, g.Version}})
		}
	}
	slices.SortFunc(out, func(a, b Owned) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// applyDelta returns what a delta makes of its base, which is sorted.
func applyDelta(base []Owned, rec partRecord) []Owned {
	news := ownedBy(rec)
	gone := make(map[string]bool, len(rec.Removed)+len(news))
	for _, id := range rec.Removed {
		gone[id] = true
	}
	for _, o := range news {
		gone[o.ID] = true
	}
	out := make([]Owned, 0, len(base)+len(news))
	for _, o := range base {
		for len(news) > 0 && news[0].ID < o.ID {
			out, news = append(out, news[0]), news[1:]
		}
		if !gone[o.ID] {
			out = append(out, o)
		}
	}
	return append(out, news...)
}
