//go:build !race

package strategy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

// The figures that the design promises, each with more than one distribution of
// weights and seeds that were not used to choose the algorithm's constants. The race
// detector would only see, ten times as slowly, what properties_test.go does as well.

var fleets = []struct {
	name                string
	partitions, workers int
	draw                drawer
}{
	{"equal", 6_000, 6, equal},
	{"equal", 64_000, 64, equal},
	{"uniform", 6_000, 6, uniform},
	{"uniform", 64_000, 64, uniform},
	{"lognormal", 6_000, 6, lognormal},
	{"lognormal", 64_000, 64, lognormal},
}

func eachFleet(t *testing.T, seeds uint64, do func(t *testing.T, tr *trial)) {
	t.Helper()
	for _, f := range fleets {
		t.Run(fmt.Sprintf("%s/%dx%d", f.name, f.partitions, f.workers), func(t *testing.T) {
			for seed := range seeds {
				do(t, newTrial(t, strategy.NewConsistentHash(), goalSeed+seed, f.partitions, f.workers, f.draw))
			}
		})
	}
}

func TestBusiestStaysInTheBand(t *testing.T) {
	eachFleet(t, 2, func(t *testing.T, tr *trial) {
		within := func(when string) {
			t.Helper()
			limit := 1.0201
			if slices.Min(tr.weights) == slices.Max(tr.weights) {
				limit += float64(tr.weights[0]) * float64(len(tr.workers)) / float64(tr.total())
			}
			if b := tr.busiest(); b > limit {
				t.Errorf("%s: the busiest worker has %.4f of the level, want at most %.4f", when, b, limit)
			}
		}
		within("cold")
		tr.join()
		within("after a join")
		tr.leave(2)
		within("after a leave")
	})
}

func TestJoinMovesNoMoreThanTheNewcomersShare(t *testing.T) {
	eachFleet(t, 2, func(t *testing.T, tr *trial) {
		moved := float64(tr.join())
		share := float64(tr.total()) / float64(len(tr.workers))
		if moved > share {
			t.Errorf("moved %.4f of the newcomer's share, want at most 1", moved/share)
		}
		loads := plan.Loads(tr.owners, tr.weights, len(tr.workers))
		if got := float64(loads[len(loads)-1]); got < 0.95*share {
			t.Errorf("the newcomer got %.4f of its share, want at least 0.95", got/share)
		}
	})
}

func TestLeaveMovesLittleMoreThanTheLeaversLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		draw  drawer
		n     int
		limit float64
	}{{"equal", equal, 10_000, 1.005}, {"uniform", uniform, 100_000, 1.005}, {"lognormal", lognormal, 10_000, 1.15}, {"zipf", zipf, 10_000, 1.4}} {
		t.Run(c.name, func(t *testing.T) {
			var sum float64
			seeds := 300_000 / c.n
			for seed := range uint64(seeds) {
				tr := newTrial(t, strategy.NewConsistentHash(), goalSeed+seed, c.n, 64, c.draw)
				moved, had := tr.leave(tr.rng.IntN(64))
				sum += float64(moved) / float64(had) / float64(seeds)
			}
			t.Logf("moved %.4f of the leaver's load", sum)
			if sum > c.limit {
				t.Errorf("moved %.4f of the leaver's load on average, want at most %.3f", sum, c.limit)
			}
		})
	}
}

func TestAssignAloneKeepsMostOwners(t *testing.T) {
	for _, f := range fleets {
		tr := newTrial(t, strategy.NewConsistentHash(), goalSeed, f.partitions, f.workers, f.draw)
		before := tr.owners
		tr.workers = append(tr.workers, tr.newName())
		tr.plan(nil, nil)
		moved, _ := plan.Moved(before, tr.owners, tr.weights)
		if kept := 1 - float64(moved)/float64(len(before)); kept < 0.8 {
			t.Errorf("%s, one more than %d workers: %.3f of the partitions keep their owner, want at least 0.8", f.name, f.workers, kept)
		}
	}
}

