package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// inQueue runs f with a work queue and a configuration for PerWorker.
func inQueue(t *testing.T, storage jetstream.StorageType, f func(t *testing.T, w *world, cfg DurableConfig)) {
	t.Helper()
	inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy, Storage: storage}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Layout = PerWorker
		f(t, w, cfg)
	})
}

func TestPerWorkerNeedsAWorkQueue(t *testing.T) {
	for _, r := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.InterestPolicy} {
		inWorld(t, jetstream.StreamConfig{Retention: r}, func(t *testing.T, w *world) {
			cfg := w.config()
			cfg.Layout = PerWorker
			h := w.helper(cfg, w.plain)
			wantErr(t, h.UpdateWorkerConsumer(t.Context(), "w-0", parts(2)), ErrLayoutUnsupported, "use PerPartition")
			if len(w.durables()) > 0 || len(h.Stats()) > 0 {
				t.Errorf("%v: made %v", r, w.durables())
			}
		})
	}
}

func TestPerWorkerMoves(t *testing.T) {
	for _, s := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
		t.Run(s.String(), func(t *testing.T) {
			inQueue(t, s, func(_ *testing.T, w *world, _ DurableConfig) { moves(w, PerWorker, 8, 200, 40) })
		})
	}
}

// One durable a worker, none for a worker without partitions.
func TestPerWorkerDurables(t *testing.T) {
	inQueue(t, jetstream.MemoryStorage, func(t *testing.T, w *world, cfg DurableConfig) {
		a, b := w.helper(cfg, w.plain), w.helper(cfg, w.plain)
		ps := parts(6)
		w.assign(a, ps[:4]...)
		w.assign(b, ps[4:]...)
		if got := w.durables(); !slices.Equal(got, []string{"w-w-0", "w-w-1"}) {
			t.Errorf("durables %v", got)
		}
		cons, err := w.js.Consumer(t.Context(), "WORK", "w-w-0")
		ok(t, err)
		created := cons.CachedInfo().Created
		time.Sleep(time.Second)
		w.assign(a, ps[:4]...)
		info, err := cons.Info(t.Context())
		ok(t, err)
		if !info.Created.Equal(created) || len(info.Config.FilterSubjects) != 4 {
			t.Errorf("the same partitions again: %+v", info.Config)
		}
		w.publish(10, ps...)
		w.until(60)
		if n := len(a.Stats()) + len(b.Stats()); n != 6 {
			t.Errorf("stats of %d partitions", n)
		}
		l := w.lead(a, ps...)
		time.Sleep(time.Second)
		l.end()
		w.assign(a)
		if got := w.durables(); !slices.Equal(got, []string{"w-w-1"}) {
			t.Errorf("durables %v", got)
		}
		w.judge(0)
	})
}

// A worker dies; two others share what it had.
func TestPerWorkerCrash(t *testing.T) {
	inQueue(t, jetstream.MemoryStorage, func(t *testing.T, w *world, cfg DurableConfig) {
		ps := parts(4)
		die := make(chan struct{})
		link := w.srv.NewLink(t)
		dead, err := NewDurableHelper(link.Connect(t, nats.NoReconnect()), cfg, MessageHandlerFunc(func(_ context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 10 {
				<-die
				return errors.New("died")
			}
			w.note(msg)
			return nil
		}))
		ok(t, err)
		ok(t, dead.UpdateWorkerConsumer(t.Context(), "w-dead", ps))
		w.publish(100, ps...)
		w.until(4 * 9)
		settle()
		link.Cut()
		heirs := []*DurableHelper{w.helper(cfg, w.plain), w.helper(cfg, w.plain)}
		start := time.Now()
		w.assign(heirs[0], ps[:2]...)
		w.assign(heirs[1], ps[2:]...)
		w.until(4 * 100)
		if d := time.Since(start); d > 250*time.Millisecond {
			t.Errorf("took %v", d)
		}
		w.judge(0)
		_ = dead.Close(t.Context())
		close(die)
		settle()
		_ = dead.Close(t.Context()) // cannot remove its durable, and need not
	})
}

