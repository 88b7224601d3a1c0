package prometheus_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// The remedies that docs/OPERATIONS.md names have their effect: what the alert looks
// at is seen, the remedy applied, and it goes.

// sumOf adds up a figure over workers.
func sumOf(t *testing.T, name string, ws ...*measured) (sum float64) {
	t.Helper()
	for _, w := range ws {
		sum += value(t, w, name, "")
	}
	return sum
}

// TestRestartOfWhoDoesNotLetGo: in exclusive ownership partitions rest for as long as
// their old owner does not let go, of which its death is a way.
func TestRestartOfWhoDoesNotLetGo(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 30
		src := source.NewStatic(fleettest.Numbered(parts))
		cfg := parti.Config{Ownership: parti.OwnershipExclusive}
		var ws []*measured
		for range 3 {
			ws = append(ws, newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash()))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(2 * time.Minute)
		var leader, holder *measured
		for _, w := range ws {
			if w.IsLeader() {
				leader = w
			} else {
				holder = w
			}
		}
		holder.slow.Store(true)
		joins := newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash())
		fleettest.StartAll(t, joins)
		time.Sleep(time.Minute)
		for range 6 { // longer than the alert waits
			time.Sleep(time.Minute)
			if n := value(t, leader, "parti_unowned_partitions", ""); n == 0 {
				t.Fatal("all partitions have an owner")
			}
		}
		if n := value(t, leader, "parti_errors_total", "handoff"); n == 0 {
			t.Error("the leader does not say who has not let go")
		}
		holder.link.Cut() // its process is killed
		time.Sleep(time.Minute)
		if n := value(t, leader, "parti_unowned_partitions", ""); n != 0 {
			t.Errorf("%v partitions without an owner", n)
		}
		holder.slow.Store(false)
		var live []*parti.Manager
		for _, w := range append(ws, joins) {
			if w != holder {
				live = append(live, w.Manager)
			}
		}
		fleettest.OwnedOnce(t, live, parts)
		time.Sleep(13 * time.Second) // the call of its updater that hung has ended
	})
}

// TestMissingPartitionsAreFound: workers own less than is listed when one is not
// scraped, and when one has died while the leader cannot plan.
func TestMissingPartitionsAreFound(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 30
		src, strat := source.NewStatic(fleettest.Numbered(parts)), &capricious{AssignmentStrategy: strategy.NewConsistentHash()}
		var ws []*measured
		for range 3 {
			ws = append(ws, newMeasuredWith(t, srv, src, parti.Config{}, strat))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(time.Minute)
		missing := func(scraped ...*measured) float64 {
			return sumOf(t, "parti_fleet_partitions", scraped...) - sumOf(t, "parti_assigned_partitions", scraped...)
		}
		var leader *measured
		var others []*measured
		for _, w := range ws {
			if w.IsLeader() {
				leader = w
			} else {
				others = append(others, w)
			}
		}
		if n := missing(leader, others[0]); n <= 0 {
			t.Errorf("%v missing of a fleet that is not scraped as a whole", n)
		}
		if n := missing(ws...); n != 0 {
			t.Errorf("%v missing of a whole fleet", n)
		}
		strat.fails.Store(true)
		others[0].link.Cut()        // its process is killed
		time.Sleep(6 * time.Minute) // longer than the alert waits
		live := []*measured{leader, others[1]}
		if n := missing(live...); n <= 0 {
			t.Errorf("%v missing after a death that nobody can plan for", n)
		}
		strat.fails.Store(false)
		time.Sleep(2 * time.Minute)
		if n := missing(live...); n != 0 {
			t.Errorf("%v missing with a strategy that works", n)
		}
	})
}

// seconds adds up the samples of a phase.
func seconds(t *testing.T, phase string, ws ...*measured) (sum float64) {
	t.Helper()
	for _, w := range ws {
		for _, s := range gather(t, w.reg)["parti_rebalance_duration_seconds"].GetMetric() {
			if s.GetLabel()[0].GetValue() == phase {
				sum += s.GetHistogram().GetSampleSum()
			}
		}
	}
	return sum
}

// capricious is a strategy that fails, or takes its time, when told to.
type capricious struct {
	parti.AssignmentStrategy

	fails atomic.Bool
	takes atomic.Int64
}

