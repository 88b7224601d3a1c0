package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/natskv"
)

// patience bounds the wait for what must come; only a failing test waits it out.
const patience = 20 * time.Second

// Recorder collects the events of a watch.
type Recorder struct {
	events chan natskv.Event
}

// NewRecorder returns a Recorder with much room.
func NewRecorder() *Recorder { return &Recorder{events: make(chan natskv.Event, 1<<17)} }

// Take is the function to watch with. It panics when there is no room.
func (r *Recorder) Take(e natskv.Event) {
	select {
	case r.events <- e:
	default:
		panic("kvtest: more events than expected")
	}
}

// Next waits for the next event.
func (r *Recorder) Next(t *testing.T) natskv.Event {
	t.Helper()
	select {
	case e := <-r.events:
		return e
	case <-time.After(patience):
		t.Fatal("no event came")
		panic("unreachable")
	}
}

// Until collects events up to one for which ok holds.
func (r *Recorder) Until(t *testing.T, ok func(natskv.Event) bool) []natskv.Event {
	t.Helper()
	var all []natskv.Event
	for {
		e := r.Next(t)
		all = append(all, e)
		if ok(e) {
			return all
		}
	}
}

// Synced collects events up to the first that is Synced.
func (r *Recorder) Synced(t *testing.T) []natskv.Event {
	t.Helper()
	return r.Until(t, func(e natskv.Event) bool { return e.Synced })
}

// Empty fails the test if an event waits.
func (r *Recorder) Empty(t *testing.T) {
	t.Helper()
	select {
	case e := <-r.events:
		t.Fatalf("unexpected event %s", Describe(e))
	default:
	}
}

// Describe renders an event for people.
func Describe(e natskv.Event) string {
	s := fmt.Sprintf("%s@%d=%q", e.Key, e.Rev, e.Val)
	if e.Deleted {
		s += " deleted"
	}
	if e.Synced {
		s += " synced"
	}
	if e.Lost {
		s += " lost"
	}
	return s
}

