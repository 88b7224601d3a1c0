package parti_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// left lists what is in the buckets of a fleet: keys that are not deleted, but
// for assignments, and consumers. A bucket that does not exist holds nothing.
func left(t *testing.T, srv *partitest.Server) (found []string) {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // ephemeral consumers end a moment after their subscription
	for _, b := range []string{"parti-stableid", "parti-election", "parti-heartbeat", "parti-assignment"} {
		kv, err := js.KeyValue(t.Context(), b)
		if errors.Is(err, jetstream.ErrBucketNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		keys, err := kv.Keys(t.Context())
		if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
			t.Fatal(err)
		}
		if b != "parti-assignment" {
			for _, k := range keys {
				found = append(found, b+" "+k)
			}
		}
		s, err := js.Stream(t.Context(), "KV_"+b)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.ConsumerNames(t.Context()).Name() {
			found = append(found, b+" consumer "+name)
		}
	}
	return found
}

// nothingLeft fails if buckets hold more than assignments and, where leavers
// are granted theirs, heartbeats of those who left in good order.
func nothingLeft(t *testing.T, srv *partitest.Server, leavers bool) {
	t.Helper()
	for _, what := range left(t, srv) {
		if !leavers || !strings.HasPrefix(what, "parti-heartbeat worker.hb.") {
			t.Errorf("left: %s", what)
		}
	}
}

func TestStopLeavesNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 3, parti.Config{}, source.NewStatic(fleettest.Numbered(10)))
		startAll(t, ws...)
		for _, w := range ws {
			w.stop(t)
			if err := w.Start(t.Context()); !errors.Is(err, parti.ErrStopped) {
				t.Errorf("start after stop: %v", err)
			}
			if w.State() != parti.StateShutdown || w.Err() != nil {
				t.Errorf("state %v, err %v after stop", w.State(), w.Err())
			}
			<-w.Done()
			w.mu.Lock()
			if len(w.owned) > 0 {
				t.Errorf("%d partitions were not taken away before the end", len(w.owned))
			}
			w.mu.Unlock()
		}
		nothingLeft(t, srv, true)
	})
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	type start struct {
		cfg  parti.Config
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want error
		text string
	}
	after := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, d)
		}
	}
	for name, s := range map[string]start{
		"deadline in the window": {cfg: parti.Config{}, ctx: after(time.Second), want: context.DeadlineExceeded, text: "assignment"},
		"cancelled at once": {ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, want: context.Canceled},
		"startup timeout": {
			cfg: parti.Config{StartupTimeout: 2 * time.Second, ColdStartWindow: time.Hour, ColdStartSettle: time.Hour, PlannedScaleWindow: time.Second},
			ctx: after(3 * time.Hour), want: context.DeadlineExceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				// Without partitions to plan for, the fleet of one waits for ever.
				src := sourceFunc(func(context.Context) ([]parti.Partition, error) { return nil, errors.New("no list") })
				w := newWorker(t, srv, s.cfg, src)
				ctx, cancel := s.ctx(t.Context())
				defer cancel()
				err := w.Start(ctx)
				if !errors.Is(err, s.want) || !strings.Contains(err.Error(), s.text) {
					t.Errorf("start: %v, want %v with %q", err, s.want, s.text)
				}
				nothingLeft(t, srv, false)
				// The id can be claimed at once, by the same manager too.
				ok := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
				startAll(t, ok)
				if id := ok.WorkerID(); id != "worker-0" {
					t.Errorf("the next worker is %s", id)
				}
			})
		})
	}
}

// TestStartGivenUpAtAnyMoment cuts starts off within their first steps, while
// they claim and join, and while they wait.
func TestStartGivenUpAtAnyMoment(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range 60 {
			within := []time.Duration{20 * time.Microsecond, 300 * time.Millisecond, 2 * time.Second}[i%3]
			within = time.Duration(rng.Int64N(int64(within)))
			w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(5)))
			ctx, cancel := context.WithTimeout(t.Context(), within)
			err := w.Start(ctx)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || w.State() != parti.StateInit || w.WorkerID() != "" {
				t.Errorf("given up after %v: %v, %v, id %q", within, err, w.State(), w.WorkerID())
			}
			if nothingLeft(t, srv, false); t.Failed() {
				t.Fatalf("given up after %v", within)
			}
		}
	})
}

type sourceFunc func(context.Context) ([]parti.Partition, error)

func (f sourceFunc) ListPartitions(ctx context.Context) ([]parti.Partition, error) { return f(ctx) }

func TestIDsExhausted(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{WorkerIDMin: 1, WorkerIDMax: 3}
		src := source.NewStatic(fleettest.Numbered(10))
		ws := newWorkers(t, srv, 3, cfg, src)
		startAll(t, ws...)
		time.Sleep(30 * time.Second)
		began := time.Now()
		err := newWorker(t, srv, cfg, src).Start(t.Context())
		if !errors.Is(err, parti.ErrStableIDExhausted) || !strings.Contains(err.Error(), "worker-1 to worker-3") {
			t.Errorf("start: %v", err)
		}
		if took := time.Since(began); took > 2200*time.Millisecond {
			t.Errorf("said so after %v, want 1.1 × HeartbeatInterval", took)
		}
		check(t, 10, ws...)
	})
}

func TestStaleHolderOfAnIDStops(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		ws := newWorkers(t, srv, 2, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		_, others := leaderOf(t, ws...)
		w := others[0]
		was := w.WorkerID()
		js, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(t.Context(), "parti-stableid")
		if err != nil {
			t.Fatal(err)
		}
		key := "worker.id." + strings.TrimPrefix(was, "worker-")
		if _, err := kv.Put(t.Context(), key, []byte(`{"f":1,"inc":"ANOTHER","ttl":30000}`)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second) // the next renewal of the id
		synctest.Wait()
		if !w.reported(parti.ErrIDLost) {
			t.Errorf("reported %v", w.errors())
		}
		if now := w.WorkerID(); now == was || now == "" {
			t.Errorf("id is %q after %q was lost", now, was)
		}
		time.Sleep(30 * time.Second)
		check(t, 20, ws...)
	})
}
