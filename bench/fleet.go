package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/arloliu/parti"
)

// drawer draws weights.
type drawer struct {
	name string
	draw func(*rand.Rand) int64
}

var (
	equal     = drawer{"equal", func(*rand.Rand) int64 { return 100 }}
	uniform   = drawer{"uniform", func(r *rand.Rand) int64 { return 50 + r.Int64N(451) }}
	lognormal = drawer{"lognormal", func(r *rand.Rand) int64 { return max(1, int64(100*math.Exp(r.NormFloat64()))) }}
	zipf      = drawer{"zipf", func(r *rand.Rand) int64 { return 1_000_000 / (1 + r.Int64N(10_000)) }}
)

// fleet is a list of partitions, the workers that share it, and who owns what.
type fleet struct {
	rng     *rand.Rand
	parts   []parti.Partition
	weights []int64
	total   int64
	workers []string
	next    int     // number of the next newcomer
	owners  []int32 // index into workers
}

func newFleet(seed uint64, partitions, workers int, d drawer) *fleet {
	f := &fleet{rng: rand.New(rand.NewPCG(seed, 77))}
	f.parts = make([]parti.Partition, partitions)
	for i := range f.parts {
		f.parts[i].Keys = []string{fmt.Sprintf("t%d", seed), fmt.Sprintf("p%d", i)}
	}
	f.weights = make([]int64, partitions)
	f.redraw(d, 1)
	for range workers {
		f.workers = append(f.workers, f.newName())
	}
	return f
}

// redraw gives a part of the partitions other weights.
func (f *fleet) redraw(d drawer, part float64) {
	n := len(f.parts)
	for k := range int(part * float64(n)) {
		i := k
		if part < 1 {
			i = f.rng.IntN(n)
		}
		f.weights[i] = d.draw(f.rng)
		f.parts[i].Weight = f.weights[i]
	}
	f.total = 0
	for _, w := range f.weights {
		f.total += w
	}
}

func (f *fleet) newName() string {
	f.next++
	return fmt.Sprintf("worker-%d", f.next-1)
}

// input is what a Rebalancer is asked, when workers share what was owned by prev.
func (f *fleet) input(workers, prev []string, owners []int32) parti.RebalanceInput {
	in := parti.RebalanceInput{Partitions: f.parts, PrevWorkers: prev, PrevOwner: owners}
	for _, id := range workers {
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: 1})
	}
	return in
}

// ownersIn turns a result into owners: the index into workers, per partition.
func (f *fleet) ownersIn(result map[string][]parti.Partition, workers []string) ([]int32, error) {
	owners := slices.Repeat([]int32{-1}, len(f.parts))
	left := len(owners)
	for w, id := range workers {
		for _, p := range result[id] {
			i, err := strconv.Atoi(p.Keys[1][1:]) // no index: the collector would have to go through it
			if err != nil || i >= len(f.parts) || &f.parts[i].Keys[0] != &p.Keys[0] || owners[i] >= 0 {
				return nil, fmt.Errorf("%s was given %v, which is unknown or another's", id, p)
			}
			owners[i] = int32(w)
			left--
		}
	}
	if left != 0 {
		return nil, fmt.Errorf("%d of %d partitions were not assigned once", left, len(owners))
	}
	return owners, nil
}

// loads are the weights that the workers own.
func (f *fleet) loads(workers []string, owners []int32) []int64 {
	loads := make([]int64, len(workers))
	for i, o := range owners {
		loads[o] += f.weights[i]
	}
	return loads
}

// busiest is the load of the busiest worker over the mean, and the least it can
// be: one, or the heaviest partition.
func (f *fleet) busiest(workers []string, owners []int32) (got, least float64) {
	most, heaviest := int64(0), int64(0)
	for _, l := range f.loads(workers, owners) {
		most = max(most, l)
	}
	for _, w := range f.weights {
		heaviest = max(heaviest, w)
	}
	mean := float64(f.total) / float64(len(workers))
	return float64(most) / mean, max(1, float64(heaviest)/mean)
}

// moved is the weight whose owner's name differs.
func (f *fleet) moved(was []string, before []int32, is []string, after []int32) (sum int64) {
	for i := range before {
		if was[before[i]] != is[after[i]] {
			sum += f.weights[i]
		}
	}
	return sum
}
