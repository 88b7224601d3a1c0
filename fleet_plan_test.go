package parti_test

import (
	"slices"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

func TestColdStartEndsWhenArrivalsStop(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
		began := time.Now()
		startAll(t, ws...)
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("cold start took %v, want ColdStartSettle", took)
		}
		check(t, 100, ws...)
		for _, w := range ws {
			want := []parti.State{
				parti.StateClaimingID, parti.StateElection, parti.StateWaitingAssignment, parti.StateStable,
			}
			if h := w.history(); !slices.Equal(h, want) {
				t.Errorf("%s went through %v, want %v", w.WorkerID(), h, want)
			}
			if a := w.CurrentAssignment(); a.Lifecycle != parti.LifecyclePostColdStart {
				t.Errorf("lifecycle %q after a cold start", a.Lifecycle)
			}
			if es := w.errors(); len(es) > 0 {
				t.Errorf("%s reported %v", w.WorkerID(), es)
			}
		}
	})
}

func TestColdStartWindowWithoutSettle(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 2, parti.Config{ColdStartSettle: 30 * time.Second}, source.NewStatic(fleettest.Numbered(10)))
		began := time.Now()
		startAll(t, ws...)
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("cold start took %v, want ColdStartWindow", took)
		}
		check(t, 10, ws...)
	})
}

func TestJoinWaitsForTheWindow(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(100))
		ws := newWorkers(t, srv, 3, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		late := newWorker(t, srv, parti.Config{}, src)
		began := time.Now()
		startAll(t, late)
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("join took %v, want PlannedScaleWindow", took)
		}
		time.Sleep(time.Second)
		ws = append(ws, late)
		check(t, 100, ws...)
		moved := 0
		for _, w := range ws {
			moved += w.moved()
		}
		gained := len(late.CurrentAssignment().Partitions)
		if gained < 24 || moved != gained {
			t.Errorf("the newcomer has %d partitions, others gave up %d", gained, moved)
		}
		leader, _ := leaderOf(t, ws...)
		if h := leader.history(); !slices.Contains(h, parti.StateScaling) || !slices.Contains(h, parti.StateRebalancing) {
			t.Errorf("the leader went through %v", h)
		}
		if l := leader.CurrentAssignment().Lifecycle; l != parti.LifecycleStable {
			t.Errorf("lifecycle %q after the second plan", l)
		}
	})
}

// TestRollingRestartMovesNothing replaces every worker, the leader too, by a new
// one within the window.
func TestRollingRestartMovesNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(100))
		ws := newWorkers(t, srv, 4, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		before := map[string][]parti.Partition{}
		for _, w := range ws {
			before[w.WorkerID()] = w.CurrentAssignment().Partitions
		}
		for i := range ws {
			id := ws[i].WorkerID()
			old := ws[i].CurrentAssignment().Partitions
			tok, _ := ws[i].Owns(old[0])
			ws[i].stop(t)
			time.Sleep(4 * time.Second)
			ws[i] = newWorker(t, srv, parti.Config{}, src)
			startAll(t, ws[i])
			if got := ws[i].WorkerID(); got != id {
				t.Errorf("the replacement of %s is %s", id, got)
			}
			if now, ok := ws[i].Owns(old[0]); !ok || !tok.Less(now) {
				t.Errorf("token of %s: %v before, %v (%v) after the restart", old[0], tok, now, ok)
			}
			time.Sleep(time.Minute)
		}
		check(t, 100, ws...)
		for _, w := range ws {
			if n := w.moved(); n != 0 {
				t.Errorf("%s: %d partitions moved", w.WorkerID(), n)
			}
			if !slices.EqualFunc(before[w.WorkerID()], w.CurrentAssignment().Partitions, samePartition) {
				t.Errorf("%s owns other partitions than before", w.WorkerID())
			}
		}
	})
}

func samePartition(a, b parti.Partition) bool { return a.Compare(b) == 0 }

func TestLeaveThatDoesNotReturn(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		_, others := leaderOf(t, ws...)
		gone := others[0]
		had := len(gone.CurrentAssignment().Partitions)
		gone.stop(t)
		rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == gone })
		time.Sleep(9 * time.Second)
		for _, w := range rest {
			if w.moved() != 0 {
				t.Errorf("%s got partitions before the leaver's window had passed", w.WorkerID())
			}
		}
		time.Sleep(3 * time.Second)
		check(t, 100, rest...)
		moved := 0
		for _, w := range rest {
			moved += w.moved()
		}
		if moved != had {
			t.Errorf("%d moves, the leaver had %d", moved, had)
		}
	})
}

func TestCrashIsAnEmergency(t *testing.T) {
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				leader, others := leaderOf(t, ws...)
				dead := others[0]
				if who == "leader" {
					dead = leader
				}
				had := len(dead.CurrentAssignment().Partitions)
				dead.link.Cut()
				time.Sleep(17 * time.Second) // lease, election, and for the new leader a lease and the grace
				rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == dead })
				check(t, 100, rest...)
				moved := 0
				for _, w := range rest {
					moved += w.moved()
				}
				if moved != had {
					t.Errorf("%d moves, the dead worker had %d", moved, had)
				}
				leader, _ = leaderOf(t, rest...)
				if h := leader.history(); !slices.Contains(h, parti.StateEmergency) {
					t.Errorf("the leader went through %v", h)
				}
				// The dead worker was only cut off: it comes back, owns nothing
				// at once, and is given its share again.
				dead.link.Heal()
				time.Sleep(30 * time.Second)
				check(t, 100, ws...)
			})
		})
	}
}

func TestRefreshFromAnyWorker(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				src := source.NewStatic(fleettest.Numbered(50))
				ws := newWorkers(t, srv, 3, parti.Config{}, src)
				startAll(t, ws...)
				time.Sleep(time.Minute)
				leader, others := leaderOf(t, ws...)
				w := others[0]
				if who == "leader" {
					w = leader
				}
				if err := w.RefreshPartitions(t.Context()); err != nil {
					t.Errorf("refresh of an unchanged list: %v", err)
				}
				src.Update(fleettest.Numbered(80))
				began := time.Now()
				if err := w.RefreshPartitions(t.Context()); err != nil {
					t.Fatalf("refresh: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("refresh took %v", took)
				}
				time.Sleep(time.Second)
				check(t, 80, ws...)
			})
		})
	}
}
