package parti

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

func TestBucketSettingsReachTheStore(t *testing.T) {
	cfg := KVBucketConfig{StableIDBucket: "a", ElectionBucket: "b", HeartbeatBucket: "c", AssignmentBucket: "d", Replicas: 3, Storage: StorageFile}
	want := natskv.Config{Buckets: [core.NumBuckets]string{"a", "b", "c", "d"}, Replicas: 3}
	if got := natskvConfig(&cfg); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	cfg.Storage, want.Memory = StorageMemory, true
	if got := natskvConfig(&cfg); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestOperationsAreTranslated(t *testing.T) {
	errs := map[string]error{
		"conflict": natskv.ErrConflict, "absent": natskv.ErrNotFound, "down": natskv.ErrDown, "none": natskv.ErrNoConnection,
		"lost": natskv.ErrAmbiguous, "refused": natskv.ErrRefused, "js": natskv.ErrNoJetStream, "strange": errors.New("strange"),
	}
	want := map[string]core.ErrKind{
		"ok": core.OK, "conflict": core.Conflict, "absent": core.NotFound, "down": core.Down, "none": core.Down,
		"lost": core.Ambiguous, "refused": core.Failed, "js": core.Failed, "strange": core.Ambiguous,
	}
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.store.do = func(_ context.Context, verb core.Verb, bucket int, key string) (natskv.Entry, error) {
			if verb == core.Get && bucket != int(core.Assignments) {
				t.Errorf("bucket %d", bucket)
			}
			if errs[key] != nil {
				return natskv.Entry{}, fmt.Errorf("key %s: %w", key, errs[key])
			}
			return natskv.Entry{Val: []byte("v"), Rev: 7}, nil
		}
		ops := map[core.OpID]core.KV{}
		m.onCue(func(uint64) (effects []core.Effect) {
			for key := range want {
				for _, v := range []core.Verb{core.Get, core.Create, core.Update, core.Delete} {
					op := core.KV{Op: core.OpID(len(ops) + 1), Verb: v, Bucket: core.Assignments, Key: key, Timeout: time.Second}
					ops[op.Op] = op
					effects = append(effects, op)
				}
			}
			return effects
		})
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait()
		done := doneOf(m.core)
		for id, op := range ops {
			d, ok := done[id]
			if !ok || d.Err != want[op.Key] {
				t.Errorf("%d %s: %+v", op.Verb, op.Key, d)
			}
			if (d.Text == "") != (op.Key == "ok") {
				t.Errorf("%s: text %q", op.Key, d.Text)
			}
			if op.Key == "ok" && (op.Verb == core.Get && string(d.Val) != "v" || op.Verb != core.Delete && d.Rev != 7) {
				t.Errorf("%d %s: %+v", op.Verb, op.Key, d)
			}
		}
		m.mustStop(t)
	})
}

func TestOperationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		var mu sync.Mutex
		var now, most int
		var order []string
		m.store.do = func(ctx context.Context, _ core.Verb, _ int, key string) (natskv.Entry, error) {
			mu.Lock()
			now++
			most = max(most, now)
			order = append(order, key)
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			now--
			mu.Unlock()
			return natskv.Entry{}, ctx.Err()
		}
		m.onCue(func(uint64) (effects []core.Effect) {
			for i := range 3 * maxOps {
				timeout := time.Second
				if i >= maxOps {
					timeout = 1500 * time.Millisecond
				}
				effects = append(effects, core.KV{Op: core.OpID(i + 1), Key: fmt.Sprintf("%03d", i), Timeout: timeout})
			}
			return effects
		})
		m.mustStart(t)
		m.post(cue(0))
		pass(5 * time.Second)
		if most != maxOps || len(order) != 2*maxOps {
			t.Errorf("%d at a time, %d sent", most, len(order))
		}
		for i, key := range order {
			if i >= maxOps && key < order[0] {
				t.Errorf("%s overtook", key)
			}
		}
		done := doneOf(m.core)
		if d := done[1]; d.Err != core.Ambiguous {
			t.Errorf("unanswered: %+v", d)
		}
		if d := done[3*maxOps]; d.Err != core.Failed || !strings.Contains(d.Text, "not sent") {
			t.Errorf("too late to be sent: %+v", d)
		}
		if names, _ := m.run.own.names("following the connection"); len(names) != 0 {
			t.Errorf("idle: %v", names)
		}
		m.mustStop(t)
	})
}

func TestStopEndsOperationsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.store.do = func(ctx context.Context, _ core.Verb, _ int, _ string) (natskv.Entry, error) {
			<-ctx.Done()
			return natskv.Entry{}, ctx.Err()
		}
		m.onCue(func(uint64) []core.Effect { return []core.Effect{core.KV{Op: 1, Timeout: time.Hour}} })
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait()
		began := time.Now()
		m.mustStop(t)
		if time.Since(began) != 0 {
			t.Errorf("took %v", time.Since(began))
		}
	})
}

func TestWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		fns := map[string]func(natskv.Event){}
		var stopped []string
		var mu sync.Mutex
		m.store.watch = func(ctx context.Context, filter string, fn func(natskv.Event)) (func(), error) {
			switch filter {
			case "refused":
				return nil, natskv.ErrRefused
			case "slow":
				<-ctx.Done()
				return nil, ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			fns[filter] = fn
			return func() { mu.Lock(); defer mu.Unlock(); stopped = append(stopped, filter) }, nil
		}
		m.onCue(func(n uint64) []core.Effect {
			if n == 1 {
				return []core.Effect{core.Unwatch{ID: 1}, core.Unwatch{ID: 3}}
			}
			return []core.Effect{
				core.Watch{ID: 1, Filter: "a"},
				core.Watch{ID: 2, Filter: "refused"},
				core.Watch{ID: 3, Filter: "slow"},
				core.Watch{ID: 4, Filter: "b"},
				core.Watch{ID: 5, Filter: "slow"},
			}
		})
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait()
		fns["a"](natskv.Event{Entry: natskv.Entry{Key: "k", Val: []byte("v"), Rev: 3}})
		fns["a"](natskv.Event{Synced: true})
		fns["b"](natskv.Event{Entry: natskv.Entry{Key: "x", Rev: 4, Deleted: true}})
		fns["b"](natskv.Event{Lost: true})
		synctest.Wait()
		w := seen[core.Watched](m.core)
		if len(w) != 3 || w[0].Watch != 1 || w[0].Key != "k" || w[0].Rev != 3 || string(w[0].Val) != "v" || !w[1].Synced || !w[2].Deleted {
			t.Errorf("events %+v", w)
		}
		lost := seen[core.WatchLost](m.core)
		if len(lost) != 2 || lost[0].Watch != 2 || lost[1].Watch != 4 {
			t.Errorf("lost %+v", lost)
		}
		for _, l := range lost { // only a watch that could not be made has failed
			if failed := l.Watch == 2; (l.Err != core.OK) != failed || (l.Text != "") != failed {
				t.Errorf("lost %+v", l)
			}
		}
		m.post(cue(1))
		synctest.Wait()
		if len(stopped) != 1 || stopped[0] != "a" {
			t.Errorf("stopped %v", stopped)
		}
		pass(m.cfg.OperationTimeout)
		synctest.Wait()
		if lost := seen[core.WatchLost](m.core); lost[len(lost)-1].Watch != 5 || lost[len(lost)-1].Err != core.Ambiguous {
			t.Errorf("a watch that is not made in time is not lost: %+v", lost)
		}
		m.mustStop(t)
		if len(stopped) != 2 || stopped[1] != "b" {
			t.Errorf("stopped %v", stopped)
		}
	})
}

// A plan may write a thousand payloads: what keeps ids and leases alive goes first.
func TestLeasesOvertakePayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		var mu sync.Mutex
		var order []string
		answer := make(chan struct{})
		m.store.do = func(_ context.Context, _ core.Verb, _ int, key string) (natskv.Entry, error) {
			mu.Lock()
			order = append(order, key)
			mu.Unlock()
			<-answer
			return natskv.Entry{}, nil
		}
		m.onCue(func(n uint64) (effects []core.Effect) {
			if n == 1 {
				return []core.Effect{core.KV{Op: 1000, Bucket: core.Heartbeats, Key: "beat", Timeout: time.Minute}}
			}
			for i := range 2 * maxOps {
				effects = append(effects, core.KV{Op: core.OpID(i + 1), Bucket: core.Assignments, Key: fmt.Sprintf("part-%03d", i), Timeout: time.Minute})
			}
			return effects
		})
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait()
		m.post(cue(1))
		synctest.Wait()
		answer <- struct{}{}
		synctest.Wait()
		if len(order) != maxOps+1 || order[maxOps] != "beat" {
			t.Errorf("%d sent, want %d and the heartbeat next: %v", len(order), maxOps+1, order)
		}
		close(answer)
		synctest.Wait()
		if n := len(doneOf(m.core)); n != 2*maxOps+1 {
			t.Errorf("%d answers, want %d", n, 2*maxOps+1)
		}
		m.mustStop(t)
	})
}
