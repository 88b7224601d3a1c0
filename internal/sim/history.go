package sim

import (
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// history is what was written to a bucket since it was made: what a replica that
// is behind, or a leader of the stream that does not know yet that it is none any
// more, takes for the present.
type history []written

type written struct {
	at time.Duration
	natskv.Entry
}

// noteWrite keeps a write for those who see it later than others.
func (w *World) noteWrite(op core.KV, rev uint64) {
	if op.Verb == core.Delete {
		rev = w.kv.Last(int(op.Bucket))
	}
	w.past[op.Bucket] = append(w.past[op.Bucket], written{w.now, natskv.Entry{
		Key: op.Key, Val: slices.Clone(op.Val), Rev: rev, Deleted: op.Verb == core.Delete,
	}})
}

// asOf returns a key as it stood some time ago.
func (w *World) asOf(b core.Bucket, key string, at time.Duration) (natskv.Entry, bool) {
	for _, e := range slices.Backward(w.past[b]) {
		if e.at <= at && e.Key == key {
			return e.Entry, !e.Deleted
		}
	}
	return natskv.Entry{}, false
}

// replica returns what a watch shows that begins on a replica which is behind:
// the keys as they stood then, in the order of revisions, and what was written
// since.
func (w *World) replica(b core.Bucket, filter string, at time.Duration) (then, since []natskv.Entry) {
	last := map[string]natskv.Entry{}
	for _, e := range w.past[b] {
		switch {
		case !matches(filter, e.Key):
		case e.at > at:
			since = append(since, e.Entry)
		default:
			last[e.Key] = e.Entry
		}
	}
	for _, e := range last {
		then = append(then, e)
	}
	slices.SortFunc(then, func(a, b natskv.Entry) int { return int(a.Rev) - int(b.Rev) })
	return then, since
}

// matches tells whether a key matches an exact filter or one that ends with '>'.
func matches(filter, key string) bool {
	if n := len(filter) - 1; filter[n] == '>' {
		return len(key) > n && key[:n] == filter[:n]
	}
	return filter == key
}
