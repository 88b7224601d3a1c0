package subscription

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// Partitions with a backlog move to and fro between two workers.
func TestMoves(t *testing.T) {
	kinds(t, func(t *testing.T, cfg jetstream.StreamConfig) {
		inWorld(t, cfg, func(_ *testing.T, w *world) {
			counted := moves(w, PerPartition, 8, 200, 40)
			if counted.handedBack.Load() == 0 {
				t.Error("nothing was handed back")
			}
		})
	})
}

func moves(w *world, layout Layout, partitions, messages, rounds int) *counts {
	ps := parts(partitions)
	slow := func(_ context.Context, msg jetstream.Msg) error {
		if _, n := number(msg); n%5 == 0 {
			time.Sleep(time.Millisecond) // in flight at many moves
		}
		w.note(msg)
		return nil
	}
	cfg, counted := w.config(), &counts{}
	cfg.Metrics, cfg.Layout = counted, layout
	a, b := w.helper(cfg, slow), w.helper(cfg, slow)
	w.assign(a, ps...) // makes the durables, so that interest retains
	w.assign(a)
	w.publish(messages, ps...)
	w.assign(a, ps...)
	rng := rand.New(rand.NewPCG(1, 2))
	owner := make([]int, partitions)
	for range rounds {
		time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
		for i := range owner {
			if rng.IntN(3) == 0 {
				owner[i] = 1 - owner[i]
			}
		}
		var mine [2][]parti.Partition
		keep := make([]parti.Partition, 0, partitions)
		for i, p := range ps {
			mine[owner[i]] = append(mine[owner[i]], p)
		}
		// First both give up, then both gain, as the protocol has it.
		for _, s := range a.Stats() {
			if contains(mine[0], s.Partition) {
				keep = append(keep, s.Partition)
			}
		}
		w.assign(a, keep...)
		w.assign(b, mine[1]...)
		w.assign(a, mine[0]...)
	}
	w.publish(3, ps...)
	total, _ := w.total()
	w.until(total)
	w.assign(a)
	w.assign(b)
	w.judge(0)
	if errs := w.problems(); len(errs) > 0 {
		w.t.Errorf("reported: %v", errs)
	}
	nothingPending(w)
	// The next owner need not know that there was another.
	if n := counted.takeovers.Load(); n != 0 {
		w.t.Errorf("taken over %d times", n)
	}
	return counted
}

type counts struct {
	NopMetrics
	handedBack, takeovers atomic.Int64
}

func (c *counts) AddHandedBack(n int) { c.handedBack.Add(int64(n)) }
func (c *counts) IncrementTakeover()  { c.takeovers.Add(1) }

func contains(ps []parti.Partition, p parti.Partition) bool {
	for _, q := range ps {
		if q.Compare(p) == 0 {
			return true
		}
	}
	return false
}

// nothingPending checks that the server knows of every acknowledgement.
func nothingPending(w *world) {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), "WORK")
	ok(w.t, err)
	for info := range stream.ListConsumers(w.t.Context()).Info() {
		if info.NumAckPending != 0 || info.NumPending != 0 {
			w.t.Errorf("%s: %d unacknowledged, %d pending", info.Name, info.NumAckPending, info.NumPending)
		}
	}
	if r := stream.CachedInfo().Config.Retention; r != jetstream.LimitsPolicy {
		if n := stream.CachedInfo().State.Msgs; n != 0 {
			w.t.Errorf("%v stream still has %d messages", r, n)
		}
	}
}

// On servers that cannot reset, what was fetched is refused in order, and the
// next owner waits for it.
func TestMoveWithoutReset(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.AckWait = time.Second
		begun := make(chan struct{}, 100)
		a := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			begun <- struct{}{}
			time.Sleep(10 * time.Millisecond)
			w.note(msg)
			return nil
		})
		b := w.helper(cfg, w.plain)
		a.can.Store(&capabilities{})
		b.can.Store(&capabilities{})
		p := part("p")
		w.publish(50, p)
		w.assign(a, p)
		<-begun
		<-begun
		w.assign(a)
		w.assign(b, p)
		w.until(50)
		w.judge(0)
	})
}

// A move returns when the handler that runs has finished, not before and not
// much later.
func TestMoveWaitsForHandler(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		begun := make(chan struct{}, 1)
		h := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 1 {
				begun <- struct{}{}
				time.Sleep(3 * time.Second)
			}
			w.note(msg)
			return nil
		})
		p, other := part("p"), part("other")
		w.publish(5, p)
		w.assign(h, p, other)
		<-begun
		start := time.Now()
		w.assign(h, other)
		if d := time.Since(start); d < 2900*time.Millisecond || d > 3200*time.Millisecond {
			t.Errorf("let go after %v, the handler took 3s", d)
		}
		if _, done := w.total(); done != 1 {
			t.Errorf("%d messages completed, want only the one in hand", done)
		}
		w.assign(h, p, other)
		w.until(5)
		w.judge(0)
	})
}

// A handler that outlasts the handoff is revoked: its context ends, its result
// does not count, and the update says so until it returns.
func TestMoveRevokesHandler(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.HandoffTimeout = time.Second
		var cause, late error
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		stuck := w.helper(cfg, func(ctx context.Context, msg jetstream.Msg) error {
			begun <- struct{}{}
			<-goOn
			cause, late = context.Cause(ctx), msg.Ack()
			return nil
		})
		p := part("p")
		w.publish(3, p)
		w.assign(stuck, p)
		<-begun
		start := time.Now()
		err := stuck.UpdateWorkerConsumer(t.Context(), "w-0", nil)
		wantErr(t, err, ErrRevoked, "partition p")
		if d := time.Since(start); d != time.Second {
			t.Errorf("revoked after %v", d)
		}
		next := w.helper(cfg, w.plain)
		w.assign(next, p)
		w.until(3)
		wantErr(t, stuck.UpdateWorkerConsumer(t.Context(), "w-0", nil), ErrRevoked, "partition p")
		close(goOn)
		settle()
		w.assign(stuck)
		wantErr(t, cause, ErrRevoked, "")
		wantErr(t, late, ErrRevoked, "")
		w.judge(0)
	})
}
