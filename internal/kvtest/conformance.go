package kvtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/arloliu/parti/internal/natskv"
)

// Conformance checks that a store does what natskv promises. open returns a
// fresh store with four empty buckets.
func Conformance(t *testing.T, open func(t *testing.T) KV) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, kv KV)
	}{
		{"create and get", testCreate},
		{"update compares revisions", testUpdate},
		{"delete compares revisions", testDelete},
		{"create again after delete", testRecreate},
		{"buckets are separate", testBuckets},
		{"values", testValues},
		{"bad keys are refused", testBadKeys},
		{"nothing is done once the context has ended", testContext},
		{"one of many creates", testRaceCreate},
		{"one of many creates over a marker", testRaceRecreate},
		{"no update is lost", testRaceUpdate},
		{"watch a key", testWatchKey},
		{"watch a prefix", testWatchPrefix},
		{"watch delete markers", testWatchMarkers},
		{"watches end", testWatchStop},
		{"watch under concurrent writes", testWatchRace},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Helper()
			c.test(t, open(t))
		})
	}
}

func testCreate(t *testing.T, kv KV) {
	ctx := t.Context()
	if kv.Created(0) == "" {
		t.Error("no creation time")
	}
	_, err := kv.Get(ctx, 0, "g.id.0")
	wantErr(t, "get of an absent key", err, natskv.ErrNotFound)
	rev := must(kv.Create(ctx, 0, "g.id.0", []byte("a")))(t)
	if rev != 1 {
		t.Errorf("first revision is %d, want 1", rev)
	}
	wantGet(t, kv, 0, "g.id.0", "a", rev)
	_, err = kv.Create(ctx, 0, "g.id.0", []byte("b"))
	wantErr(t, "create of a key that exists", err, natskv.ErrConflict)
	wantGet(t, kv, 0, "g.id.0", "a", rev)
	if rev := must(kv.Create(ctx, 0, "g.id.1", []byte("b")))(t); rev != 2 {
		t.Errorf("second revision is %d, want 2: failed writes leave no trace", rev)
	}
}

func testUpdate(t *testing.T, kv KV) {
	ctx := t.Context()
	_, err := kv.Update(ctx, 1, "k", []byte("x"), 0)
	wantErr(t, "update at revision 0", err, natskv.ErrConflict)
	_, err = kv.Update(ctx, 1, "k", []byte("x"), 7)
	wantErr(t, "update of an absent key", err, natskv.ErrConflict)
	first := must(kv.Create(ctx, 1, "k", []byte("1")))(t)
	must(kv.Create(ctx, 1, "other", nil))(t)
	second := must(kv.Update(ctx, 1, "k", []byte("2"), first))(t)
	if second != 3 {
		t.Errorf("revision after two creates is %d, want 3: the sequence is the bucket's", second)
	}
	_, err = kv.Update(ctx, 1, "k", []byte("3"), first)
	wantErr(t, "update at an old revision", err, natskv.ErrConflict)
	_, err = kv.Update(ctx, 1, "k", []byte("3"), second+1)
	wantErr(t, "update at a future revision", err, natskv.ErrConflict)
	_, err = kv.Update(ctx, 1, "k", []byte("3"), 0)
	wantErr(t, "update at revision 0 of a key that exists", err, natskv.ErrConflict)
	wantGet(t, kv, 1, "k", "2", second)
}

func testDelete(t *testing.T, kv KV) {
	ctx := t.Context()
	wantErr(t, "delete of an absent key", kv.Delete(ctx, 0, "k", 1), natskv.ErrConflict)
	wantErr(t, "delete at revision 0", kv.Delete(ctx, 0, "k", 0), natskv.ErrConflict)
	first := must(kv.Create(ctx, 0, "k", []byte("1")))(t)
	second := must(kv.Update(ctx, 0, "k", []byte("2"), first))(t)
	wantErr(t, "delete at an old revision", kv.Delete(ctx, 0, "k", first), natskv.ErrConflict)
	wantErr(t, "delete at revision 0 of a key that exists", kv.Delete(ctx, 0, "k", 0), natskv.ErrConflict)
	wantGet(t, kv, 0, "k", "2", second)
	wantErr(t, "delete", kv.Delete(ctx, 0, "k", second), nil)
	_, err := kv.Get(ctx, 0, "k")
	wantErr(t, "get of a deleted key", err, natskv.ErrNotFound)
	wantErr(t, "second delete", kv.Delete(ctx, 0, "k", second), natskv.ErrConflict)
	_, err = kv.Update(ctx, 0, "k", []byte("3"), second)
	wantErr(t, "update at the revision before the delete", err, natskv.ErrConflict)
}

func testRecreate(t *testing.T, kv KV) {
	ctx := t.Context()
	first := must(kv.Create(ctx, 0, "k", []byte("1")))(t)
	wantErr(t, "delete", kv.Delete(ctx, 0, "k", first), nil)
	again := must(kv.Create(ctx, 0, "k", []byte("2")))(t)
	if again != 3 {
		t.Errorf("revision is %d, want 3: the marker has one of its own", again)
	}
	wantGet(t, kv, 0, "k", "2", again)
	_, err := kv.Create(ctx, 0, "k", []byte("3"))
	wantErr(t, "create of a key that exists again", err, natskv.ErrConflict)
	wantErr(t, "delete at the first revision", kv.Delete(ctx, 0, "k", first), natskv.ErrConflict)
	wantErr(t, "delete", kv.Delete(ctx, 0, "k", again), nil)
	last := must(kv.Update(ctx, 0, "k", []byte("4"), again+1))(t) // over the marker, by its revision
	wantGet(t, kv, 0, "k", "4", last)
}