func (s *capricious) Assign(workers []string, ps []parti.Partition) (map[string][]parti.Partition, error) {
	time.Sleep(time.Duration(s.takes.Load()))
	if s.fails.Load() {
		return nil, errors.New("not today")
	}
	return s.AssignmentStrategy.Assign(workers, ps)
}

// TestPhasesTellWhyAssignmentsComeLate: the phase that is slow is the one that the
// figures name. With its cause it goes, and so does the wait before with a shorter
// window.
func TestPhasesTellWhyAssignmentsComeLate(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src, strat := source.NewStatic(fleettest.Numbered(60)), &capricious{AssignmentStrategy: strategy.NewConsistentHash()}
		const window = 10 * time.Second // the default of PlannedScaleWindow
		var ws []*measured
		for range 2 {
			ws = append(ws, newMeasuredWith(t, srv, src, parti.Config{}, strat))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(time.Minute)
		leader := ws[0]
		if !leader.IsLeader() {
			leader = ws[1]
		}
		// join returns what the phases took when a worker joined.
		join := func(meanwhile func()) map[string]float64 {
			t.Helper()
			phases := map[string]float64{"plan": 0, "publish": 0, "handoff": 0}
			for phase := range phases {
				phases[phase] = -seconds(t, phase, ws...)
			}
			w := newMeasuredWith(t, srv, src, parti.Config{}, strat)
			done := make(chan struct{})
			go func() {
				defer close(done)
				meanwhile()
			}()
			fleettest.StartAll(t, w)
			<-done
			time.Sleep(time.Minute)
			for phase := range phases {
				phases[phase] += seconds(t, phase, ws...)
			}
			ws = append(ws, w)
			return phases
		}
		for late, c := range map[string]struct{ begins, meanwhile, mends func() }{
			"plan": {
				begins: func() { strat.takes.Store(int64(3 * time.Second)) },
				mends:  func() { strat.takes.Store(0) },
			},
			"publish": {
				meanwhile: func() {
					time.Sleep(window - time.Second)
					leader.link.Blackhole() // NATS answers late
					time.Sleep(3500 * time.Millisecond)
					leader.link.Heal()
				},
			},
			"handoff": {
				begins: func() { setSlow(true, ws...) },
				mends:  func() { setSlow(false, ws...) },
			},
		} {
			nothing := func() {}
			for _, f := range []*func(){&c.begins, &c.meanwhile, &c.mends} {
				if *f == nil {
					*f = nothing
				}
			}
			c.begins()
			phases := join(c.meanwhile)
			c.mends()
			if !leader.IsLeader() {
				t.Fatalf("%s: another leads", late)
			}
			for phase, took := range phases {
				if (took > 2) != (phase == late) {
					t.Errorf("%s is slow, and %s took %v s", late, phase, took)
				}
			}
			for phase, took := range join(nothing) {
				if took > 0.5 {
					t.Errorf("%s is not slow any more, and %s took %v s", late, phase, took)
				}
			}
		}
	})
}

// TestShorterWindowBringsAssignmentsSooner: a join waits for the window.
func TestShorterWindowBringsAssignmentsSooner(t *testing.T) {
	for _, window := range []time.Duration{10 * time.Second, 2 * time.Second} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			src := source.NewStatic(fleettest.Numbered(60))
			cfg := parti.Config{PlannedScaleWindow: window, Assignment: parti.AssignmentConfig{MinRebalanceInterval: time.Second}}
			first, second := newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash()), newMeasuredWith(t, srv, src, cfg, strategy.NewConsistentHash())
			fleettest.StartAll(t, first)
			time.Sleep(time.Minute)
			began := time.Now()
			fleettest.StartAll(t, second) // returns when it has its first assignment
			if took := time.Since(began); took < window || took > window+2*time.Second {
				t.Errorf("with a window of %v: %v", window, took)
			}
			if n := len(second.CurrentAssignment().Partitions); n < 20 {
				t.Errorf("%d partitions", n)
			}
		})
	}
}

func setSlow(slow bool, ws ...*measured) {
	for _, w := range ws {
		w.slow.Store(slow)
	}
}
