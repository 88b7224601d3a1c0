package strategy

import (
	"fmt"
	"slices"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
)

// StickyStrategy makes another strategy move little; see [Sticky].
type StickyStrategy struct {
	inner  parti.AssignmentStrategy
	lister lister
}

var (
	_ parti.AssignmentStrategy = (*StickyStrategy)(nil)
	_ parti.Rebalancer         = (*StickyStrategy)(nil)
)

// Sticky wraps any strategy, so that partitions stay with their owners while the
// load is even. Where inner puts a partition becomes its home: it lives there
// unless that makes a worker's load uneven by more than 2 %, and a partition
// that is in place moves for the sake of the load only.
//
// Inner gets the workers and partitions in an order that depends on nothing but
// themselves. What it returns must be complete.
func Sticky(inner parti.AssignmentStrategy) *StickyStrategy {
	return &StickyStrategy{inner: inner}
}

// Assign divides partitions among workers as if there had been no assignment
// before.
func (s *StickyStrategy) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	return s.Rebalance(parti.RebalanceInput{Workers: fleet(workers), Partitions: partitions})
}

// Rebalance divides partitions among workers and leaves with its previous owner
// whatever need not move.
func (s *StickyStrategy) Rebalance(in parti.RebalanceInput) (map[string][]parti.Partition, error) {
	p, err := newProblem(in, &s.lister)
	if err != nil {
		return nil, fmt.Errorf("sticky: %w", err)
	}
	if len(p.parts) == 0 {
		return p.result(nil), nil
	}
	if s.inner == nil {
		return nil, fmt.Errorf("sticky: no strategy to wrap")
	}
	homes, err := s.homes(p)
	if err != nil {
		return nil, fmt.Errorf("sticky: %w", err)
	}
	return p.result(balance(p, homes, defaultLoadBand)), nil
}

// homes asks the inner strategy and checks its answer.
func (s *StickyStrategy) homes(p *problem) ([]int32, error) {
	list := make([]parti.Partition, len(p.parts))
	hashes := make([]uint64, len(p.parts))
	for n, h := range p.order {
		list[n] = p.parts[h.number()]
		hashes[n] = uint64(h.hash()) << 32
	}
	assigned, err := s.inner.Assign(slices.Clone(p.workers), slices.Clone(list))
	if err != nil {
		return nil, err
	}
	index, _ := plan.NewIndex(hashes, func(int32, int32) bool { return false })
	homes := make([]int32, len(p.parts))
	for i := range homes {
		homes[i] = plan.None
	}
	left := len(homes)
	known := 0
	for w, id := range p.workers {
		mine, ok := assigned[id]
		if ok {
			known++
		}
		for _, part := range mine {
			i := index.Find(uint64(hashKeys(s.lister.seed, part.Keys))<<32, func(i int32) bool { return slices.Equal(list[i].Keys, part.Keys) })
			if i == plan.None {
				return nil, fmt.Errorf("the inner strategy invented partition %q", part)
			}
			if homes[i] != plan.None {
				return nil, fmt.Errorf("the inner strategy assigned partition %q twice", part)
			}
			homes[i] = int32(w)
			left--
		}
	}
	if known < len(assigned) {
		return nil, unknownWorker(p, assigned)
	}
	if left > 0 {
		return nil, fmt.Errorf("the inner strategy lost partition %q", list[slices.Index(homes, plan.None)])
	}
	return homes, nil
}

// unknownWorker names the first worker, in ascending order, that is not in the
// fleet.
func unknownWorker(p *problem, assigned map[string][]parti.Partition) error {
	first := ""
	found := false
	for id := range assigned {
		if _, ok := slices.BinarySearch(p.workers, id); !ok && (!found || id < first) {
			first, found = id, true
		}
	}
	return fmt.Errorf("the inner strategy assigned to the unknown worker %q", first)
}
