package strategy

import (
	"fmt"

	"github.com/arloliu/parti"
)

// RoundRobin deals partitions, sorted by their keys, to the workers in turn:
// every worker has the same number of them, give or take one, whatever their
// weights. When workers come and go no more partitions move than the new numbers
// need, because it is a [parti.Rebalancer]; Assign alone, which does not know
// previous owners, deals everything anew.
type RoundRobin struct {
	lister lister
}

var (
	_ parti.AssignmentStrategy = (*RoundRobin)(nil)
	_ parti.Rebalancer         = (*RoundRobin)(nil)
)

// NewRoundRobin returns a round-robin strategy.
func NewRoundRobin() *RoundRobin { return &RoundRobin{lister: lister{byKeys: true}} }

// Assign deals partitions to workers as if there had been no assignment before.
func (s *RoundRobin) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	return s.Rebalance(parti.RebalanceInput{Workers: fleet(workers), Partitions: partitions})
}

// Rebalance leaves partitions with their previous owners as far as numbers stay
// even, and deals the others.
func (s *RoundRobin) Rebalance(in parti.RebalanceInput) (map[string][]parti.Partition, error) {
	p, err := newProblem(in, &s.lister)
	if err != nil {
		return nil, fmt.Errorf("round robin: %w", err)
	}
	if len(p.parts) == 0 {
		return p.result(nil), nil
	}
	return p.result(deal(p)), nil
}
