package subscription

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// leadership is a helper that follows lists as the leader's does.
type leadership struct {
	lists chan []parti.Partition
	end   func()
}

func (w *world) lead(h *DurableHelper, ps ...parti.Partition) *leadership {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	l := &leadership{lists: make(chan []parti.Partition, 1)}
	var wg sync.WaitGroup
	wg.Go(func() { h.FollowPartitions(ctx, l.lists) })
	l.end = func() {
		cancel()
		wg.Wait()
	}
	w.t.Cleanup(l.end)
	l.lists <- ps
	return l
}

func (w *world) durables() []string {
	w.t.Helper()
	stream, err := w.js.Stream(w.t.Context(), "WORK")
	ok(w.t, err)
	names := []string{}
	lister := stream.ConsumerNames(w.t.Context())
	for name := range lister.Name() {
		names = append(names, name)
	}
	ok(w.t, lister.Err())
	slices.Sort(names)
	return names
}

// Durables are there before their partitions are owned, not all at once.
func TestDurablesAreMadeAhead(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{Retention: jetstream.InterestPolicy}, func(t *testing.T, w *world) {
		h := w.helper(w.config(), w.plain)
		ps := parts(40)
		w.lead(h, ps...)
		time.Sleep(20 * aheadEvery)
		if n := len(w.durables()); n < 15 || n > 25 {
			t.Errorf("%d durables after the time for 20", n)
		}
		time.Sleep(25 * aheadEvery)
		if n := len(w.durables()); n != 40 {
			t.Errorf("%d durables, want 40", n)
		}
		w.publish(3, ps...) // retained, though nobody owns anything
		w.assign(h, ps...)
		w.until(120)
		w.judge(0)
		cons, err := w.js.Consumer(t.Context(), "WORK", "w-p_7")
		ok(t, err)
		if got := cons.CachedInfo().Config; got.MaxDeliver != -1 || got.AckWait != DefaultAckWait || got.FilterSubject != "work.p.7" {
			t.Errorf("durable %+v", got)
		}
	})
}

// What left the list stays while there is something of it in the stream, and is
// reported while that was not handled.
func TestDurablesAreRetired(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		var retired atomic.Int64
		var abandoned atomic.Value
		cfg := w.config()
		cfg.RetireAfter = time.Minute
		cfg.Metrics = &followCounts{retired: &retired, abandoned: &abandoned}
		h := w.helper(cfg, w.plain)
		owner := w.helper(w.config(), w.plain)
		waiting, handled, empty, owned, stays := part("waiting"), part("handled"), part("empty"), part("owned"), part("stays")
		other, err := w.js.CreateConsumer(t.Context(), "WORK", jetstream.ConsumerConfig{
			Durable: "w-other", FilterSubject: "work.other", AckPolicy: jetstream.AckExplicitPolicy,
		})
		ok(t, err)
		l := w.lead(h, waiting, handled, empty, owned, stays)
		time.Sleep(time.Second)
		w.publish(2, waiting)
		w.publish(1, handled)
		w.assign(owner, handled)
		w.until(1)
		w.assign(owner, owned)
		all := w.durables()

		l.lists <- []parti.Partition{stays}
		time.Sleep(59 * time.Second)
		if got := w.durables(); !slices.Equal(got, all) {
			t.Errorf("before its time: %v, had %v", got, all)
		}
		if w.count(ErrAbandoned) != 1 || abandoned.Load() != "1 2" {
			t.Errorf("reported %v, measured %v", w.problems(), abandoned.Load())
		}
		l.lists <- []parti.Partition{stays, empty} // comes back in time
		time.Sleep(time.Second)
		l.lists <- []parti.Partition{stays}
		time.Sleep(59 * time.Second)
		if got := w.durables(); !slices.Equal(got, all) {
			t.Errorf("came back: %v, had %v", got, all)
		}
		time.Sleep(31 * time.Second)
		want := []string{"w-handled", other.CachedInfo().Name, "w-owned", "w-stays", "w-waiting"}
		if got := w.durables(); !slices.Equal(got, want) || retired.Load() != 1 {
			t.Errorf("after it: %v, want %v; counted %d", got, want, retired.Load())
		}
		// When the stream has forgotten the messages, so does the server.
		stream, err := w.js.Stream(t.Context(), "WORK")
		ok(t, err)
		ok(t, stream.Purge(t.Context()))
		w.assign(owner)
		time.Sleep(2 * time.Minute)
		if got := w.durables(); !slices.Equal(got, []string{"w-other", "w-stays"}) || abandoned.Load() != "0 0" {
			t.Errorf("in the end: %v, measured %v", got, abandoned.Load())
		}
	})
}

type followCounts struct {
	NopMetrics
	retired   *atomic.Int64
	abandoned *atomic.Value
}

func (c *followCounts) IncrementRetired()              { c.retired.Add(1) }
func (c *followCounts) SetAbandoned(n int, msg uint64) { c.abandoned.Store(fmt.Sprint(n, msg)) }

// What is wrong with a list as a whole no worker can see in its part of it.
func TestListIsChecked(t *testing.T) {
	for name, c := range map[string]struct {
		stream   jetstream.StreamConfig
		template string
		list     []parti.Partition
		kind     error
	}{
		"too many":    {jetstream.StreamConfig{MaxConsumers: 3}, "work.{{.PartitionID}}", parts(4), ErrTooManyConsumers},
		"overlapping": {jetstream.StreamConfig{}, "work.{{.PartitionID}}.>", []parti.Partition{part("a"), part("a", "b")}, ErrSubject},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, c.stream, func(t *testing.T, w *world) {
				cfg := w.config()
				cfg.SubjectTemplate = c.template
				l := w.lead(w.helper(cfg, w.plain), c.list...)
				time.Sleep(time.Second)
				if w.count(c.kind) != 1 || len(w.durables()) != 0 {
					t.Errorf("reported %v, made %v", w.problems(), w.durables())
				}
				l.lists <- c.list[:1]
				time.Sleep(time.Second)
				if w.count(c.kind) != 1 || len(w.durables()) != 1 {
					t.Errorf("afterwards reported %v, made %v", w.problems(), w.durables())
				}
			})
		})
	}
}
