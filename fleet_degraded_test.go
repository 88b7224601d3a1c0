package parti_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestTransientOutage is the guide's first recovery scenario, and its own example of a
// test of an outage.
func TestTransientOutage(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				cfg := parti.Config{DegradedAlert: parti.DegradedAlertConfig{InfoThreshold: 15 * time.Second}, Ownership: mode}
				ws := newWorkers(t, srv, 3, cfg, source.NewStatic(fleettest.Numbered(30)))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				version := ws[0].CurrentAssignment().Version
				srv.Shutdown()
				lost := time.Now()
				at := func(after time.Duration, want parti.State) {
					t.Helper()
					time.Sleep(time.Until(lost.Add(after)))
					synctest.Wait()
					for _, w := range ws {
						s := w.State()
						if mode == parti.OwnershipExclusive && want == parti.StateStable && s == parti.StateElection {
							s = want // without a lease there is no work to be stable with
						}
						if s != want {
							t.Errorf("T+%v: %s is %v, want %v", after, w.WorkerID(), s, want)
						}
						if v := w.CurrentAssignment().Version; v != version {
							t.Errorf("T+%v: %s has version %d, had %d", after, w.WorkerID(), v, version)
						}
					}
				}
				at(enters-slack/2, parti.StateStable)
				at(enters+slack/2, parti.StateDegraded)
				at(29750*time.Millisecond, parti.StateDegraded)
				time.Sleep(250 * time.Millisecond)
				srv.Restart()
				at(34750*time.Millisecond, parti.StateDegraded)
				for _, w := range ws {
					alertedAt(t, w, lost, "Info 15s")
				}
				rested(t, lost.Add(30*time.Second), 0, 30, ws...)
				for _, w := range ws {
					degradedOnce(t, w, lost, lost.Add(30*time.Second), 0)
					if !w.reported(parti.ErrNATSConnectionLost) {
						t.Errorf("%s reported %v", w.WorkerID(), w.errors())
					}
				}
				if mode == parti.OwnershipAvailable {
					nothingHappened(t, ws...)
					at(time.Minute, parti.StateStable)
				}
			})
		})
	}
}

// TestProlongedOutage is the guide's second recovery scenario.
func TestProlongedOutage(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{DegradedAlert: parti.DegradedAlertConfig{AlertInterval: time.Hour}}
		ws := newWorkers(t, srv, 2, cfg, source.NewStatic(fleettest.Numbered(3)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		srv.Shutdown()
		lost := time.Now()
		time.Sleep(45 * time.Minute)
		srv.Restart()
		rested(t, lost.Add(45*time.Minute), 0, 3, ws...)
		nothingHappened(t, ws...)
		for _, w := range ws {
			degradedOnce(t, w, lost, lost.Add(45*time.Minute), 0)
			alertedAt(t, w, lost, "Info 1m0s", "Warn 5m0s", "Error 15m0s", "Critical 30m0s")
		}
	})
}

func TestAlertsRepeat(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
		startAll(t, w)
		srv.Shutdown()
		lost := time.Now()
		time.Sleep(125 * time.Second)
		alertedAt(t, w, lost, "Info 1m0s", "Info 1m30s", "Info 2m0s")
		srv.Restart()
		rested(t, lost.Add(125*time.Second), 0, 3, w)
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

// pauses adds up for how long partitions had no owner.
type pauses struct {
	parti.NopMetrics

	mu    sync.Mutex
	total time.Duration
}

func (p *pauses) ObserveHandoffPause(_ string, d time.Duration, partitions int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += d * time.Duration(partitions)
}

// TestExclusiveOutageIsCounted: from the end of the leases on nobody works, which is
// counted once somebody does again; in the Available mode everybody goes on.
func TestExclusiveOutageIsCounted(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				const parts, outage = 30, 2 * time.Minute
				p := &pauses{}
				src := source.NewStatic(fleettest.Numbered(parts))
				var ws []*worker
				for range 3 {
					ws = append(ws, newWorker(t, srv, parti.Config{Ownership: mode}, src, parti.WithMetrics(p)))
				}
				startAll(t, ws...)
				time.Sleep(time.Minute)
				before := p.total
				srv.Shutdown()
				time.Sleep(outage)
				srv.Restart()
				rested(t, time.Now(), 0, parts, ws...)
				p.mu.Lock()
				defer p.mu.Unlock()
				each := (p.total - before) / parts
				// A lease ends 3.4 to 5.4 s after the loss; work goes on some seconds after the outage.
				if least := outage - 6*time.Second; mode == parti.OwnershipExclusive && (each < least || each > outage+exits+5*time.Second) {
					t.Errorf("without an owner for %v each", each)
				}
				if mode == parti.OwnershipAvailable && each != 0 {
					t.Errorf("without an owner for %v each, and everybody went on", each)
				}
			})
		})
	}
}
