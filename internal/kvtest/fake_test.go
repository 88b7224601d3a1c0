package kvtest_test

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeConforms(t *testing.T) {
	kvtest.Conformance(t, func(*testing.T) kvtest.KV { return kvtest.NewFake(natskv.Buckets).KV() })
}

// drain takes what a watch has to say now.
func drain(w *kvtest.FakeWatch) []string {
	var all []string
	for e, ok := w.Next(); ok; e, ok = w.Next() {
		all = append(all, kvtest.Describe(e))
	}
	return all
}

func wantEvents(t *testing.T, w *kvtest.FakeWatch, want ...string) {
	t.Helper()
	if got := drain(w); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func put(t *testing.T, f *kvtest.Fake, key, val string) uint64 {
	t.Helper()
	var rev uint64
	e, err := f.Get(0, key)
	if err == nil {
		rev, err = f.Update(0, key, []byte(val), e.Rev)
	} else {
		rev, err = f.Create(0, key, []byte(val))
	}
	if err != nil {
		t.Fatal(err)
	}
	return rev
}

func TestFakeWatchSkipsWhatWasOverwritten(t *testing.T) {
	f := kvtest.NewFake(1)
	w := f.Watch(0, "k.>")
	wantEvents(t, w, `@0="" synced`)
	put(t, f, "k.a", "1")
	put(t, f, "k.b", "1")
	put(t, f, "k.a", "2")
	wantEvents(t, w, `k.b@2="1"`, `k.a@3="2" synced`)
	wantEvents(t, w)
}

func TestFakeSweepKeepsWatchesRight(t *testing.T) {
	f := kvtest.NewFake(1)
	w, late := f.Watch(0, ">"), f.Watch(0, ">")
	wantEvents(t, w, `@0="" synced`)
	for i := range 1000 {
		rev := put(t, f, "k", fmt.Sprint(i))
		wantEvents(t, w, fmt.Sprintf(`k@%d="%d" synced`, rev, i))
	}
	wantEvents(t, late, `k@1000="999" synced`)
}

func TestFakeWipe(t *testing.T) {
	f := kvtest.NewFake(2)
	w, other := f.Watch(0, "k"), f.Watch(1, "k")
	wantEvents(t, w, `@0="" synced`)
	wantEvents(t, other, `@0="" synced`)
	put(t, f, "k", "1")
	before := f.Created(0)
	f.Wipe(0)
	wantEvents(t, w, `@0="" lost`)
	wantEvents(t, other)
	if _, err := f.Get(0, "k"); !errors.Is(err, natskv.ErrNotFound) {
		t.Errorf("get after the wipe: %v", err)
	}
	if f.Created(0) == before {
		t.Error("the creation time has not changed")
	}
	if rev := put(t, f, "k", "2"); rev != 1 {
		t.Errorf("revision is %d, want 1", rev)
	}
}

func TestFakeDrop(t *testing.T) {
	f := kvtest.NewFake(1)
	rev := put(t, f, "k", "1")
	f.Drop(0)
	_, getErr := f.Get(0, "k")
	_, createErr := f.Create(0, "x", nil)
	_, updateErr := f.Update(0, "k", nil, rev)
	for _, err := range []error{getErr, createErr, updateErr, f.Delete(0, "k", rev)} {
		if !errors.Is(err, natskv.ErrRefused) || !errors.Is(err, natskv.ErrBucketGone) {
			t.Errorf("got %v, want a refusal because the bucket is gone", err)
		}
	}
	wantEvents(t, f.Watch(0, "k"), `@0="" lost`)
}

func TestFakeRollback(t *testing.T) {
	f := kvtest.NewFake(1)
	put(t, f, "a", "1")
	put(t, f, "b", "1")
	snap := f.Snapshot()
	for range 2 {
		w := f.Watch(0, ">")
		drain(w)
		put(t, f, "a", "2")
		put(t, f, "c", "1")
		f.Rollback(snap)
		wantEvents(t, w, `@0="" lost`)
		wantEvents(t, f.Watch(0, ">"), `a@1="1"`, `b@2="1" synced`)
		if got := fmt.Sprint(f.Keys(0), f.Last(0)); got != "[a b] 2" {
			t.Errorf("keys and last revision after rollback: %s", got)
		}
	}
	if rev := put(t, f, "c", "1"); rev != 3 {
		t.Errorf("revision after the rollback is %d, want 3 again", rev)
	}
}

func TestFakeExpireMarkers(t *testing.T) {
	f := kvtest.NewFake(1)
	w := f.Watch(0, "k")
	rev := put(t, f, "k", "1")
	if err := f.Delete(0, "k", rev); err != nil {
		t.Fatal(err)
	}
	f.ExpireMarkers(0)
	wantEvents(t, w, `@0="" synced`)
	if _, err := f.Update(0, "k", nil, rev+1); !errors.Is(err, natskv.ErrConflict) {
		t.Errorf("update at the revision of an expired marker: %v", err)
	}
	if rev := put(t, f, "k", "2"); rev != 3 {
		t.Errorf("revision is %d, want 3", rev)
	}
}
