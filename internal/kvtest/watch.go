package kvtest

import (
	"slices"

	"github.com/arloliu/parti/internal/natskv"
)

// FakeWatch is a watch on a [Fake], asked for its events by [FakeWatch.Next].
type FakeWatch struct {
	f      *Fake
	bucket int
	filter string
	cursor uint64
	begun  bool // something was delivered
	lost   bool // Next will say so
	ended  bool
}

// Watch begins a watch. filter is an exact key or a prefix followed by '>'.
func (f *Fake) Watch(bucket int, filter string) *FakeWatch {
	w := &FakeWatch{f: f, bucket: bucket, filter: filter, lost: f.buckets[bucket].gone}
	f.watches = append(f.watches, w)
	return w
}

// Next returns the next event as the server would send it at this moment: the
// present values first, then the changes; nothing that was overwritten or is
// not there any more. It returns false if there is none, or after the end.
//
// Who takes events at once after each write sees every value; who takes them
// late sees only the last of each key. NATS does the one or the other.
func (w *FakeWatch) Next() (natskv.Event, bool) {
	if w.ended {
		return natskv.Event{}, false
	}
	if w.lost {
		w.Stop()
		return natskv.Event{Lost: true}, true
	}
	m, more := w.f.buckets[w.bucket].next(w.filter, w.cursor)
	if m == nil {
		first := !w.begun
		w.begun = true
		return natskv.Event{Synced: first}, first
	}
	w.begun, w.cursor = true, m.Rev
	return natskv.Event{Entry: m.copy(), Synced: !more}, true
}

// Lose makes the watch end with a Lost event; what it had not delivered is not
// delivered any more.
func (w *FakeWatch) Lose() { w.lost = true }

// Stop ends the watch.
func (w *FakeWatch) Stop() {
	w.ended = true
	w.f.watches = slices.DeleteFunc(w.f.watches, func(o *FakeWatch) bool { return o == w })
}

// LoseWatches makes all watches of a bucket end as lost.
func (f *Fake) LoseWatches(bucket int) {
	for _, w := range f.watches {
		if w.bucket == bucket {
			w.Lose()
		}
	}
}