// settled takes the events up to Synced and checks those that are about keys.
func settled(t *testing.T, r *Recorder, want ...string) {
	t.Helper()
	var got []string
	for _, e := range r.Synced(t) {
		if e.Key != "" {
			e.Synced = false
			got = append(got, Describe(e))
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got events %q, want %q", got, want)
	}
}

func watch(t *testing.T, kv KV, bucket int, filter, name string) *Recorder {
	t.Helper()
	r := NewRecorder()
	w := must(kv.Watch(t.Context(), bucket, filter, name, r.Take))(t)
	t.Cleanup(w.Stop)
	return r
}

func testWatchKey(t *testing.T, kv KV) {
	ctx := t.Context()
	r := watch(t, kv, 1, "g.head", "one")
	if e := r.Next(t); e.Key != "" || !e.Synced {
		t.Fatalf("first event of an absent key is %s, want one that only says synced", Describe(e))
	}
	must(kv.Create(ctx, 1, "g.heads", nil))(t)
	must(kv.Create(ctx, 1, "g.head.x", nil))(t)
	rev := must(kv.Create(ctx, 1, "g.head", []byte("a")))(t)
	settled(t, r, `g.head@3="a"`)
	for i := range 20 {
		rev = must(kv.Update(ctx, 1, "g.head", fmt.Append(nil, i), rev))(t)
		settled(t, r, fmt.Sprintf(`g.head@%d="%d"`, rev, i))
	}
	late := watch(t, kv, 1, "g.head", "two")
	settled(t, late, fmt.Sprintf(`g.head@%d="19"`, rev))
	wantErr(t, "delete", kv.Delete(ctx, 1, "g.head", rev), nil)
	settled(t, r, fmt.Sprintf(`g.head@%d="" deleted`, rev+1))
	settled(t, late, fmt.Sprintf(`g.head@%d="" deleted`, rev+1))
	r.Empty(t)
	late.Empty(t)
}

func testWatchPrefix(t *testing.T, kv KV) {
	ctx := t.Context()
	first := must(kv.Create(ctx, 2, "g.hb.w0", []byte("0")))(t)
	must(kv.Create(ctx, 2, "g.hb.w1", []byte("1")))(t)
	must(kv.Create(ctx, 2, "g.hbx.w2", nil))(t)
	must(kv.Create(ctx, 2, "h.hb.w3", nil))(t)
	must(kv.Create(ctx, 2, "g.hb", nil))(t)
	must(kv.Update(ctx, 2, "g.hb.w0", []byte("00"), first))(t)
	r := watch(t, kv, 2, "g.hb.>", "prefix")
	settled(t, r, `g.hb.w1@2="1"`, `g.hb.w0@6="00"`)
	must(kv.Create(ctx, 2, "h.hb.w4", nil))(t)
	must(kv.Create(ctx, 2, "g.hb.a.b", []byte("deep")))(t)
	settled(t, r, `g.hb.a.b@8="deep"`)

	all := watch(t, kv, 2, ">", "all")
	settled(t, all, `g.hb.w1@2="1"`, `g.hbx.w2@3=""`, `h.hb.w3@4=""`, `g.hb@5=""`, `g.hb.w0@6="00"`, `h.hb.w4@7=""`, `g.hb.a.b@8="deep"`)
	none := watch(t, kv, 2, "x.>", "none")
	if e := none.Next(t); e.Key != "" || !e.Synced {
		t.Fatalf("first event of an empty prefix is %s, want one that only says synced", Describe(e))
	}
}

func testWatchMarkers(t *testing.T, kv KV) {
	ctx := t.Context()
	one := must(kv.Create(ctx, 0, "g.id.1", []byte("1")))(t)
	must(kv.Create(ctx, 0, "g.id.2", []byte("2")))(t)
	wantErr(t, "delete", kv.Delete(ctx, 0, "g.id.1", one), nil)
	r := watch(t, kv, 0, "g.id.>", "markers")
	settled(t, r, `g.id.2@2="2"`, `g.id.1@3="" deleted`)
	must(kv.Create(ctx, 0, "g.id.1", []byte("again")))(t)
	settled(t, r, `g.id.1@4="again"`)
}

func testWatchStop(t *testing.T, kv KV) {
	ctx := t.Context()
	stopped, running := NewRecorder(), watch(t, kv, 0, "k", "running")
	w := must(kv.Watch(ctx, 0, "k", "stopped", stopped.Take))(t)
	settled(t, stopped)
	settled(t, running)
	w.Stop()
	w.Stop()
	must(kv.Create(ctx, 0, "k", []byte("x")))(t)
	settled(t, running, `k@1="x"`)
	stopped.Empty(t)
}

// testWatchRace begins watches while keys that always exist are overwritten.
func testWatchRace(t *testing.T, kv KV) {
	const keys, writers, watches = 60, 3, 40
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	name := func(i int) string { return fmt.Sprintf("g.hb.w%d", i) }
	var last [keys]uint64
	for i := range keys {
		last[i] = must(kv.Create(t.Context(), 2, name(i), []byte("0")))(t)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for writer := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(writer)))
			for ctx.Err() == nil {
				// Each key has one writer.
				i := random.IntN(keys/writers)*writers + writer
				rev, err := kv.Update(t.Context(), 2, name(i), fmt.Append(nil, last[i]), last[i])
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("update %s: %v", name(i), err)
					return
				}
				last[i] = rev
			}
		})
	}
	seen := make([]progress, watches)
	recorders := make([]*Recorder, watches)
	for n := range watches {
		recorders[n] = watch(t, kv, 2, "g.hb.>", fmt.Sprintf("race%d", n))
		seen[n].newest = make(map[string]uint64)
		seen[n].follow(t, recorders[n].Synced(t)...)
		if len(seen[n].newest) != keys {
			t.Fatalf("watch %d: synced with %d of %d keys", n, len(seen[n].newest), keys)
		}
	}
	cancel()
	wg.Wait()
	for n, r := range recorders {
		// Everything comes, in the end.
		for i := range keys {
			for seen[n].newest[name(i)] != last[i] {
				seen[n].follow(t, r.Next(t))
			}
		}
	}
}

// progress is what a watch has delivered.
type progress struct {
	top    uint64
	newest map[string]uint64
}

// follow notes the newest revision of each key, which must come in order.
func (p *progress) follow(t *testing.T, events ...natskv.Event) {
	t.Helper()
	for _, e := range events {
		switch {
		case e.Lost:
			t.Fatal("the watch was lost")
		case e.Key == "":
		case e.Rev <= p.top:
			t.Fatalf("revision %d came after %d", e.Rev, p.top)
		default:
			p.top, p.newest[e.Key] = e.Rev, e.Rev
		}
	}
}