// Handlers that fail hold back their own partition; one that does not end is
// revoked when a partition moves.
func TestPerWorkerTrouble(t *testing.T) {
	inQueue(t, jetstream.MemoryStorage, func(t *testing.T, w *world, cfg DurableConfig) {
		cfg.HandoffTimeout, cfg.AckWait = time.Second, time.Second
		var tries atomic.Int64
		goOn := make(chan struct{})
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			switch id, n := number(msg); {
			case id == "p.0" && n == 3 && tries.Add(1) < 6:
				if tries.Load() == 2 {
					panic("oops")
				}
				return errors.New("not yet")
			case id == "p.1" && n == 4:
				<-goOn
			}
			w.note(msg)
			return nil
		})
		ps := parts(3)
		w.assign(h, ps...)
		w.publish(20, ps...)
		w.until(2 + 3 + 20)
		time.Sleep(10 * time.Second) // many times AckWait: what waits is kept alive
		w.mu.Lock()
		got := len(w.completed["p.0"])
		w.mu.Unlock()
		if got != 20 || tries.Load() != 6 || w.count(ErrHandlerPanic) != 1 {
			t.Errorf("%d of the partition that failed at first, %d tries", got, tries.Load())
		}
		err := h.UpdateWorkerConsumer(t.Context(), w.worker(h), ps[:2])
		wantErr(t, err, ErrRevoked, "partition p.1")
		w.publish(1, ps[0]) // goes on without it
		w.until(3 + 20 + 20 + 1)
		close(goOn) // the result of the revoked handler counts for the test only
		settle()
		w.mu.Lock()
		w.completed["p.1"] = w.completed["p.1"][:3]
		w.mu.Unlock()
		w.assign(h, ps[:2]...)
		w.until(20 + 20 + 20 + 1)
		w.judge(0)
	})
}

// The durable or a delivery is lost under its owner.
func TestPerWorkerBeginsAgain(t *testing.T) {
	for name, disturb := range map[string]func(w *world){
		"durable deleted": func(w *world) { ok(w.t, w.js.DeleteConsumer(w.t.Context(), "WORK", "w-w-0")) },
		"delivery lost": func(w *world) {
			thief, err := w.js.Consumer(w.t.Context(), "WORK", "w-w-0")
			ok(w.t, err)
			_, err = thief.Fetch(2, jetstream.FetchMaxWait(time.Second))
			ok(w.t, err)
			settle()
		},
		"server restarted": func(w *world) {
			w.srv.Shutdown()
			time.Sleep(20 * time.Second)
			w.srv.Restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			inQueue(t, jetstream.FileStorage, func(t *testing.T, w *world, cfg DurableConfig) {
				h := w.helper(cfg, w.plain)
				ps := parts(3)
				w.assign(h, ps...)
				w.publish(10, ps...)
				w.until(30)
				settle()
				disturb(w)
				w.publish(30, ps...)
				w.until(120)
				w.judge(0)
				w.assign(h)
				if got := w.durables(); len(got) != 0 {
					t.Errorf("left %v", got)
				}
			})
		})
	}
}

// Owners die at the same message.
func TestPerWorkerPoisonThatKills(t *testing.T) {
	inQueue(t, jetstream.MemoryStorage, func(t *testing.T, w *world, cfg DurableConfig) {
		cfg.MaxDeliver = 3
		p := part("p")
		w.publish(30, p)
		for i := range 4 {
			killed, die := make(chan struct{}, 1), make(chan struct{})
			link := w.srv.NewLink(t)
			h, err := NewDurableHelper(link.Connect(t, nats.NoReconnect()), cfg, MessageHandlerFunc(func(_ context.Context, msg jetstream.Msg) error {
				if _, n := number(msg); n == 5 {
					killed <- struct{}{}
					<-die
					return errors.New("dead")
				}
				w.note(msg)
				return nil
			}))
			ok(t, err)
			ok(t, h.UpdateWorkerConsumer(t.Context(), fmt.Sprint("w-", i), []parti.Partition{p}))
			if i < 3 {
				<-killed
				settle()
				link.Cut()
				settle()
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_ = h.Close(ctx)
				close(die)
				settle()
				_ = h.Close(ctx)
				continue
			}
			w.until(29)
			if w.count(ErrPoison) != 1 || len(killed) > 0 {
				t.Errorf("reported %v", w.problems())
			}
			ok(t, h.Close(t.Context()))
		}
		if got := w.completed["p"]; len(got) != 29 || slices.Contains(got, 5) || !slices.IsSorted(got) {
			t.Errorf("completed %v", got)
		}
	})
}

func TestPerWorkerForeignConsumer(t *testing.T) {
	inQueue(t, jetstream.MemoryStorage, func(t *testing.T, w *world, cfg DurableConfig) {
		_, err := w.js.CreateConsumer(t.Context(), "WORK", jetstream.ConsumerConfig{
			Durable: "x", FilterSubject: "work.p.0", AckPolicy: jetstream.AckExplicitPolicy,
		})
		ok(t, err)
		h := w.helper(cfg, nothing)
		wantErr(t, h.UpdateWorkerConsumer(t.Context(), "w-0", parts(2)), ErrConsumerMismatch, "x on stream WORK")
	})
}
