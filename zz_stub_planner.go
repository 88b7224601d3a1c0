package parti

import (
	"slices"

	"github.com/arloliu/parti/internal/core"
)

// Stubs until the planner is merged.

type partitionList struct{ core *core.List }

func newPartitionList(ps []Partition) (*partitionList, error) {
	l := &core.List{}
	for _, p := range ps {
		if err := p.validate(); err != nil {
			return nil, err
		}
		l.IDs = append(l.IDs, p.ID())
		l.Weights = append(l.Weights, p.Weight)
	}
	return &partitionList{core: l}, nil
}

type planner struct{ strategy AssignmentStrategy }

func newPlanner(s AssignmentStrategy) *planner { return &planner{strategy: s} }

func (p *planner) plan(workers []string, l *partitionList, _ []string, _ []int32) ([]int32, error) {
	ps := make([]Partition, len(l.core.IDs))
	for i, id := range l.core.IDs {
		ps[i], _ = partitionFromID(id, l.core.Weights[i])
	}
	m, err := p.strategy.Assign(workers, ps)
	if err != nil {
		return nil, err
	}
	owners := make([]int32, len(ps))
	for w, own := range m {
		for _, q := range own {
			owners[slices.Index(l.core.IDs, q.ID())] = int32(slices.Index(workers, w))
		}
	}
	return owners, nil
}
