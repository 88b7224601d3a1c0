package strategy

import (
	"fmt"
	"math"

	"github.com/arloliu/parti"
)

const (
	defaultVirtualNodes = 150
	defaultLoadBand     = 0.02
	maxVirtualNodes     = 1 << 16
)

// ConsistentHash keeps partitions where they are. A hash ring with virtual nodes
// (Karger et al. 1997) gives each partition a home; a partition lives elsewhere
// only when that keeps the load even: every worker within the load band around
// its share of the weight. When workers come and go it moves little more than it
// must for that.
//
// It is a [parti.Rebalancer]; Assign alone, which does not know previous owners,
// is even too and moves somewhat more.
type ConsistentHash struct {
	nodes  int
	seed   uint64
	band   float64
	lister lister
}

var (
	_ parti.AssignmentStrategy = (*ConsistentHash)(nil)
	_ parti.Rebalancer         = (*ConsistentHash)(nil)
)

// ConsistentHashOption configures [NewConsistentHash].
type ConsistentHashOption func(*ConsistentHash)

// NewConsistentHash returns a consistent hashing strategy. An option out of its
// range is reported by every Assign and Rebalance.
func NewConsistentHash(opts ...ConsistentHashOption) *ConsistentHash {
	s := &ConsistentHash{nodes: defaultVirtualNodes, band: defaultLoadBand}
	for _, opt := range opts {
		opt(s)
	}
	s.lister.seed = s.seed
	return s
}

// WithVirtualNodes sets how many points a worker has on the hash ring, 1 to
// 65536; the default is 150. More of them even out what each worker calls its
// home and cost time and memory when the ring is made.
func WithVirtualNodes(n int) ConsistentHashOption {
	return func(s *ConsistentHash) { s.nodes = n }
}

// WithHashSeed sets the seed of the hashes; the default is 0. All workers of a
// group must use the same: with another one most partitions have another home.
func WithHashSeed(seed uint64) ConsistentHashOption {
	return func(s *ConsistentHash) { s.seed = seed }
}

// WithLoadBand sets how far from its share of the weight a worker may be: 0.02,
// the default, is 2 % above or below. A narrower band moves more partitions for
// an evener load, a wider one fewer. 0 switches balancing off: every partition
// lives at its home on the ring, whatever the load.
func WithLoadBand(width float64) ConsistentHashOption {
	return func(s *ConsistentHash) { s.band = width }
}

// Assign divides partitions among workers as if there had been no assignment
// before.
func (s *ConsistentHash) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	return s.Rebalance(parti.RebalanceInput{Workers: fleet(workers), Partitions: partitions})
}

// Rebalance divides partitions among workers and leaves with its previous owner
// whatever need not move.
func (s *ConsistentHash) Rebalance(in parti.RebalanceInput) (map[string][]parti.Partition, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("consistent hash: %w", err)
	}
	p, err := newProblem(in, &s.lister)
	if err != nil {
		return nil, fmt.Errorf("consistent hash: %w", err)
	}
	if len(p.parts) == 0 {
		return p.result(nil), nil
	}
	homes := newRing(p.workers, p.capacities, s.nodes, s.seed).homes(p.listing)
	if s.band == 0 {
		return p.result(homes), nil
	}
	return p.result(balance(p, homes, s.band)), nil
}

func (s *ConsistentHash) check() error {
	if s.nodes < 1 || s.nodes > maxVirtualNodes {
		return fmt.Errorf("WithVirtualNodes(%d): want 1 to %d", s.nodes, maxVirtualNodes)
	}
	if !(s.band >= 0) || math.IsInf(s.band, 0) {
		return fmt.Errorf("WithLoadBand(%v): want a number of at least 0", s.band)
	}
	return nil
}
