package strategy

import (
	"cmp"
	"math"
	"slices"

	"github.com/arloliu/parti/internal/plan"
)

// levels are the loads that a plan aims at, in whole units of weight. A load is
// good from low to high; to place something, a worker takes up to level.
type levels struct {
	low, level, high []int64
	// pinned are the giants: partitions too heavy for any worker to stay in the
	// band with them. Each has a worker for itself, and the others share the
	// rest.
	pinned map[int32]struct{}
}

// newLevels returns the levels of a band of ±width around each worker's share.
// Giants are given their owner in owners.
func newLevels(p *problem, owners, homes []int32, width float64) *levels {
	n := len(p.workers)
	l := &levels{low: make([]int64, n), level: make([]int64, n), high: make([]int64, n)}
	if p.even {
		l.setEven(p, owners, width)
		return l
	}
	rest := p.total
	free := make([]bool, n)
	for w := range free {
		free[w] = true
	}
	l.pinGiants(p, owners, homes, width, free, &rest)
	shares := p.shares(free)
	for w := range n {
		if !free[w] {
			continue
		}
		share := p.portion(rest, w, shares)
		l.level[w] = int64(share)
		l.low[w], l.high[w] = band(share, width, p.total)
	}
	return l
}

// isPinned reports whether partition i is a giant.
func (l *levels) isPinned(i int32) bool {
	if l.pinned == nil {
		return false
	}
	_, ok := l.pinned[i]
	return ok
}

// setEven sets the levels for partitions of one weight, which fill workers in
// whole numbers: the quotas. The share rounded up or down is always good, since
// nobody can be nearer to it.
func (l *levels) setEven(p *problem, owners []int32, width float64) {
	n := len(p.order)
	held := make([]int, len(p.workers))
	for _, o := range owners {
		if o != plan.None {
			held[o]++
		}
	}
	for w, quota := range quotas(n, len(p.workers), p.capacities, held) {
		floor, ceil := int64(n/len(p.workers)), int64((n+len(p.workers)-1)/len(p.workers))
		share := float64(n) / float64(len(p.workers))
		if p.capacities != nil {
			share = p.portion(int64(n), w, p.allShares())
			floor, ceil = int64(math.Floor(share)), int64(math.Ceil(share))
		}
		low, high := band(share, width, int64(n))
		l.level[w] = int64(quota) * p.heaviest
		l.low[w] = min(floor, low) * p.heaviest
		l.high[w] = max(ceil, high) * p.heaviest
	}
}

// band returns the whole numbers from (1-width)·share to (1+width)·share, none
// above limit.
func band(share, width float64, limit int64) (low, high int64) {
	low = int64(math.Ceil(max(0, float64(1-width)*share)))
	high = limit
	if f := float64(1+width) * share; f < float64(limit) {
		high = int64(f)
	}
	return min(low, limit), high
}

func (p *problem) allShares() float64 {
	sum := 0.0
	for w := range p.workers {
		sum += p.capacity(w)
	}
	return sum
}

// shares adds up the capacities of the free workers.
func (p *problem) shares(free []bool) float64 {
	sum := 0.0
	for w, ok := range free {
		if ok {
			sum += p.capacity(w)
		}
	}
	return sum
}

func (p *problem) capacity(w int) float64 {
	if p.capacities == nil {
		return 1
	}
	return p.capacities[w]
}

// portion returns worker w's part of a weight that is shared by the capacities.
func (p *problem) portion(weight int64, w int, shares float64) float64 {
	return float64(p.capacity(w)/shares) * float64(weight)
}

// pinGiants finds the partitions that would lift even the largest free worker
// above the band, heaviest first, and gives each the worker that is to hold
// nothing else: its owner, else its home, else the one whose load is least, among
// the largest free workers. Each giant that is set aside lowers the level of the
// rest, which may reveal another.
func (l *levels) pinGiants(p *problem, owners, homes []int32, width float64, free []bool, rest *int64) {
	open := len(free)
	for open > 1 {
		limit := l.giantLimit(p, width, free, *rest)
		if float64(p.heaviest) <= limit {
			return
		}
		var giants []int32
		for i, w := range p.weights {
			if _, done := l.pinned[int32(i)]; !done && float64(w) > limit {
				giants = append(giants, int32(i))
			}
		}
		if len(giants) == 0 {
			return
		}
		if l.pinned == nil {
			l.pinned = make(map[int32]struct{})
		}
		p.sortHeaviestFirst(giants)
		for _, i := range giants {
			if open == 1 || float64(p.weights[i]) <= l.giantLimit(p, width, free, *rest) {
				break
			}
			w := p.giantWorker(i, owners, homes, free)
			owners[i] = w
			free[w] = false
			open--
			*rest -= p.weights[i]
			l.pinned[i] = struct{}{}
			l.low[w], l.level[w], l.high[w] = p.weights[i], p.weights[i], p.weights[i]
		}
	}
}

// giantLimit is the top of the band of the largest free worker.
func (l *levels) giantLimit(p *problem, width float64, free []bool, rest int64) float64 {
	shares := p.shares(free)
	limit := 0.0
	for w, ok := range free {
		if ok {
			limit = max(limit, float64(1+width)*p.portion(rest, w, shares))
		}
	}
	return limit
}

func (p *problem) giantWorker(i int32, owners, homes []int32, free []bool) int32 {
	largest := 0.0
	for w, ok := range free {
		if ok {
			largest = max(largest, p.capacity(w))
		}
	}
	fits := func(w int32) bool { return w != plan.None && free[w] && p.capacity(int(w)) == largest }
	if fits(owners[i]) {
		return owners[i]
	}
	if fits(homes[i]) {
		return homes[i]
	}
	loads := plan.Loads(owners, p.weights, len(p.workers))
	best := plan.None
	for w := range int32(len(free)) {
		if fits(w) && (best == plan.None || loads[w] < loads[best]) {
			best = w
		}
	}
	return best
}

// sortHeaviestFirst sorts partitions by weight, those of equal weight by
// position.
func (p *problem) sortHeaviestFirst(list []int32) {
	slices.SortFunc(list, func(a, b int32) int {
		if c := cmp.Compare(p.weights[b], p.weights[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
}
