package plan

import "math"

// Imbalance returns the largest relative distance of a worker's load from its
// share of the whole: 0 when all are even, 0.5 when one has half as much again
// as it should or half of it. Shares follow the capacities; nil means equal
// ones. A worker with capacity 0 should own nothing: any load of it is infinitely
// far away.
func Imbalance(loads []int64, capacities []float64) float64 {
	var total, shares float64
	for w, l := range loads {
		total += float64(l)
		shares += capacity(capacities, w)
	}
	worst := 0.0
	for w, l := range loads {
		level := 0.0
		if shares > 0 {
			level = float64(total * (capacity(capacities, w) / shares)) // converted: not fused, the same everywhere
		}
		switch {
		case level > 0:
			worst = max(worst, math.Abs(float64(l)-level)/level)
		case l > 0:
			return math.Inf(1)
		}
	}
	return worst
}

func capacity(capacities []float64, w int) float64 {
	if capacities == nil {
		return 1
	}
	return capacities[w]
}

// LowerBound returns the least weight that any plan must move to bring every
// worker into the band between low and high: loads are what the workers own now,
// orphans is the weight of partitions whose owner is gone, fresh that of
// partitions nobody ever owned. The orphans move in any case; what is above the
// band must leave its worker, and what is missing below it must come from
// somewhere. Orphans count as moved, fresh partitions do not.
func LowerBound(loads, low, high []int64, orphans, fresh int64) int64 {
	var over, under int64
	for w, l := range loads {
		over += max(0, l-high[w])
		under += max(0, low[w]-l)
	}
	return max(orphans+over, under-fresh)
}

// Band returns the levels of a band of ±width around each worker's share of the
// total, rounded towards the share. Shares follow the capacities; nil means
// equal ones.
func Band(total int64, workers int, capacities []float64, width float64) (low, high []int64) {
	low, high = make([]int64, workers), make([]int64, workers)
	shares := 0.0
	for w := range workers {
		shares += capacity(capacities, w)
	}
	for w := range workers {
		level := float64(total) / float64(workers)
		if capacities != nil && shares > 0 {
			level = float64(total) * (capacity(capacities, w) / shares)
		}
		low[w] = int64(math.Ceil(float64((1 - width) * level)))
		high[w] = int64(math.Floor(float64((1 + width) * level)))
	}
	return low, high
}
