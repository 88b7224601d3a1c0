package parti_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestTransientOutage is the guide's first recovery scenario.
func TestTransientOutage(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{DegradedAlert: parti.DegradedAlertConfig{InfoThreshold: 15 * time.Second}}
		ws := newWorkers(t, srv, 3, cfg, source.NewStatic(fleettest.Numbered(30)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		versions := map[*worker]uint64{}
		for _, w := range ws {
			versions[w] = w.CurrentAssignment().Version
		}
		srv.Shutdown()
		at := func(d time.Duration, want parti.State) {
			t.Helper()
			synctest.Wait()
			for _, w := range ws {
				if s := w.State(); s != want {
					t.Errorf("T+%v: %s is %v, want %v", d, w.WorkerID(), s, want)
				}
				if v := w.CurrentAssignment().Version; v != versions[w] {
					t.Errorf("T+%v: %s has version %d, had %d", d, w.WorkerID(), v, versions[w])
				}
			}
		}
		time.Sleep(9900 * time.Millisecond)
		at(9900*time.Millisecond, parti.StateStable)
		time.Sleep(200 * time.Millisecond)
		at(10100*time.Millisecond, parti.StateDegraded)
		time.Sleep(19900 * time.Millisecond)
		srv.Restart()
		time.Sleep(4500 * time.Millisecond)
		at(34500*time.Millisecond, parti.StateDegraded)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, w := range ws {
			if s := w.State(); s == parti.StateDegraded {
				t.Errorf("T+36.5s: %s is %v", w.WorkerID(), s)
			}
			w.mu.Lock()
			if want := []string{"Info 15s"}; !slices.Equal(w.alerts, want) {
				t.Errorf("%s: alerts %v, want %v", w.WorkerID(), w.alerts, want)
			}
			w.mu.Unlock()
			if !w.reported(parti.ErrNATSConnectionLost) {
				t.Errorf("%s reported %v", w.WorkerID(), w.errors())
			}
			if w.moved() != 0 {
				t.Errorf("%s: %d moves", w.WorkerID(), w.moved())
			}
		}
		time.Sleep(30 * time.Second)
		check(t, 30, ws...)
	})
}

// TestProlongedOutage is the guide's second recovery scenario.
func TestProlongedOutage(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{DegradedAlert: parti.DegradedAlertConfig{AlertInterval: time.Hour}}
		w := newWorker(t, srv, cfg, source.NewStatic(fleettest.Numbered(3)))
		startAll(t, w)
		time.Sleep(time.Minute)
		srv.Shutdown()
		time.Sleep(45 * time.Minute)
		srv.Restart()
		time.Sleep(7 * time.Second)
		synctest.Wait()
		want := []string{"Info 1m0s", "Warn 5m0s", "Error 15m0s", "Critical 30m0s"}
		w.mu.Lock()
		if !slices.Equal(w.alerts, want) {
			t.Errorf("alerts %v, want %v", w.alerts, want)
		}
		w.mu.Unlock()
		if s := w.State(); s == parti.StateDegraded {
			t.Errorf("still %v", s)
		}
		time.Sleep(30 * time.Second)
		check(t, 3, w)
	})
}

func TestAlertsRepeat(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
		startAll(t, w)
		srv.Shutdown()
		time.Sleep(125 * time.Second)
		synctest.Wait()
		var want []string
		for d := time.Minute; d <= 2*time.Minute; d += 30 * time.Second {
			want = append(want, fmt.Sprintf("Info %v", d))
		}
		w.mu.Lock()
		if !slices.Equal(w.alerts, want) {
			t.Errorf("alerts %v, want %v", w.alerts, want)
		}
		w.mu.Unlock()
		srv.Restart()
		time.Sleep(time.Minute)
		check(t, 3, w)
	})
}

// TestLeaderAloneCutOff: the others take over; the old leader keeps working in
// degraded mode until it hears otherwise.
func TestLeaderAloneCutOff(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 3, parti.Config{}, source.NewStatic(fleettest.Numbered(30)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		old, others := leaderOf(t, ws...)
		had := len(old.CurrentAssignment().Partitions)
		old.link.Cut()
		time.Sleep(20 * time.Second)
		check(t, 30, others...)
		if s := old.State(); s != parti.StateDegraded {
			t.Errorf("the worker that is cut off is %v", s)
		}
		if n := len(old.CurrentAssignment().Partitions); n != had {
			t.Errorf("the worker that is cut off has %d partitions, had %d", n, had)
		}
		old.link.Heal()
		time.Sleep(30 * time.Second)
		check(t, 30, ws...)
	})
}

// TestExclusiveStopsWithItsLease: a worker that is cut off owns nothing from the
// end of its lease on, and nobody else before.
func TestExclusiveStopsWithItsLease(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		parts := fleettest.Numbered(30)
		ws := newWorkers(t, srv, 3, parti.Config{Ownership: parti.OwnershipExclusive}, source.NewStatic(parts))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		check(t, 30, ws...)
		_, others := leaderOf(t, ws...)
		cut := others[0]
		cut.link.Blackhole()
		lost := time.Duration(0)
		for d := time.Duration(0); d < 20*time.Second; d += 50 * time.Millisecond {
			for _, p := range parts {
				owners := 0
				for _, w := range ws {
					if _, ok := w.Owns(p); ok {
						owners++
					}
				}
				if owners > 1 {
					t.Fatalf("T+%v: %d workers own %s", d, owners, p)
				}
			}
			if len(cut.CurrentAssignment().Partitions) == 0 && lost == 0 {
				lost = d
			}
			time.Sleep(50 * time.Millisecond)
		}
		if lost == 0 || lost > 6*time.Second {
			t.Errorf("the worker that is cut off gave up after %v", lost)
		}
		rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == cut })
		check(t, 30, rest...)
		cut.link.Heal()
		time.Sleep(time.Minute)
		check(t, 30, ws...)
	})
}
