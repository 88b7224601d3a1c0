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

func TestExplore(t *testing.T) {
	draws := map[string]drawer{"equal": equal, "uniform": uniform, "lognormal": lognormal, "zipf": zipf}
	for _, name := range []string{"equal", "uniform", "lognormal", "zipf"} {
		for _, size := range [][2]int{{1000, 10}, {6000, 6}, {10000, 64}, {100000, 64}} {
			var cold, joinMoved, joinNew, joinBusy, leaveMoved, leaveBusy, ret float64
			const seeds = 6
			for seed := range uint64(seeds) {
				tr := newTrial(t, strategy.NewConsistentHash(), seed, size[0], size[1], draws[name])
				cold = max(cold, tr.busiest())
				m := tr.join()
				ideal := waterLevel(tr.weights, size[1]+1)
				joinMoved = max(joinMoved, float64(m)/ideal)
				l := plan.Loads(tr.owners, tr.weights, len(tr.workers))
				joinNew = max(joinNew, 1-float64(l[size[1]])/ideal)
				joinBusy = max(joinBusy, tr.busiest())
				tr = newTrial(t, strategy.NewConsistentHash(), seed, size[0], size[1], draws[name])
				before := make([]string, len(tr.parts))
				for i, o := range tr.owners {
					before[i] = tr.workers[o]
				}
				gone := tr.workers[int(seed)%size[1]]
				m, had := tr.leave(int(seed) % size[1])
				leaveMoved += float64(m) / float64(had) / seeds
				leaveBusy = max(leaveBusy, tr.busiest())
				tr.joinAs(gone)
				var else_ int64
				for i, o := range tr.owners {
					if before[i] != tr.workers[o] {
						else_ += tr.weights[i]
					}
				}
				ret = max(ret, float64(else_)/float64(tr.total()))
			}
			t.Logf("%-10s %6d×%-3d cold %.4f | join moved %.3f newcomer %.3f busy %.4f | leave moved %.4f busy %.4f | return elsewhere %.4f",
				name, size[0], size[1], cold, joinMoved, 1-joinNew, joinBusy, leaveMoved, leaveBusy, ret)
		}
	}
}

func TestExploreRuns(t *testing.T) {
	draws := map[string]drawer{"equal": equal, "uniform": uniform, "lognormal": lognormal, "zipf": zipf}
	for _, name := range []string{"equal", "uniform", "lognormal", "zipf"} {
		for _, drift := range []bool{false, true} {
			for seed := range uint64(3) {
				tr := newTrial(t, strategy.NewConsistentHash(), seed, 6400, 64, draws[name])
				var moved, ideal, busy float64
				for range 200 {
					if drift {
						for range 64 {
							i := tr.rng.IntN(len(tr.parts))
							tr.weights[i] = draws[name](tr.rng)
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
					busy = max(busy, tr.busiest())
				}
				t.Logf("%-10s drift %v seed %d: moved %.4f of ideal, busiest %.4f", name, drift, seed, moved/ideal, busy)
			}
		}
	}
}

func TestExploreAssign(t *testing.T) {
	for _, name := range []string{"equal", "uniform", "lognormal"} {
		for _, w := range []int{4, 5, 6, 8, 16, 64} {
			worst, mean := 1.0, 0.0
			for seed := range uint64(10) {
				tr := newTrial(t, strategy.NewConsistentHash(), seed, 10000, w, map[string]drawer{"equal": equal, "uniform": uniform, "lognormal": lognormal}[name])
				before := tr.owners
				tr.workers = append(tr.workers, tr.newName())
				tr.plan(nil, nil)
				kept := 0
				for i, o := range tr.owners {
					if o == before[i] {
						kept++
					}
				}
				k := float64(kept) / float64(len(tr.parts))
				worst = min(worst, k)
				mean += k / 10
			}
			t.Logf("%s %d→%d kept mean %.4f worst %.4f (ideal %.4f)", name, w, w+1, mean, worst, float64(w)/float64(w+1))
		}
	}
}
