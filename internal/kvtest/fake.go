// Package kvtest holds a store in memory that behaves as [natskv.Store] does on
// NATS, and one suite that both must pass, so that the fake cannot lie. It is
// imported by tests only.
//
// [Fake] has no goroutine, no lock and no clock, and the same calls have the
// same effects: it is for simulators. [FakeKV] gives it the methods of a store
// for code that runs on goroutines.
package kvtest

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/natskv"
)

// Fake is a set of buckets in memory.
//
// Revisions are those of a stream: one sequence per bucket, also for delete
// markers, which stay until [Fake.ExpireMarkers].
type Fake struct {
	buckets []*fakeBucket
	made    int // buckets made so far: the clock of creation times
	watches []*FakeWatch
}

// fakeBucket is a stream with one message per key.
type fakeBucket struct {
	created string
	gone    bool
	last    uint64
	keys    map[string]*message
	log     []*message // in order of revisions; replaced ones stay until swept
}

type message struct {
	natskv.Entry
	replaced bool
}

// NewFake returns n empty buckets.
func NewFake(n int) *Fake {
	f := &Fake{buckets: make([]*fakeBucket, n)}
	for i := range f.buckets {
		f.Make(i)
	}
	return f
}

// Make makes an empty bucket with a creation time of its own, as after its
// deletion.
func (f *Fake) Make(bucket int) {
	f.made++
	f.buckets[bucket] = &fakeBucket{
		created: time.Unix(0, int64(f.made)).UTC().Format(time.RFC3339Nano),
		keys:    make(map[string]*message),
	}
}

// Drop deletes a bucket: its watches are lost, and its operations refused.
func (f *Fake) Drop(bucket int) {
	f.buckets[bucket] = &fakeBucket{gone: true}
	f.LoseWatches(bucket)
}

// Wipe deletes a bucket and makes it anew: it is empty, its creation time
// another, and its revisions begin again.
func (f *Fake) Wipe(bucket int) {
	f.Drop(bucket)
	f.Make(bucket)
}

// Created returns the creation time of a bucket, "" if it is gone.
func (f *Fake) Created(bucket int) string { return f.buckets[bucket].created }

// Last returns the highest revision of a bucket.
func (f *Fake) Last(bucket int) uint64 { return f.buckets[bucket].last }

// Keys returns the keys of a bucket that exist, sorted.
func (f *Fake) Keys(bucket int) []string {
	var keys []string
	for k, m := range f.buckets[bucket].keys {
		if !m.Deleted {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

// Get is [natskv.Store.Get].
func (f *Fake) Get(bucket int, key string) (natskv.Entry, error) {
	b := f.buckets[bucket]
	if b.gone {
		return natskv.Entry{}, fmt.Errorf("get %s: %w: %w", key, natskv.ErrRefused, natskv.ErrBucketGone)
	}
	if err := natskv.CheckKey(key); err != nil {
		return natskv.Entry{}, fmt.Errorf("get %s: %w", key, err)
	}
	m := b.keys[key]
	if m == nil || m.Deleted {
		return natskv.Entry{}, fmt.Errorf("get %s: %w", key, natskv.ErrNotFound)
	}
	return m.copy(), nil
}

// Create is [natskv.Store.Create].
func (f *Fake) Create(bucket int, key string, val []byte) (uint64, error) {
	b := f.buckets[bucket]
	if m := b.keys[key]; m != nil && !m.Deleted {
		return 0, fmt.Errorf("create %s: %w", key, natskv.ErrConflict)
	}
	return b.put("create", natskv.Entry{Key: key, Val: val})
}

// Update is [natskv.Store.Update].
func (f *Fake) Update(bucket int, key string, val []byte, rev uint64) (uint64, error) {
	b := f.buckets[bucket]
	if !b.gone && natskv.CheckKey(key) == nil && (rev == 0 || b.revision(key) != rev) {
		return 0, fmt.Errorf("update %s: %w", key, natskv.ErrConflict)
	}
	return b.put("update", natskv.Entry{Key: key, Val: val})
}

// Delete is [natskv.Store.Delete].
func (f *Fake) Delete(bucket int, key string, rev uint64) error {
	b := f.buckets[bucket]
	if !b.gone && natskv.CheckKey(key) == nil && (rev == 0 || b.revision(key) != rev) {
		return fmt.Errorf("delete %s: %w", key, natskv.ErrConflict)
	}
	_, err := b.put("delete", natskv.Entry{Key: key, Deleted: true})
	return err
}

// ExpireMarkers removes the delete markers of a bucket, which watches do not
// see. NATS does it a minute after the deletion, or never.
func (f *Fake) ExpireMarkers(bucket int) {
	b := f.buckets[bucket]
	for k, m := range b.keys {
		if m.Deleted {
			m.replaced = true
			delete(b.keys, k)
		}
	}
}

// revision is that of the last message of a key, delete markers included.
func (b *fakeBucket) revision(key string) uint64 {
	if m := b.keys[key]; m != nil {
		return m.Rev
	}
	return 0
}

func (b *fakeBucket) put(op string, e natskv.Entry) (uint64, error) {
	switch {
	case b.gone:
		return 0, fmt.Errorf("%s %s: %w: %w", op, e.Key, natskv.ErrRefused, natskv.ErrBucketGone)
	case natskv.CheckKey(e.Key) != nil:
		return 0, fmt.Errorf("%s %s: %w", op, e.Key, natskv.CheckKey(e.Key))
	}
	if old := b.keys[e.Key]; old != nil {
		old.replaced = true
	}
	b.last++
	e.Rev = b.last
	m := &message{Entry: e}
	m.Entry = m.copy() // the caller may use its bytes again
	b.keys[e.Key] = m
	b.log = append(b.log, m)
	if len(b.log) > 2*len(b.keys)+64 {
		b.sweep()
	}
	return b.last, nil
}

// sweep forgets what was replaced.
func (b *fakeBucket) sweep() {
	kept := make([]*message, 0, len(b.keys))
	for _, m := range b.log {
		if !m.replaced {
			kept = append(kept, m)
		}
	}
	b.log = kept
}

// next returns the first message after rev that matches, and whether another
// one follows it.
func (b *fakeBucket) next(filter string, rev uint64) (found *message, more bool) {
	start := sort.Search(len(b.log), func(i int) bool { return b.log[i].Rev > rev })
	for _, m := range b.log[start:] {
		if m.replaced || !matches(filter, m.Key) {
			continue
		}
		if found != nil {
			return found, true
		}
		found = m
	}
	return found, false
}

// matches reports whether a key matches an exact filter or one that ends with '>'.
func matches(filter, key string) bool {
	if prefix, wild := strings.CutSuffix(filter, ">"); wild {
		return strings.HasPrefix(key, prefix) && len(key) > len(prefix)
	}
	return filter == key
}

func (m *message) copy() natskv.Entry {
	e := m.Entry
	e.Val = append([]byte(nil), e.Val...)
	return e
}
