package parti_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	partitest "github.com/arloliu/parti/testing"
)

// announcing is one list for a whole fleet, with a source per worker.
type announcing struct {
	mu    sync.Mutex
	list  []parti.Partition
	hears map[*announcer]func()
	reads atomic.Int64
}

type announcer struct{ *announcing }

func newAnnouncing(n int) *announcing {
	return &announcing{list: fleettest.Numbered(n), hears: map[*announcer]func(){}}
}

func (a announcer) ListPartitions(context.Context) ([]parti.Partition, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reads.Add(1)
	return a.list, nil
}

func (a *announcer) WatchPartitions(ctx context.Context, changed func()) error {
	a.mu.Lock()
	a.hears[a] = changed
	a.mu.Unlock()
	changed()
	<-ctx.Done()
	a.mu.Lock()
	delete(a.hears, a)
	a.mu.Unlock()
	return ctx.Err()
}

// set changes the list and announces that.
func (a *announcing) set(list []parti.Partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = list
	for _, changed := range a.hears {
		changed()
	}
}

func (a *announcing) listeners() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.hears)
}

func newAnnounced(t *testing.T, srv *partitest.Server, n int, a *announcing) []*worker {
	t.Helper()
	ws := make([]*worker, n)
	for i := range ws {
		ws[i] = newWorker(t, srv, parti.Config{}, &announcer{a})
	}
	return ws
}

// TestAnnouncedChangeIsInForceAtOnce: without a window, apart from others by
// MinRebalanceInterval, and by way of one worker, the leader.
func TestAnnouncedChangeIsInForceAtOnce(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		a := newAnnouncing(20)
		ws := newAnnounced(t, srv, 3, a)
		startAll(t, ws...)
		time.Sleep(time.Minute + 300*time.Millisecond)
		if n := a.listeners(); n != 1 {
			t.Errorf("%d workers listen, want the leader alone", n)
		}
		if n := a.reads.Load(); n > 2 {
			t.Errorf("the list was read %d times though nothing changed", n)
		}
		a.set(fleettest.Numbered(30))
		time.Sleep(100 * time.Millisecond)
		check(t, 30, ws...)

		a.set(fleettest.Numbered(40))
		time.Sleep(8 * time.Second)
		fleettest.OwnedOnce(t, []*parti.Manager{ws[0].Manager, ws[1].Manager, ws[2].Manager}, 30) // not yet
		a.set(fleettest.Numbered(50))                                                             // one plan with the one before
		time.Sleep(2100 * time.Millisecond)
		check(t, 50, ws...)
		for _, w := range ws {
			if es := w.errors(); len(es) > 0 {
				t.Errorf("%s reported %v", w.WorkerID(), es)
			}
		}
	})
}

// TestAnnouncedWeightsMoveNothing unless they unbalance the fleet by more than
// MinRebalanceThreshold.
func TestAnnouncedWeightsMoveNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		a := newAnnouncing(40)
		ws := newAnnounced(t, srv, 2, a)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		moved := func() int { return ws[0].moved() + ws[1].moved() }
		// weigh gives other weights to what the first worker owns.
		weigh := func(w int64) {
			list := fleettest.Numbered(40)
			for i := range list {
				if _, ok := ws[0].Owns(list[i]); ok {
					list[i].Weight = w
				}
			}
			a.set(list)
			time.Sleep(time.Minute)
			check(t, 40, ws...)
		}
		version := ws[0].CurrentAssignment().Version
		weigh(105)
		if v := ws[0].CurrentAssignment().Version; v == version || moved() != 0 {
			t.Errorf("small change: version %d after %d, %d moves", v, version, moved())
		}
		if p := ws[0].CurrentAssignment().Partitions[0]; p.Weight != 105 {
			t.Errorf("weight %d, want 105", p.Weight)
		}
		weigh(400)
		if moved() == 0 {
			t.Error("a great change of weights moved nothing")
		}
	})
}

// TestNextLeaderListens, and finds what was announced while nobody led.
func TestNextLeaderListens(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		a := newAnnouncing(20)
		ws := newAnnounced(t, srv, 3, a)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		leader, others := leaderOf(t, ws...)
		leader.stop(t)
		a.set(fleettest.Numbered(30))
		time.Sleep(time.Minute)
		check(t, 30, others...)
		if n := a.listeners(); n != 1 {
			t.Errorf("%d workers listen", n)
		}
		a.set(fleettest.Numbered(40))
		time.Sleep(100 * time.Millisecond)
		check(t, 40, others...)
	})
}
