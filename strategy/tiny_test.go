package strategy_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

// leastBusiest returns the least load that the busiest worker can have, by trying
// everything.
func leastBusiest(weights []int64, workers int) int64 {
	sorted := slices.Clone(weights)
	slices.SortFunc(sorted, func(a, b int64) int { return int(b - a) })
	loads := make([]int64, workers)
	best := int64(1) << 62
	var try func(i int, busiest int64)
	try = func(i int, busiest int64) {
		if busiest >= best {
			return
		}
		if i == len(sorted) {
			best = busiest
			return
		}
		for w := range loads {
			if w > 0 && slices.Contains(loads[:w], loads[w]) {
				continue // the same as an earlier worker
			}
			loads[w] += sorted[i]
			try(i+1, max(busiest, loads[w]))
			loads[w] -= sorted[i]
		}
	}
	try(0, 0)
	return best
}

func TestTinyFleetsComeNearTheOptimum(t *testing.T) {
	for name, draw := range map[string]drawer{"equal": equal, "uniform": uniform, "lognormal": lognormal, "zipf": zipf} {
		rng := rand.New(rand.NewPCG(31, 32))
		var sum, worst, cases float64
		for seed := range uint64(300) {
			workers := 2 + rng.IntN(3)
			tr := newTrial(t, strategy.NewConsistentHash(), goalSeed+seed, 1+rng.IntN(10), workers, draw)
			look := func() {
				loads := plan.Loads(tr.owners, tr.weights, len(tr.workers))
				ratio := float64(slices.Max(loads)) / float64(leastBusiest(tr.weights, len(tr.workers)))
				sum += ratio
				worst = max(worst, ratio)
				cases++
			}
			look()
			if rng.IntN(2) == 0 {
				tr.join()
			} else {
				tr.leave(rng.IntN(workers))
			}
			look()
		}
		t.Logf("%s: the busiest worker has %.4f of the optimum on average, %.4f at worst", name, sum/cases, worst)
		if sum/cases > 1.02 || worst > 1.25 {
			t.Errorf("%s: the busiest worker has %.4f of the optimum on average, %.4f at worst; want 1.02 and 1.25", name, sum/cases, worst)
		}
	}
}

// fewestMoves returns the least weight that must move from prev so that no more
// load is outside of low to high than given, by trying everything.
func fewestMoves(weights []int64, prev []int32, low, high []int64, outside int64) int64 {
	loads := make([]int64, len(low))
	best := int64(1) << 62
	var try func(i int, moved int64)
	try = func(i int, moved int64) {
		if moved >= best {
			return
		}
		if i == len(weights) {
			if outsideOf(loads, low, high) <= outside {
				best = moved
			}
			return
		}
		for w := range loads {
			m := moved
			if prev[i] != int32(w) {
				m += weights[i]
			}
			loads[w] += weights[i]
			try(i+1, m)
			loads[w] -= weights[i]
		}
	}
	try(0, 0)
	return best
}

func outsideOf(loads, low, high []int64) (sum int64) {
	for w, l := range loads {
		sum += max(0, l-high[w]) + max(0, low[w]-l)
	}
	return sum
}

func TestTinyFleetsMoveLittle(t *testing.T) {
	limits := map[string]float64{"equal": 1, "uniform": 1.2, "lognormal": 1.2}
	for name, draw := range map[string]drawer{"equal": equal, "uniform": uniform, "lognormal": lognormal} {
		rng := rand.New(rand.NewPCG(41, 42))
		var moved, least int64
		for seed := range uint64(300) {
			workers := 2 + rng.IntN(3)
			tr := newTrial(t, strategy.NewConsistentHash(), goalSeed+seed, 4+rng.IntN(5), workers, draw)
			before, names := tr.owners, slices.Clone(tr.workers)
			var m int64
			if rng.IntN(2) == 0 {
				m = tr.join()
			} else {
				m, _ = tr.leave(rng.IntN(workers))
			}
			n := len(tr.workers)
			if level := float64(tr.total()) / float64(n); float64(slices.Max(tr.weights)) > level {
				continue // with giants the band is another one
			}
			low, high := plan.Band(tr.total(), n, nil, 0.02)
			prev := plan.Translate(before, names, tr.workers)
			moved += m
			least += fewestMoves(tr.weights, prev, low, high, outsideOf(plan.Loads(tr.owners, tr.weights, n), low, high))
		}
		t.Logf("%s: moved %.4f of the least possible", name, float64(moved)/float64(least))
		if float64(moved) > limits[name]*float64(least) {
			t.Errorf("%s: moved %.4f of the least possible, want at most %.1f", name, float64(moved)/float64(least), limits[name])
		}
	}
}
