package subscription

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	partitest "github.com/arloliu/parti/testing"
)

// questions counts what is asked about durables.
func (w *world) questions() *atomic.Int64 {
	w.t.Helper()
	var n atomic.Int64
	_, err := w.srv.Connect(w.t).Subscribe("$JS.API.CONSUMER.INFO.>", func(*nats.Msg) { n.Add(1) })
	ok(w.t, err)
	settle()
	return &n
}

// abandon ends a helper without waiting for its handlers.
func (w *world) abandon(h *DurableHelper) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	cancel()
	_ = h.UpdateWorkerConsumer(ctx, w.worker(h), nil)
}

// TestBacklogOfAStuckPartitionIsKnown: what waits for a partition is told also where
// nothing is delivered any more, and is forgotten when it has gone.
func TestBacklogOfAStuckPartitionIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		change func(cfg *DurableConfig)
		handle func(ctx context.Context) error
	}{
		"stuck": {func(*DurableConfig) {}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		"fails": {func(cfg *DurableConfig) { cfg.Backoff = []time.Duration{time.Minute} }, func(context.Context) error { return errors.New("no") }},
		"slow": {func(*DurableConfig) {}, func(ctx context.Context) error {
			select {
			case <-time.After(20 * time.Second):
			case <-ctx.Done():
			}
			return ctx.Err()
		}},
		"unordered": {func(cfg *DurableConfig) { cfg.Unordered, cfg.Concurrency = true, 2 }, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
		"shared":    {func(cfg *DurableConfig) { cfg.Layout = PerWorker }, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, w *world) {
				cfg := w.config()
				cfg.HandlerTimeout = -1
				c.change(&cfg)
				cfg.MaxAckPending = cfg.BatchSize
				h := w.helper(cfg, func(ctx context.Context, _ jetstream.Msg) error { return c.handle(ctx) })
				p, idle := part("p"), part("idle")
				w.assign(h, p, idle)
				w.publish(100, p)
				time.Sleep(time.Minute)
				w.publish(1000, p)
				time.Sleep(2*backlogAge + time.Second)
				if all, _ := lag(h); name != "shared" && (all < 1050 || all > 1100) || all < 1050 {
					t.Errorf("%d messages wait", all)
				}
				stream, err := w.js.Stream(t.Context(), "WORK")
				ok(t, err)
				ok(t, stream.Purge(t.Context()))
				time.Sleep(2*backlogAge + time.Second)
				if all, _ := lag(h); all != 0 {
					t.Errorf("%d messages wait in an empty stream", all)
				}
				w.abandon(h)
			})
		})
	}
}

// What was known to wait, and has gone without being delivered, is forgotten.
func TestBacklogGoes(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.BatchSize, cfg.MaxAckPending = 1, 1
		h := w.helper(cfg, func(context.Context, jetstream.Msg) error { time.Sleep(2 * time.Second); return nil })
		w.assign(h, part("p"))
		w.publish(9, part("p"))
		time.Sleep(3 * time.Second)
		if all, _ := lag(h); all != 7 {
			t.Errorf("%d messages wait", all)
		}
		stream, err := w.js.Stream(t.Context(), "WORK")
		ok(t, err)
		ok(t, stream.Purge(t.Context()))
		time.Sleep(2*backlogAge + backlogAge/4)
		if all, _ := lag(h); all != 0 {
			t.Errorf("%d messages wait in an empty stream", all)
		}
	})
}

// TestBacklogOfAFailingPullIsKnown: a worker that may not pull says so, and what waits.
func TestBacklogOfAFailingPullIsKnown(t *testing.T) {
	denied := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.MSG.NEXT.>"}}}
	users := partitest.WithServerOptions(func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "a"}, {Username: "worker", Password: "w", Permissions: denied}}
		o.NoAuthUser = "admin"
	})
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorld(t, srv, jetstream.StreamConfig{})
		h := w.helperOn(w.srv.Connect(t, nats.UserInfo("worker", "w")), w.config(), w.plain)
		p, empty := part("p"), part("empty")
		w.assign(h, p, empty)
		w.publish(100, p)
		time.Sleep(3*time.Minute + backlogAge/4)
		for _, s := range h.Stats() {
			if !s.Failing || s.Partition.Compare(p) == 0 && s.Pending != 100 {
				t.Errorf("%+v", s)
			}
		}
		w.srv.Reload(func(o *server.Options) { o.Users[1].Permissions = &server.Permissions{} })
		w.until(100)
		settle()
		for _, s := range h.Stats() {
			if s.Failing && s.Partition.Compare(p) == 0 {
				t.Errorf("with messages: %+v", s)
			}
		}
		time.Sleep(3*time.Minute + backlogAge/4)
		for _, s := range h.Stats() {
			if s.Failing || s.Pending != 0 {
				t.Errorf("after the right was given back: %+v", s)
			}
		}
		w.judge(0)
	}, users)
}

// Partitions that rest, or are served, cost nothing; of many that hang only some are
// asked for at a time.
func TestBacklogsAreAskedForSeldom(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage}, func(t *testing.T, w *world) {
		const many = backlogAsks + 10
		var stuck atomic.Bool
		cfg := w.config()
		cfg.BatchSize = 4
		h := w.helper(cfg, func(ctx context.Context, msg jetstream.Msg) error {
			if stuck.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			w.note(msg)
			return nil
		})
		ps := parts(many)
		w.assign(h, ps...)
		w.publish(2, ps...)
		w.until(2 * many)
		time.Sleep(time.Minute)
		n := w.questions()
		time.Sleep(3 * time.Minute)
		if asked := n.Load(); asked != 0 {
			t.Errorf("%d questions about partitions that rest", asked)
		}
		w.feed(1, 20, ps[:3]...)
		settle()
		if asked := n.Load(); asked != 0 {
			t.Errorf("%d questions about partitions that are served", asked)
		}
		time.Sleep(backlogAge / 4) // away from the ticks
		stuck.Store(true)
		w.publish(20, ps...)
		time.Sleep(3 * backlogAge / 2) // one tick after the first ones were due
		if asked := n.Load(); asked != backlogAsks {
			t.Errorf("%d questions about %d partitions that hang", asked, many)
		}
		time.Sleep(backlogAge / 2)
		if asked := n.Load(); asked != many {
			t.Errorf("%d questions about %d partitions that hang", asked, many)
		}
		if all, _ := lag(h); all < many*15 {
			t.Errorf("%d messages wait", all)
		}
		w.abandon(h)
	})
}
