package subscription

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// Nothing assigned: nothing consumed, nothing asked, nothing left running.
func TestEmptyAssignment(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		nc := w.srv.Connect(t)
		h := w.helperOn(nc, w.config(), w.plain)
		w.assign(h, part("p")) // makes the durable, and what the connection needs for answers
		w.assign(h)
		settle()
		sent := nc.Stats().OutMsgs
		w.publish(3, part("p"))
		w.assign(h)
		w.assign(h)
		time.Sleep(time.Hour)
		if d := nc.Stats().OutMsgs - sent; d != 0 {
			t.Errorf("%d messages sent", d)
		}
		w.assign(h, part("p"))
		w.until(3)
		if n := pullers(); n < 4 {
			t.Errorf("found %d goroutines while consuming", n)
		}
		w.assign(h)
		w.publish(3, part("p"))
		settle()
		if _, done := w.total(); done != 3 {
			t.Errorf("%d completed, want the 3 of its time as owner", done)
		}
		sent = nc.Stats().OutMsgs
		time.Sleep(time.Hour)
		settle()
		if d := nc.Stats().OutMsgs - sent; d != 0 {
			t.Errorf("%d messages sent after letting go", d)
		}
		if n := pullers(); n > 0 {
			t.Errorf("%d goroutines left", n)
		}
		w.assign(h, part("p"))
		w.until(6)
		w.judge(0)
	})
}

// pullers counts the goroutines of this package and of nats.go's consumers.
func pullers() (n int) {
	buf := make([]byte, 4<<20)
	for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if strings.Contains(g, "(*partition).run") || strings.Contains(g, "startKeeper") || strings.Contains(g, "(*pullSubscription)") ||
			strings.Contains(g, "(*pullConsumer)") {
			n++
		}
	}
	return n
}

// What an idle partition costs.
func TestIdleCost(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		const n = 50
		nc := w.srv.Connect(t)
		h := w.helperOn(nc, w.config(), w.plain)
		w.assign(h, part("first")) // what all share
		settle()
		before := runtime.NumGoroutine()
		w.assign(h, append(parts(n), part("first"))...)
		settle()
		goroutines := float64(runtime.NumGoroutine()-before) / n
		in, out := nc.Stats().InMsgs, nc.Stats().OutMsgs
		time.Sleep(10 * time.Minute)
		settle()
		inRate := float64(nc.Stats().InMsgs-in) / (n + 1) / 600
		outRate := float64(nc.Stats().OutMsgs-out) / (n + 1) / 600
		t.Logf("a partition: %.1f goroutines (client and server), %.3f messages/s in, %.3f out", goroutines, inRate, outRate)
		if goroutines > 7 || inRate > 0.04 || outRate > 0.02 {
			t.Errorf("more than it was")
		}
	})
}

func TestStats(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		goOn := make(chan struct{})
		cfg := w.config()
		cfg.BatchSize = 4
		h := w.helper(cfg, func(ctx context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 3 {
				<-goOn
			}
			return w.plain(ctx, msg)
		})
		w.publish(10, part("b"))
		w.assign(h, part("b"), part("a"))
		w.until(2)
		settle()
		stats := h.Stats()
		if len(stats) != 2 || stats[0].Partition.ID() != "a" || !stats[0].LastActivity.IsZero() {
			t.Fatalf("stats %+v", stats)
		}
		b := stats[1]
		if b.Durable != "w-b" || b.InFlight != 1 || b.Completed != 2 || b.Pending != 7 || b.LastActivity.IsZero() || b.Leaving {
			t.Errorf("stats %+v", b)
		}
		close(goOn)
		w.until(10)
		settle()
		if b := h.Stats()[1]; b.InFlight != 0 || b.Completed != 10 || b.Pending != 0 {
			t.Errorf("stats %+v", b)
		}
	})
}

func TestClose(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		begun := make(chan struct{}, 1)
		h := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 1 {
				begun <- struct{}{}
				time.Sleep(time.Second)
			}
			w.note(msg)
			return nil
		})
		w.publish(1, part("p"))
		w.assign(h, part("p"))
		<-begun
		ok(t, h.Close(t.Context()))
		w.judge(0)
		nothingPending(w)
		wantErr(t, h.UpdateWorkerConsumer(t.Context(), "w-0", parts(1)), ErrClosed, "")
		ok(t, h.UpdateWorkerConsumer(t.Context(), "w-0", nil))
		ok(t, h.Close(t.Context()))
	})
}

// A Close that cannot let go says so, and what it leaves behind ends as soon as it
// can: when a handler returns at last, or at once where only NATS is missing.
func TestCloseThatFailsLeavesNothing(t *testing.T) {
	for _, layout := range []Layout{PerPartition, PerWorker} {
		for _, hangs := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v, handler hangs %v", layout, hangs), func(t *testing.T) {
				inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage}, func(t *testing.T, w *world) {
					cfg := w.config()
					cfg.Layout = layout
					goOn := make(chan struct{})
					h, err := NewDurableHelper(w.srv.Connect(t, parti.NATSOptions()...), cfg, MessageHandlerFunc(func(_ context.Context, msg jetstream.Msg) error {
						if _, n := number(msg); n == 3 && hangs {
							<-goOn
						}
						w.note(msg)
						return nil
					}))
					ok(t, err)
					w.publish(3, part("p"))
					w.assign(h, part("p"))
					w.until(2)
					settle()
					if !hangs {
						w.srv.Shutdown()
					}
					wantErr(t, h.Close(t.Context()), ErrRevoked, "partition p")
					close(goOn)
					settle()
					if n := pullers(); layout == PerPartition && n > 0 || len(h.Stats()) > 0 {
						t.Errorf("%d goroutines and %v left", n, h.Stats())
					}
					if !hangs {
						w.srv.Restart()
						time.Sleep(10 * time.Second)
					}
					ok(t, h.Close(t.Context()))
				})
			})
		}
	}
}

// Concurrency limits the handlers of all partitions together.
func TestConcurrency(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Concurrency = 2
		running := make(chan struct{}, 2)
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			select {
			case running <- struct{}{}:
				time.Sleep(10 * time.Millisecond)
				<-running
			default:
				t.Error("a third handler runs")
			}
			w.note(msg)
			return nil
		})
		ps := parts(10)
		w.publish(10, ps...)
		start := time.Now()
		w.assign(h, ps...)
		w.until(100)
		if d := time.Since(start); d < 500*time.Millisecond || d > 600*time.Millisecond {
			t.Errorf("100 handlers of 10ms, two at a time, took %v", d)
		}
		w.judge(0)
	})
}

// A list that names a partition twice, or again with another weight, is one.
func TestSamePartition(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		h := w.helper(w.config(), w.plain)
		w.assign(h, part("p"), part("p"))
		w.publish(5, part("p"))
		w.assign(h, parti.Partition{Keys: []string{"p"}, Weight: 7})
		w.until(5)
		w.judge(0)
	})
}
