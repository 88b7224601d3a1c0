package parti_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// byPartition is which worker id owns what.
func byPartition(ws []*worker) map[string]string {
	owner := map[string]string{}
	for _, w := range ws {
		for _, p := range w.CurrentAssignment().Partitions {
			owner[p.ID()] = w.WorkerID()
		}
	}
	return owner
}

// TestRollingRestartWithAJoin replaces every worker by a new one, 8 s after it has
// stopped. In the middle, while one is away, another worker joins and the leader
// stops: what moves, moves to the newcomer.
func TestRollingRestartWithAJoin(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 100
		src := source.NewStatic(fleettest.Numbered(parts))
		ws := newWorkers(t, srv, 5, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		// The leader in the middle.
		leader, others := leaderOf(t, ws...)
		ws = append(append(append([]*worker{}, others[:2]...), leader), others[2:]...)
		before := byPartition(ws)
		replace := func(i int) {
			ws[i] = newWorker(t, srv, parti.Config{}, src)
			startAll(t, ws[i])
		}
		restart := func(i int) {
			ws[i].stop(t)
			time.Sleep(8 * time.Second)
			replace(i)
			time.Sleep(5 * time.Second)
		}
		restart(0)
		// While 1 is away, somebody joins, and the leader stops.
		ws[1].stop(t)
		time.Sleep(2 * time.Second)
		newcomer := newWorker(t, srv, parti.Config{}, src)
		joined := make(chan error, 1)
		go func() { joined <- newcomer.Start(t.Context()) }()
		time.Sleep(2 * time.Second)
		ws[2].stop(t)
		time.Sleep(4 * time.Second)
		// Whoever claims an id that a leaver left is its replacement; the newcomer is
		// who finds none left.
		replace(2)
		replace(1)
		if err := <-joined; err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		restart(3)
		restart(4)
		time.Sleep(30 * time.Second)
		all := append(append([]*worker{}, ws...), newcomer)
		check(t, parts, all...)
		had := map[string]bool{}
		for _, id := range before {
			had[id] = true
		}
		moved := 0
		for p, now := range byPartition(all) {
			if now != before[p] {
				if moved++; had[now] {
					t.Errorf("%s moved from %s to %s", p, before[p], now)
				}
			}
		}
		if moved == 0 {
			t.Error("the newcomer has nothing")
		}
		t.Logf("%d of %d partitions moved, all to the newcomer", moved, parts)
	})
}

// TestRollingRestartWithAGap is a rolling restart of a fleet that somebody has left
// for good, so that an id is free that is lower than those of most: everybody
// returns under the own id all the same, and nothing moves.
func TestRollingRestartWithAGap(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 100
		src := source.NewStatic(fleettest.Numbered(parts))
		ws := newWorkers(t, srv, 5, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(30 * time.Second)
		i := slices.IndexFunc(ws, func(w *worker) bool { return w.WorkerID() == "worker-1" })
		ws[i].stop(t)
		ws = slices.Delete(ws, i, i+1)
		time.Sleep(30 * time.Second)
		before := byPartition(ws)
		for i, w := range ws {
			id := w.WorkerID()
			w.stop(t)
			time.Sleep(8 * time.Second)
			ws[i] = newWorker(t, srv, parti.Config{}, src)
			startAll(t, ws[i])
			if got := ws[i].WorkerID(); got != id {
				t.Errorf("the replacement of %s is %s", id, got)
			}
			time.Sleep(5 * time.Second)
		}
		time.Sleep(30 * time.Second)
		check(t, parts, ws...)
		if after := byPartition(ws); !maps.Equal(after, before) {
			t.Errorf("partitions moved: %v, were %v", after, before)
		}
		// Nobody is waited for: who joins closes the gap.
		joiner := newWorker(t, srv, parti.Config{}, src)
		startAll(t, joiner)
		if got := joiner.WorkerID(); got != "worker-1" {
			t.Errorf("who joins is %s", got)
		}
	})
}