func TestReturningWorkerFindsItsPartitions(t *testing.T) {
	eachFleet(t, 2, func(t *testing.T, tr *trial) {
		if len(tr.workers) < 64 {
			t.Skip("stated for 64 workers and more")
		}
		if part := tr.leaveAndReturn(5); part > 0.02 {
			t.Errorf("%.4f of the weight is elsewhere than before, want at most 0.02", part)
		}
	})
	// With few workers much moves, but nearly all of it comes back.
	var sum float64
	for seed := range uint64(6) {
		tr := newTrial(t, strategy.NewConsistentHash(), goalSeed+seed, 6_000, 6, lognormal)
		sum += tr.leaveAndReturn(1) / 6
	}
	if sum > 0.02 {
		t.Errorf("of 6 workers: %.4f of the weight is elsewhere than before on average, want at most 0.02", sum)
	}
}

// leaveAndReturn returns how much of the weight is elsewhere after worker w has
// left and returned under its id.
func (tr *trial) leaveAndReturn(w int) float64 {
	tr.t.Helper()
	before, names := tr.owners, slices.Clone(tr.workers)
	tr.leave(w)
	tr.joinAs(names[w])
	_, weight := plan.Moved(plan.Translate(before, names, tr.workers), tr.owners, tr.weights)
	return float64(weight) / float64(tr.total())
}

func TestTwoHundredJoinsAndLeaves(t *testing.T) {
	for _, c := range []struct {
		name  string
		draw  drawer
		drift bool
	}{
		{"equal", equal, false},
		{"uniform", uniform, false},
		{"lognormal", lognormal, false},
		{"uniform, drifting", uniform, true},
		{"lognormal, drifting", lognormal, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTrial(t, strategy.NewConsistentHash(), goalSeed+7, 6_400, 64, c.draw)
			moved, ideal, busiest := tr.wander(200, c.draw, c.drift)
			t.Logf("moved %.4f of the ideal, busiest %.4f", moved/ideal, busiest)
			if !c.drift && moved > 1.05*ideal {
				t.Errorf("moved %.4f of the ideal, want at most 1.05", moved/ideal)
			}
			if busiest > 1.04 {
				t.Errorf("the busiest worker had %.4f of the level, want at most 1.04", busiest)
			}
		})
	}
}

// wander makes steps random joins and leaves between 32 and 96 workers and
// returns the weight moved, the least possible, and the highest busiest. With
// drift, one in a hundred weights changes before every step.
func (tr *trial) wander(steps int, draw drawer, drift bool) (moved, ideal, busiest float64) {
	tr.t.Helper()
	for range steps {
		if drift {
			for range len(tr.parts) / 100 {
				i := tr.rng.IntN(len(tr.parts))
				tr.weights[i] = draw(tr.rng)
				tr.parts[i].Weight = tr.weights[i]
			}
		}
		if len(tr.workers) > 96 || len(tr.workers) > 32 && tr.rng.IntN(2) == 0 {
			m, had := tr.leave(tr.rng.IntN(len(tr.workers)))
			moved += float64(m)
			ideal += float64(had)
		} else {
			moved += float64(tr.join())
			ideal += float64(tr.total()) / float64(len(tr.workers))
		}
		busiest = max(busiest, tr.busiest())
	}
	return moved, ideal, busiest
}

func TestAllocationsDoNotGrowWithPartitions(t *testing.T) {
	for _, n := range []int{1_000, 200_000} {
		list := partitions(n, func(i int) int64 { return int64(50 + i%451) })
		ws := workers(64)
		got := testing.AllocsPerRun(3, func() {
			if _, err := strategy.NewConsistentHash().Assign(ws, list); err != nil {
				t.Fatal(err)
			}
		})
		if got > 100 {
			t.Errorf("%d partitions: %v allocations, want at most 100", n, got)
		}
	}
}
