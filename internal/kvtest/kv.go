package kvtest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/arloliu/parti/internal/natskv"
)

// KV is what [natskv.Store] and [FakeKV] have in common.
type KV interface {
	Created(bucket int) string
	Get(ctx context.Context, bucket int, key string) (natskv.Entry, error)
	Create(ctx context.Context, bucket int, key string, val []byte) (uint64, error)
	Update(ctx context.Context, bucket int, key string, val []byte, rev uint64) (uint64, error)
	Delete(ctx context.Context, bucket int, key string, rev uint64) error
	Watch(ctx context.Context, bucket int, filter, name string, fn func(natskv.Event)) (Stopper, error)
}

// Stopper is a running watch.
type Stopper interface{ Stop() }

// Real is a store on NATS as a [KV].
type Real struct{ *natskv.Store }

// Watch is [natskv.Store.Watch].
func (r Real) Watch(ctx context.Context, bucket int, filter, name string, fn func(natskv.Event)) (Stopper, error) {
	w, err := r.Store.Watch(ctx, bucket, filter, name, fn)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// FakeKV is a [Fake] as a [KV], for use by many goroutines. Events are
// delivered by whoever makes a change, before it returns.
type FakeKV struct {
	mu      sync.Mutex
	f       *Fake
	watches []*kvWatch
}

type kvWatch struct {
	kv *FakeKV
	w  *FakeWatch
	fn func(natskv.Event)
}

// KV returns the fake as a KV. From then on, use the fake by [FakeKV.Do] only.
func (f *Fake) KV() *FakeKV { return &FakeKV{f: f} }

// Do runs fn on the fake alone, and then delivers events.
func (k *FakeKV) Do(fn func(f *Fake)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	fn(k.f)
	for _, w := range k.watches {
		for e, ok := w.w.Next(); ok; e, ok = w.w.Next() {
			w.fn(e)
		}
	}
	k.watches = slices.DeleteFunc(k.watches, func(w *kvWatch) bool { return w.w.ended })
}

// Created is [natskv.Store.Created].
func (k *FakeKV) Created(bucket int) (created string) {
	k.Do(func(f *Fake) { created = f.Created(bucket) })
	return created
}

// Get is [natskv.Store.Get].
func (k *FakeKV) Get(ctx context.Context, bucket int, key string) (e natskv.Entry, err error) {
	k.guard(ctx, &err, func(f *Fake) { e, err = f.Get(bucket, key) })
	return e, err
}

// Create is [natskv.Store.Create].
func (k *FakeKV) Create(ctx context.Context, bucket int, key string, val []byte) (rev uint64, err error) {
	k.guard(ctx, &err, func(f *Fake) { rev, err = f.Create(bucket, key, val) })
	return rev, err
}

// Update is [natskv.Store.Update].
func (k *FakeKV) Update(ctx context.Context, bucket int, key string, val []byte, old uint64) (rev uint64, err error) {
	k.guard(ctx, &err, func(f *Fake) { rev, err = f.Update(bucket, key, val, old) })
	return rev, err
}

// Delete is [natskv.Store.Delete].
func (k *FakeKV) Delete(ctx context.Context, bucket int, key string, rev uint64) (err error) {
	k.guard(ctx, &err, func(f *Fake) { err = f.Delete(bucket, key, rev) })
	return err
}

// Watch is [natskv.Store.Watch]. The present values are delivered before it
// returns.
func (k *FakeKV) Watch(ctx context.Context, bucket int, filter, _ string, fn func(natskv.Event)) (Stopper, error) {
	w := &kvWatch{kv: k, fn: fn}
	var err error
	k.guard(ctx, &err, func(f *Fake) {
		if err = natskv.CheckFilter(filter); err != nil {
			return
		}
		if f.buckets[bucket].gone {
			err = fmt.Errorf("watch %s: %w: %w", filter, natskv.ErrRefused, natskv.ErrBucketGone)
			return
		}
		w.w = f.Watch(bucket, filter)
		k.watches = append(k.watches, w)
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Stop ends the watch.
func (w *kvWatch) Stop() {
	w.kv.mu.Lock()
	defer w.kv.mu.Unlock()
	w.w.Stop()
}

// guard does nothing if ctx has ended.
func (k *FakeKV) guard(ctx context.Context, err *error, fn func(f *Fake)) {
	if *err = ctx.Err(); *err != nil {
		*err = fmt.Errorf("%w: not sent: %w", natskv.ErrRefused, *err)
		return
	}
	k.Do(fn)
}
