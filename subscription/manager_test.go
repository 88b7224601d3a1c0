package subscription

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
)

// placement is a strategy that puts partitions where a test says.
type placement struct {
	mu    sync.Mutex
	owner map[string]string // by partition id; the first worker has the others
}

func (s *placement) put(owner map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = owner
}

func (s *placement) Assign(workers []string, parts []parti.Partition) (map[string][]parti.Partition, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	workers = slices.Sorted(slices.Values(workers))
	out := make(map[string][]parti.Partition, len(workers))
	for _, w := range workers {
		out[w] = nil
	}
	for _, p := range parts {
		w := s.owner[p.ID()]
		if !slices.Contains(workers, w) {
			w = workers[0]
		}
		out[w] = append(out[w], p)
	}
	return out, nil
}

// TestGainsDoNotWaitForLosses: a worker that waits 3 s for a handler of a partition
// that it gives up begins at once with one that it gains, although the grant comes
// with a later assignment.
func TestGainsDoNotWaitForLosses(t *testing.T) {
	for _, layout := range []Layout{PerPartition, PerWorker} {
		t.Run(layout.String(), func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, w *world) {
				const slow = 3 * time.Second
				lost, gained := part("lost"), part("gained")
				src := source.NewStatic([]parti.Partition{lost, gained})
				place := &placement{owner: map[string]string{"lost": "worker-1", "gained": "worker-0"}}
				begun := make(chan struct{}, 1)
				var mu sync.Mutex
				first := map[string]time.Duration{} // message of a partition at a worker, after the move
				var moved time.Time
				var fleet []*parti.Manager
				for i := range 3 {
					name := fmt.Sprint("worker-", i)
					cfg := w.config()
					cfg.Layout = layout
					h := w.helper(cfg, func(ctx context.Context, msg jetstream.Msg) error {
						id, n := number(msg)
						if _, ok := parti.TokenFromContext(ctx); !ok {
							t.Errorf("no token for %s", msg.Subject())
						}
						mu.Lock()
						if _, more := first[name+" "+id]; !moved.IsZero() && !more {
							first[name+" "+id] = time.Since(moved)
						}
						mu.Unlock()
						if id == "lost" && n == 1 {
							begun <- struct{}{}
							time.Sleep(slow)
						}
						w.note(msg)
						return nil
					})
					m := fleettest.NewManagerWith(t, w.srv.Connect(t), parti.Config{
						PlannedScaleWindow: time.Second, Assignment: parti.AssignmentConfig{MinRebalanceInterval: time.Second},
					}, src, place, parti.WithWorkerConsumerUpdater(h), parti.WithHooks(&parti.Hooks{
						OnError: func(_ context.Context, err error) error { w.problem(parti.Partition{}, err); return nil },
					}))
					fleettest.StartAll(t, m)
					fleet = append(fleet, m)
				}
				time.Sleep(30 * time.Second)
				w.publish(1, lost)
				<-begun
				place.put(map[string]string{"lost": "worker-2", "gained": "worker-1"})
				src.Update([]parti.Partition{{Keys: lost.Keys, Weight: 2}, {Keys: gained.Keys, Weight: 2}})
				mu.Lock()
				moved = time.Now()
				mu.Unlock()
				ok(t, fleet[0].RefreshPartitions(t.Context()))
				w.publish(3, lost)
				for range 50 {
					time.Sleep(100 * time.Millisecond)
					w.publish(1, gained)
				}
				w.until(54)
				mu.Lock()
				defer mu.Unlock()
				early := layout == PerPartition // PerWorker has one durable, which is made anew
				if d, ok := first["worker-1 gained"]; !ok || (d < time.Second) != early {
					t.Errorf("the partition gained has its first message after %v, %v", d, ok)
				}
				if d := first["worker-2 lost"]; d < slow-time.Second || d > slow+time.Second {
					t.Errorf("the partition given up has its first message elsewhere after %v", d)
				}
				w.judge(0)
				if errs := w.problems(); len(errs) > 0 {
					t.Errorf("reported: %v", errs)
				}
			})
		})
	}
}

// TestLeaseEndsWork: from the end of the lease on, by the worker's own clock, an
// exclusive worker begins and acknowledges nothing, though the helper's connection
// is fine; who is granted the partition begins at the message in hand. When the
// worker has a lease again it goes on.
func TestLeaseEndsWork(t *testing.T) {
	for name, cfg := range map[string]DurableConfig{
		"ordered": {}, "unordered": {Unordered: true, BatchSize: 1, Concurrency: 1}, "per worker": {Layout: PerWorker},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, w *world) {
				leaseEndsWork(t, w, cfg)
			})
		})
	}
}

