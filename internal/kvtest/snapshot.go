package kvtest

import "maps"

// Snapshot is the content of a [Fake] at some moment.
type Snapshot struct{ buckets []*fakeBucket }

// Snapshot remembers the content of all buckets.
func (f *Fake) Snapshot() Snapshot { return Snapshot{buckets: cloneBuckets(f.buckets)} }

// Rollback restores the content of a snapshot, as a server does that lost its
// last writes: revisions go back and will repeat, creation times are those of
// the snapshot. All watches are lost. A snapshot can be restored repeatedly.
func (f *Fake) Rollback(s Snapshot) {
	f.buckets = cloneBuckets(s.buckets)
	for i := range f.buckets {
		f.LoseWatches(i)
	}
}

func cloneBuckets(from []*fakeBucket) []*fakeBucket {
	to := make([]*fakeBucket, len(from))
	for i, b := range from {
		c := *b
		c.keys = maps.Clone(b.keys)
		c.log = nil
		for _, m := range b.log {
			if m.replaced {
				continue
			}
			n := *m // its own mark of being replaced
			c.log = append(c.log, &n)
			c.keys[n.Key] = &n
		}
		to[i] = &c
	}
	return to
}
