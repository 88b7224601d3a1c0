package strategy

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/arloliu/parti"
)

// listing is a checked list of partitions in an order that does not depend on
// the order of the list. Everything below the strategies counts partitions by
// their position in it, and so cannot depend on the order of the list either. A
// listing is not changed once made.
type listing struct {
	order    []hashed // by position: hash of the keys, and index in the caller's list
	weights  []int64  // by position, effective, so above zero
	total    int64
	heaviest int64
	lightest int64
	even     bool   // all weights are equal
	seen     []seen // by index: what the listing was made of
}

// seen tells whether a partition is still the one that it was.
type seen struct {
	first  *string // the first key, by identity
	keys   int
	weight int64
}

// lister makes listings and keeps the last one, since hashing and sorting a long
// list costs more than everything else. It is recognised by the identity of its
// keys, not by their text.
type lister struct {
	seed uint64
	// byKeys orders a listing by keys, without hashes, instead of by hash.
	byKeys bool
	last   atomic.Pointer[listing]
}

// list returns the listing of partitions. Its error names the first offender.
func (l *lister) list(partitions []parti.Partition) (*listing, error) {
	if last := l.last.Load(); last != nil && last.of(partitions) {
		return last, nil
	}
	made, err := l.make(partitions)
	if err != nil {
		return nil, err
	}
	l.last.Store(made)
	return made, nil
}

// of reports whether the listing was made of these partitions.
func (l *listing) of(partitions []parti.Partition) bool {
	if len(partitions) != len(l.seen) {
		return false
	}
	var changed atomic.Bool
	inParallel(len(partitions), func(from, to int) {
		for i := from; i < to; i++ {
			if look(&partitions[i]) != l.seen[i] {
				changed.Store(true)
				return
			}
		}
	})
	return !changed.Load()
}

func look(p *parti.Partition) seen {
	s := seen{keys: len(p.Keys), weight: p.Weight}
	if len(p.Keys) > 0 {
		s.first = &p.Keys[0]
	}
	return s
}

func (l *lister) make(partitions []parti.Partition) (*listing, error) {
	if len(partitions) > math.MaxInt32 {
		return nil, fmt.Errorf("%d partitions: want at most %d", len(partitions), math.MaxInt32)
	}
	made := &listing{
		order:   make([]hashed, len(partitions)),
		weights: make([]int64, len(partitions)),
		seen:    make([]seen, len(partitions)),
	}
	var bad atomic.Bool
	inParallel(len(partitions), func(from, to int) {
		for i := from; i < to; i++ {
			p := &partitions[i]
			if len(p.Keys) == 0 || slices.Contains(p.Keys, "") {
				bad.Store(true)
				return
			}
			made.seen[i] = look(p)
			var h uint32
			if !l.byKeys {
				h = hashKeys(l.seed, p.Keys)
			}
			made.order[i] = newHashed(h, i)
		}
	})
	if bad.Load() {
		return nil, badKeys(partitions)
	}
	weights, err := made.weigh(partitions)
	if err != nil {
		return nil, err
	}
	if !l.byKeys {
		made.order = sortHashed(made.order)
	}
	if err := made.settle(partitions); err != nil {
		return nil, err
	}
	inParallel(len(partitions), func(from, to int) {
		for n := from; n < to; n++ {
			made.weights[n] = weights[made.order[n].number()]
		}
	})
	return made, nil
}

// weigh adds up the effective weights, and returns them by index: close together,
// since they are read in another order.
func (l *listing) weigh(partitions []parti.Partition) ([]int64, error) {
	weights := make([]int64, len(l.seen))
	l.lightest = math.MaxInt64
	for i := range l.seen {
		if w := l.seen[i].weight; w < 0 {
			return nil, fmt.Errorf("partition %q: weight %d is negative", partitions[i], w)
		}
		w := effective(l.seen[i].weight)
		weights[i] = w
		if w > math.MaxInt64-l.total {
			return nil, fmt.Errorf("partition %q: weight %d: the weights add up to more than an int64 holds", partitions[i], w)
		}
		l.total += w
		l.heaviest = max(l.heaviest, w)
		l.lightest = min(l.lightest, w)
	}
	l.even = l.lightest == l.heaviest
	return weights, nil
}

// settle orders runs of partitions with equal hashes by their keys, and refuses
// those with equal keys.
func (l *listing) settle(partitions []parti.Partition) error {
	twice := int32(math.MaxInt32)
	for from := 0; from < len(l.order); {
		to := from + 1
		for to < len(l.order) && l.order[to].hash() == l.order[from].hash() {
			to++
		}
		if to-from > 1 {
			run := l.order[from:to]
			compare := func(a, b hashed) int {
				return slices.Compare(partitions[a.number()].Keys, partitions[b.number()].Keys)
			}
			slices.SortStableFunc(run, compare)
			for n, h := range run[1:] {
				if compare(run[n], h) == 0 {
					twice = min(twice, h.number())
				}
			}
		}
		from = to
	}
	if twice < math.MaxInt32 {
		return fmt.Errorf("partition %q is listed twice", partitions[twice])
	}
	return nil
}

// badKeys names the first partition whose keys cannot be used.
func badKeys(partitions []parti.Partition) error {
	for i := range partitions {
		if len(partitions[i].Keys) == 0 {
			return fmt.Errorf("partition %d of the list has no keys", i)
		}
		if slices.Contains(partitions[i].Keys, "") {
			return fmt.Errorf("partition %q: one of its keys is empty", partitions[i].Keys)
		}
	}
	return fmt.Errorf("the list of partitions changed while it was read")
}

func effective(weight int64) int64 {
	if weight == 0 {
		return parti.DefaultWeight
	}
	return weight
}