func leaseEndsWork(t *testing.T, w *world, cfg DurableConfig) {
	t.Helper()
	p := part("p")
	src := source.NewStatic([]parti.Partition{p})
	place := &placement{owner: map[string]string{"p": "worker-1"}}
	begun := make(chan struct{}, 1)
	type seen struct {
		worker, number int
		held           bool
	}
	var mu sync.Mutex
	var calls []seen
	var cause, late error
	var ended time.Duration // after the cut
	link := w.srv.NewLink(t)
	for i := range 2 {
		base := w.config()
		base.HandoffTimeout = 30 * time.Second
		base.Layout, base.Unordered, base.Concurrency = cfg.Layout, cfg.Unordered, cfg.Concurrency
		if cfg.BatchSize > 0 {
			base.BatchSize = cfg.BatchSize
		}
		h := w.helper(base, func(ctx context.Context, msg jetstream.Msg) error {
			_, n := number(msg)
			mu.Lock()
			calls = append(calls, seen{i, n, parti.LeaseHeld(ctx)})
			mu.Unlock()
			if i == 1 && n == 2 {
				began := time.Now()
				begun <- struct{}{}
				<-ctx.Done()
				ended, cause, late = time.Since(began), context.Cause(ctx), msg.Ack()
				return nil
			}
			w.note(msg)
			return nil
		})
		nc := w.srv.Connect(t)
		if i == 1 {
			nc = link.Connect(t, parti.NATSOptions()...)
		}
		fleettest.StartAll(t, fleettest.NewManagerWith(t, nc, parti.Config{
			Ownership: parti.OwnershipExclusive, HandoffTimeout: 30 * time.Second, ShutdownTimeout: 40 * time.Second,
			PlannedScaleWindow: time.Second, Assignment: parti.AssignmentConfig{MinRebalanceInterval: time.Second},
		}, src, place, parti.WithWorkerConsumerUpdater(h)))
	}
	time.Sleep(30 * time.Second)
	w.publish(5, p)
	<-begun
	link.Blackhole()
	w.until(5)
	if !errors.Is(cause, ErrRevoked) || !errors.Is(late, ErrRevoked) {
		t.Errorf("the handler's context ended with %v, its acknowledgement with %v", cause, late)
	}
	if ended == 0 || ended > 5*time.Second {
		t.Errorf("the handler's context ended after %v", ended)
	}
	link.Heal()
	time.Sleep(time.Minute) // it joins again, and gets the partition
	w.publish(2, p)
	w.until(7)
	settle()
	mu.Lock()
	defer mu.Unlock()
	want := []seen{{1, 1, true}, {1, 2, true}, {0, 2, true}, {0, 3, true}, {0, 4, true}, {0, 5, true}, {1, 6, true}, {1, 7, true}}
	if cfg.Unordered {
		slices.SortFunc(calls, func(a, b seen) int { return cmp.Or(a.number-b.number, b.worker-a.worker) })
	} else {
		w.judge(0)
	}
	if !slices.Equal(calls, want) {
		t.Errorf("handled\n%v, want\n%v", calls, want)
	}
	nothingPending(w)
}

// TestLeaseIsRenewedLate: the lease has ended when a handler returns, and is renewed
// before anybody has noticed. What was done in between does not count, and the
// partition goes on with it.
func TestLeaseIsRenewedLate(t *testing.T) {
	for name, cfg := range map[string]DurableConfig{"ordered": {}, "unordered": {Unordered: true, Concurrency: 1}, "per worker": {Layout: PerWorker}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, w *world) {
				base := w.config()
				base.Layout, base.Unordered, base.Concurrency, base.BatchSize = cfg.Layout, cfg.Unordered, cfg.Concurrency, 4
				var ended atomic.Bool
				var without, second atomic.Int64
				h := w.helper(base, func(_ context.Context, msg jetstream.Msg) error {
					if ended.Load() {
						without.Add(1)
					}
					if _, n := number(msg); n == 3 && second.Add(1) == 1 {
						ended.Store(true)
						if err := msg.Ack(); !errors.Is(err, ErrRevoked) {
							t.Errorf("acknowledged without a lease: %v", err)
						}
						if err := msg.InProgress(); !errors.Is(err, ErrRevoked) {
							t.Errorf("kept alive without a lease: %v", err)
						}
						return nil
					}
					w.note(msg)
					return nil
				})
				h.held = func(context.Context) bool { return !ended.Load() }
				p := part("p")
				w.publish(12, p)
				w.assign(h, p)
				time.Sleep(5050 * time.Millisecond) // not when it looks
				if n := without.Load(); n > 0 {
					t.Errorf("%d messages were begun without a lease", n)
				}
				before, _ := w.judged(p)
				ended.Store(false)
				w.until(12)
				settle()
				if all, doubled := w.judged(p); before != 2 || all != 12 || doubled != 0 || second.Load() != 2 {
					t.Errorf("%d messages before, %d afterwards, %d of them again; the one in hand %d times", before, all, doubled, second.Load())
				}
				if !base.Unordered {
					w.judge(0)
				}
				nothingPending(w)
			})
		})
	}
}
