package strategy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
)

// problem is the checked input of one call. It counts workers by their rank and
// partitions by their position in the listing.
type problem struct {
	*listing
	parts      []parti.Partition // the caller's list
	workers    []string          // who may own, in ascending order
	capacities []float64         // of workers, above zero; nil when all are equal
	cordoned   []string          // those with capacity 0
	prev       []int32           // owners before, None for none alive; nil when there are none
}

// newProblem checks the input and puts it in order. Its errors name the first
// offender.
func newProblem(in parti.RebalanceInput, lister *lister) (*problem, error) {
	p := &problem{parts: in.Partitions}
	if err := p.setWorkers(in.Workers); err != nil {
		return nil, err
	}
	list, err := lister.list(in.Partitions)
	if err != nil {
		return nil, err
	}
	p.listing = list
	if err := p.setPrev(in.PrevWorkers, in.PrevOwner); err != nil {
		return nil, err
	}
	if len(p.workers) == 0 && len(p.parts) > 0 {
		if len(p.cordoned) > 0 {
			return nil, fmt.Errorf("all %d workers have capacity 0: nobody can own partition %q", len(p.cordoned), p.parts[0])
		}
		return nil, fmt.Errorf("no workers: nobody can own partition %q", p.parts[0])
	}
	return p, nil
}

// fleet returns workers with one share each.
func fleet(workers []string) []parti.WorkerInfo {
	infos := make([]parti.WorkerInfo, len(workers))
	for i, id := range workers {
		infos[i] = parti.WorkerInfo{ID: id, Capacity: 1}
	}
	return infos
}

func (p *problem) setWorkers(workers []parti.WorkerInfo) error {
	seen := make(map[string]struct{}, len(workers))
	sum := 0.0
	for _, w := range workers {
		if w.ID == "" {
			return fmt.Errorf("worker without an id")
		}
		if _, ok := seen[w.ID]; ok {
			return fmt.Errorf("worker %q is listed twice", w.ID)
		}
		seen[w.ID] = struct{}{}
		if c := w.Capacity; math.IsNaN(c) || math.IsInf(c, 0) || c < 0 {
			return fmt.Errorf("worker %q: capacity %v: want a number of at least 0", w.ID, c)
		}
		if sum += w.Capacity; math.IsInf(sum, 0) {
			return fmt.Errorf("worker %q: capacity %v: the capacities add up to more than a float64 holds", w.ID, w.Capacity)
		}
	}
	sorted := slices.Clone(workers)
	slices.SortFunc(sorted, func(a, b parti.WorkerInfo) int { return strings.Compare(a.ID, b.ID) })
	equal := true
	for _, w := range sorted {
		if w.Capacity == 0 {
			p.cordoned = append(p.cordoned, w.ID)
			continue
		}
		p.workers = append(p.workers, w.ID)
		p.capacities = append(p.capacities, w.Capacity)
		equal = equal && w.Capacity == p.capacities[0]
	}
	if equal {
		p.capacities = nil
	}
	return nil
}

func (p *problem) setPrev(workers []string, owners []int32) error {
	if owners == nil {
		return nil
	}
	if len(owners) != len(p.parts) {
		return fmt.Errorf("%d previous owners for %d partitions", len(owners), len(p.parts))
	}
	seen := make(map[string]struct{}, len(workers))
	for _, id := range workers {
		if _, ok := seen[id]; ok {
			return fmt.Errorf("previous worker %q is listed twice", id)
		}
		seen[id] = struct{}{}
	}
	rank := make([]int32, len(workers))
	for i, id := range workers {
		rank[i] = plan.None
		if w, ok := slices.BinarySearch(p.workers, id); ok {
			rank[i] = int32(w)
		}
	}
	alive := false
	for i, o := range owners {
		if o == plan.None {
			continue
		}
		if o < 0 || int(o) >= len(workers) {
			return fmt.Errorf("partition %q: previous owner %d of %d", p.parts[i], o, len(workers))
		}
		alive = alive || rank[o] != plan.None
	}
	if !alive {
		return nil
	}
	p.prev = make([]int32, len(owners))
	inParallel(len(owners), func(from, to int) {
		for n := from; n < to; n++ {
			if o := owners[p.order[n].number()]; o == plan.None {
				p.prev[n] = plan.None
			} else {
				p.prev[n] = rank[o]
			}
		}
	})
	return nil
}

// result turns owners into what a strategy returns: the partitions of each
// worker by position, all cut from one array. It first sorts numbers and then
// copies partitions, because the latter lie all over the caller's list and are
// read twice as fast in a loop that does nothing else.
func (p *problem) result(owners []int32) map[string][]parti.Partition {
	next := make([]int, len(p.workers)+1)
	for _, o := range owners {
		next[o+1]++
	}
	all := make([]parti.Partition, len(p.parts))
	out := make(map[string][]parti.Partition, len(p.workers)+len(p.cordoned))
	for _, id := range p.cordoned {
		out[id] = []parti.Partition{}
	}
	for w, id := range p.workers {
		from, to := next[w], next[w]+next[w+1]
		out[id] = all[from:to:to]
		next[w+1] = to
	}
	from := make([]int32, len(p.parts))
	for n, o := range owners {
		from[next[o]] = p.order[n].number()
		next[o]++
	}
	inParallel(len(all), func(lo, hi int) {
		for n, i := range from[lo:hi] {
			all[lo+n] = p.parts[i]
		}
	})
	return out
}
