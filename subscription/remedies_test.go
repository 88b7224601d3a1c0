package subscription

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// The remedies that docs/OPERATIONS.md names have their effect.

// lag is what waits at the server for these helpers, as their metrics say, and the
// most of one partition.
func lag(hs ...*DurableHelper) (all, most uint64) {
	for _, h := range hs {
		for _, s := range h.Stats() {
			all += s.Pending
			most = max(most, s.Pending)
		}
	}
	return all, most
}

// feed publishes n messages to each partition every second, for a while.
func (w *world) feed(n, seconds int, ps ...parti.Partition) {
	w.t.Helper()
	for range seconds {
		w.publish(n, ps...)
		time.Sleep(time.Second)
	}
}

// TestMoreWorkersWorkOffLag: workers that do one thing at a time cannot keep up, and
// all their partitions are late alike. With more of them the lag goes.
func TestMoreWorkersWorkOffLag(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		worker := func() *DurableHelper { // of 2 messages per second
			one := make(chan struct{}, 1)
			return w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
				one <- struct{}{}
				time.Sleep(500 * time.Millisecond)
				<-one
				w.note(msg)
				return nil
			})
		}
		ps := parts(4)
		first := worker()
		w.assign(first, ps...)
		w.feed(1, 60, ps...)
		before, _ := lag(first)
		w.feed(1, 60, ps...)
		late, most := lag(first)
		if late < before+100 {
			t.Errorf("%d messages wait, %d did a minute ago", late, before)
		}
		if mean := late / uint64(len(ps)); most > 2*mean {
			t.Errorf("%d wait for one partition, %d for each", most, mean)
		}
		second, third := worker(), worker()
		w.assign(first, ps[0], ps[1])
		w.assign(second, ps[2])
		w.assign(third, ps[3])
		w.feed(1, 60, ps...)
		if now, _ := lag(first, second, third); now > late-60 {
			t.Errorf("%d messages wait, %d did with one worker", now, late)
		}
		published, _ := w.total()
		w.until(published)
		if now, _ := lag(first, second, third); now != 0 {
			t.Errorf("%d messages wait in the end", now)
		}
		w.judge(0)
	})
}

// TestASlowPartitionStandsOut: a partition whose handler is slow has far more waiting
// than the mean, and others go on. Once its handler is mended nothing waits.
func TestASlowPartitionStandsOut(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		ps := parts(4)
		var mended atomic.Bool
		h := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
			if id, _ := number(msg); id == ps[3].ID() && !mended.Load() {
				time.Sleep(2 * time.Second)
			}
			w.note(msg)
			return nil
		})
		w.assign(h, ps...)
		w.feed(2, 60, ps...)
		all, most := lag(h)
		if mean := all / uint64(len(ps)); most < 3*mean || most < 30 {
			t.Errorf("%d wait for one partition, %d for each", most, mean)
		}
		mended.Store(true)
		w.feed(2, 10, ps...)
		settle()
		if all, _ := lag(h); all != 0 {
			t.Errorf("%d messages wait in the end", all)
		}
		w.judge(0)
	})
}
