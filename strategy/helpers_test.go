package strategy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

// goalSeed is the first of the seeds that were not used while the constants were chosen.
const goalSeed = 9_000

// drawer draws weights.
type drawer func(rng *rand.Rand) int64

func equal(*rand.Rand) int64 { return 100 }

func uniform(rng *rand.Rand) int64 { return 50 + rng.Int64N(451) }

func lognormal(rng *rand.Rand) int64 { return max(1, int64(100*math.Exp(rng.NormFloat64()))) }

// zipf draws a rank from 1 to 10,000 and gives it its weight under Zipf's law.
func zipf(rng *rand.Rand) int64 { return 1_000_000 / (1 + rng.Int64N(10_000)) }

// trial is a fleet with its partitions and who owns them.
type trial struct {
	t       *testing.T
	s       parti.Rebalancer
	rng     *rand.Rand
	parts   []parti.Partition
	weights []int64
	index   map[string]int32
	workers []string
	next    int // number of the next new worker
	owners  []int32
}

func newTrial(t *testing.T, s parti.Rebalancer, seed uint64, n, workers int, draw drawer) *trial {
	t.Helper()
	tr := &trial{t: t, s: s, rng: rand.New(rand.NewPCG(seed, 77)), index: make(map[string]int32, n)}
	for i := range n {
		p := parti.Partition{Keys: []string{fmt.Sprintf("t%d", seed), fmt.Sprintf("p%d", i)}, Weight: draw(tr.rng)}
		tr.parts = append(tr.parts, p)
		tr.weights = append(tr.weights, p.Weight)
		tr.index[p.Keys[1]] = int32(i)
	}
	for range workers {
		tr.workers = append(tr.workers, tr.newName())
	}
	tr.plan(nil, nil)
	return tr
}

func (tr *trial) newName() string {
	tr.next++
	return fmt.Sprintf("worker-%d", tr.next-1)
}

func (tr *trial) total() (sum int64) {
	for _, w := range tr.weights {
		sum += w
	}
	return sum
}

// plan rebalances and returns the weight that moved, orphans included.
func (tr *trial) plan(prevWorkers []string, prev []int32) int64 {
	tr.t.Helper()
	infos := make([]parti.WorkerInfo, len(tr.workers))
	for i, id := range tr.workers {
		infos[i] = parti.WorkerInfo{ID: id, Capacity: 1}
	}
	got, err := tr.s.Rebalance(parti.RebalanceInput{Workers: infos, Partitions: tr.parts, PrevWorkers: prevWorkers, PrevOwner: prev})
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.owners = make([]int32, len(tr.parts))
	var moved int64
	for w, id := range tr.workers {
		for _, p := range got[id] {
			i := tr.index[p.Keys[1]]
			tr.owners[i] = int32(w)
			if prev != nil && prev[i] != plan.None && prevWorkers[prev[i]] != id {
				moved += tr.weights[i]
			}
		}
	}
	return moved
}

func (tr *trial) join() int64 { return tr.joinAs(tr.newName()) }

func (tr *trial) joinAs(id string) int64 {
	tr.t.Helper()
	prev := slices.Clone(tr.workers)
	tr.workers = append(tr.workers, id)
	return tr.plan(prev, tr.owners)
}

// leave removes worker w and returns the weight moved and that it had.
func (tr *trial) leave(w int) (moved, had int64) {
	tr.t.Helper()
	prev := slices.Clone(tr.workers)
	had = plan.Loads(tr.owners, tr.weights, len(tr.workers))[w]
	tr.workers = slices.Delete(tr.workers, w, w+1)
	return tr.plan(prev, tr.owners), had
}

// busiest is the greatest load over the level, or over the heaviest partition
// when that is more.
func (tr *trial) busiest() float64 {
	loads := plan.Loads(tr.owners, tr.weights, len(tr.workers))
	level := max(waterLevel(tr.weights, len(tr.workers)), float64(slices.Max(tr.weights)))
	return float64(slices.Max(loads)) / level
}

// waterLevel is the mean load once partitions heavier than the mean of the rest
// sit alone.
func waterLevel(weights []int64, workers int) float64 {
	sorted := slices.Sorted(slices.Values(weights))
	var rest int64
	for _, w := range sorted {
		rest += w
	}
	for len(sorted) > 0 && workers > 1 && float64(sorted[len(sorted)-1]) > float64(rest)/float64(workers) {
		rest -= sorted[len(sorted)-1]
		sorted = sorted[:len(sorted)-1]
		workers--
	}
	return float64(rest) / float64(workers)
}

func workers(n int) []string {
	w := make([]string, n)
	for i := range w {
		w[i] = fmt.Sprintf("worker-%d", i)
	}
	return w
}

func partitions(n int, weight func(i int) int64) []parti.Partition {
	p := make([]parti.Partition, n)
	for i := range p {
		p[i] = parti.Partition{Keys: []string{fmt.Sprintf("topic%d", i%7), fmt.Sprintf("p%d", i)}, Weight: weight(i)}
	}
	return p
}

func even(int) int64 { return 0 }

// all returns one of each strategy by name.
func all() map[string]interface {
	parti.AssignmentStrategy
	parti.Rebalancer
} {
	return map[string]interface {
		parti.AssignmentStrategy
		parti.Rebalancer
	}{
		"consistent hash": strategy.NewConsistentHash(),
		"plain ring":      strategy.NewConsistentHash(strategy.WithLoadBand(0)),
		"round robin":     strategy.NewRoundRobin(),
		"sticky":          strategy.Sticky(strategy.NewRoundRobin()),
	}
}

func checkComplete(t *testing.T, name string, workers []string, parts []parti.Partition, got map[string][]parti.Partition) {
	t.Helper()
	seen := make(map[string]int64)
	for _, w := range workers {
		for _, p := range got[w] {
			if _, ok := seen[p.ID()]; ok {
				t.Fatalf("%s: %v is assigned twice", name, p)
			}
			seen[p.ID()] = p.Weight
		}
	}
	for _, p := range parts {
		if w, ok := seen[p.ID()]; !ok || w != p.Weight {
			t.Fatalf("%s: %v is lost or has another weight", name, p)
		}
	}
	if len(seen) != len(parts) || len(got) != len(workers) {
		t.Fatalf("%s: %d partitions and %d workers, want %d and %d", name, len(seen), len(got), len(parts), len(workers))
	}
}