func testBuckets(t *testing.T, kv KV) {
	ctx := t.Context()
	for b := range natskv.Buckets {
		if rev := must(kv.Create(ctx, b, "k", fmt.Append(nil, b)))(t); rev != 1 {
			t.Errorf("first revision in bucket %d is %d, want 1", b, rev)
		}
	}
	for b := range natskv.Buckets {
		wantGet(t, kv, b, "k", fmt.Sprint(b), 1)
	}
}

func testValues(t *testing.T, kv KV) {
	ctx := t.Context()
	rev := must(kv.Create(ctx, 3, "empty", nil))(t)
	wantGet(t, kv, 3, "empty", "", rev)
	big := strings.Repeat("\x00\xff\r\n", 50_000)
	rev = must(kv.Create(ctx, 3, "big", []byte(big)))(t)
	wantGet(t, kv, 3, "big", big, rev)

	buf := []byte("mine")
	rev = must(kv.Create(ctx, 3, "copy", buf))(t)
	copy(buf, "xxxx")
	e := must(kv.Get(ctx, 3, "copy"))(t)
	copy(e.Val, "yyyy")
	wantGet(t, kv, 3, "copy", "mine", rev)
}

func testBadKeys(t *testing.T, kv KV) {
	ctx := t.Context()
	for _, key := range []string{"", ".", ".a", "a.", "a..b", "a b", "a.*", "a.>", ">", "a\r\n", "ä"} {
		_, err := kv.Create(ctx, 0, key, nil)
		wantErr(t, fmt.Sprintf("create %q", key), err, natskv.ErrRefused)
		_, err = kv.Update(ctx, 0, key, nil, 1)
		wantErr(t, fmt.Sprintf("update %q", key), err, natskv.ErrRefused)
		_, err = kv.Get(ctx, 0, key)
		wantErr(t, fmt.Sprintf("get %q", key), err, natskv.ErrRefused)
		wantErr(t, fmt.Sprintf("delete %q", key), kv.Delete(ctx, 0, key, 1), natskv.ErrRefused)
	}
	for _, filter := range []string{"", "a*", "a>", "*.a", "a.>.b", ".>"} {
		_, err := kv.Watch(ctx, 0, filter, "w", func(natskv.Event) {})
		wantErr(t, fmt.Sprintf("watch %q", filter), err, natskv.ErrRefused)
	}
}

func testContext(t *testing.T, kv KV) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := kv.Create(ctx, 0, "k", nil)
	wantErr(t, "create", err, natskv.ErrRefused)
	wantErr(t, "create", err, context.Canceled)
	_, err = kv.Watch(ctx, 0, "k", "w", func(natskv.Event) {})
	wantErr(t, "watch", err, context.Canceled)
	if rev := must(kv.Create(t.Context(), 0, "k", nil))(t); rev != 1 {
		t.Errorf("revision is %d, want 1: nothing was written", rev)
	}
}

func testRaceCreate(t *testing.T, kv KV) {
	for round := range 5 {
		key := fmt.Sprintf("k.%d", round)
		if won := race(t, 50, func(i int) error {
			_, err := kv.Create(t.Context(), 0, key, fmt.Append(nil, i))
			return err
		}); won != 1 {
			t.Fatalf("%d of 50 created the same key", won)
		}
	}
}

func testRaceRecreate(t *testing.T, kv KV) {
	for round := range 5 {
		key := fmt.Sprintf("k.%d", round)
		rev := must(kv.Create(t.Context(), 0, key, nil))(t)
		wantErr(t, "delete", kv.Delete(t.Context(), 0, key, rev), nil)
		if won := race(t, 20, func(i int) error {
			_, err := kv.Create(t.Context(), 0, key, fmt.Append(nil, i))
			return err
		}); won != 1 {
			t.Fatalf("%d of 20 created the same key", won)
		}
	}
}

// race runs fn n times at once, returns how often it succeeded, and fails the
// test on errors other than conflicts.
func race(t *testing.T, n int, fn func(i int) error) int {
	t.Helper()
	var won atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			switch err := fn(i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, natskv.ErrConflict):
				t.Errorf("got %v, want a conflict", err)
			}
		})
	}
	close(begin)
	wg.Wait()
	return int(won.Load())
}

func testRaceUpdate(t *testing.T, kv KV) {
	const workers, rounds = 8, 25
	ctx := t.Context()
	must(kv.Create(ctx, 2, "count", []byte("0")))(t)
	race(t, workers, func(int) error {
		for range rounds {
			for {
				e, err := kv.Get(ctx, 2, "count")
				if err != nil {
					return err
				}
				var n int
				if _, err := fmt.Sscan(string(e.Val), &n); err != nil {
					return err
				}
				_, err = kv.Update(ctx, 2, "count", fmt.Append(nil, n+1), e.Rev)
				if err == nil {
					break
				}
				if !errors.Is(err, natskv.ErrConflict) {
					return err
				}
			}
		}
		return nil
	})
	e := must(kv.Get(ctx, 2, "count"))(t)
	if got, want := string(e.Val), fmt.Sprint(workers*rounds); got != want {
		t.Errorf("counted to %s, want %s", got, want)
	}
}

// must returns a function that fails the test on err and returns v.
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got error %v, want %v", what, got, want)
	}
}

func wantGet(t *testing.T, kv KV, bucket int, key, val string, rev uint64) {
	t.Helper()
	e := must(kv.Get(t.Context(), bucket, key))(t)
	if e.Key != key || string(e.Val) != val || e.Rev != rev || e.Deleted {
		t.Fatalf("get %s: got key %s, %d bytes at revision %d, deleted %v, want %d bytes at %d",
			key, e.Key, len(e.Val), e.Rev, e.Deleted, len(val), rev)
	}
}
