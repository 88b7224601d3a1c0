package parti_test

import (
	"context"
	"errors"
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

// keys lists the keys of a bucket that are not deleted.
func keys(t *testing.T, js jetstream.JetStream, bucket string) []string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	all, err := kv.Keys(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatal(err)
	}
	return all
}

// nothingLeft fails if a bucket has keys other than the head and the heartbeats
// of leavers, or consumers.
func nothingLeft(t *testing.T, srv *partitest.Server) {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // ephemeral consumers end a moment after their subscription
	for _, b := range []string{"parti-stableid", "parti-election", "parti-heartbeat", "parti-assignment"} {
		if b == "parti-stableid" || b == "parti-election" {
			if ks := keys(t, js, b); len(ks) > 0 {
				t.Errorf("%s holds %v", b, ks)
			}
		}
		s, err := js.Stream(t.Context(), "KV_"+b)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.ConsumerNames(t.Context()).Name() {
			t.Errorf("%s has the consumer %s", b, name)
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
		nothingLeft(t, srv)
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
				if !errors.Is(s.want, context.Canceled) {
					nothingLeft(t, srv)
				}
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
