package strategy

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
)

// problem is the checked input of one call, on indexes.
type problem struct {
	workers    []string  // who may own, in ascending order
	capacities []float64 // of workers, above zero; nil when all are equal
	cordoned   []string  // capacity 0
	parts      []parti.Partition
	keys       *keySet
	weights    []int64 // effective, above zero
	total      int64
	heaviest   int64
	even       bool    // all weights are equal
	prev       []int32 // owners before as indexes into workers; nil when there were none
}

// newProblem checks the input and puts it in order. Its errors name the first
// offender.
func newProblem(in parti.RebalanceInput, hash *keyHasher) (*problem, error) {
	p := &problem{parts: in.Partitions}
	if err := p.setWorkers(in.Workers); err != nil {
		return nil, err
	}
	if err := p.setWeights(); err != nil {
		return nil, err
	}
	keys, err := hash.keySet(in.Partitions)
	if err != nil {
		return nil, err
	}
	p.keys = keys
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

func (p *problem) setWeights() error {
	p.weights = make([]int64, len(p.parts))
	p.even = true
	for i := range p.parts {
		w := p.parts[i].Weight
		if w <= 0 {
			w = parti.DefaultWeight
		}
		if w > math.MaxInt64-p.total {
			return fmt.Errorf("partition %q: weight %d: the weights add up to more than an int64 holds", p.parts[i], w)
		}
		p.total += w
		p.weights[i] = w
		p.heaviest = max(p.heaviest, w)
		p.even = p.even && w == p.weights[0]
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
	for i, o := range owners {
		if o != plan.None && (o < 0 || int(o) >= len(workers)) {
			return fmt.Errorf("partition %q: previous owner %d of %d", p.parts[i], o, len(workers))
		}
	}
	prev := plan.Translate(owners, workers, p.workers)
	if slices.ContainsFunc(prev, func(o int32) bool { return o != plan.None }) {
		p.prev = prev
	}
	return nil
}

// result turns owners into what a strategy returns: the partitions of each
// worker in the given order, all cut from one array.
func (p *problem) result(owners, order []int32) map[string][]parti.Partition {
	end := make([]int, len(p.workers))
	for _, o := range owners {
		end[o]++
	}
	out := make(map[string][]parti.Partition, len(p.workers)+len(p.cordoned))
	for _, id := range p.cordoned {
		out[id] = []parti.Partition{}
	}
	all := make([]parti.Partition, len(p.parts))
	from := 0
	for w, n := range end {
		out[p.workers[w]] = all[from : from+n : from+n]
		end[w], from = from, from+n
	}
	for _, i := range order {
		o := owners[i]
		all[end[o]] = p.parts[i]
		end[o]++
	}
	return out
}
