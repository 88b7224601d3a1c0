// Package plan compares and checks assignments.
//
// It works on indexes: an assignment is a vector owners, where owners[i] is the
// index of the worker that owns partition i, or None. Loads, levels and weights
// are whole numbers, so that every machine computes the same.
package plan

import "fmt"

// None stands for "no worker" in a vector of owners.
const None int32 = -1

// Move is a partition that changes hands. From is None for a partition that
// nobody owned, To for one that nobody owns afterwards.
type Move struct {
	Partition int
	From, To  int32
}

// Diff lists the partitions whose owner differs, in ascending order. Both
// vectors count the same workers and have the same length.
func Diff(prev, next []int32) []Move {
	var moves []Move
	for i, from := range prev {
		if to := next[i]; from != to {
			moves = append(moves, Move{Partition: i, From: from, To: to})
		}
	}
	return moves
}

// Moved returns how many partitions of prev change hands, and their weight.
// Partitions that nobody owned before are placed, not moved, and do not count.
func Moved(prev, next []int32, weights []int64) (count int, weight int64) {
	for i, from := range prev {
		if from != None && from != next[i] {
			count++
			weight += weights[i]
		}
	}
	return count, weight
}

// Translate returns owners counted by the names of to instead of those of from.
// An owner that to does not name becomes None.
func Translate(owners []int32, from, to []string) []int32 {
	index := make(map[string]int32, len(to))
	for i, name := range to {
		index[name] = int32(i)
	}
	by := make([]int32, len(from))
	for i, name := range from {
		by[i] = None
		if j, ok := index[name]; ok {
			by[i] = j
		}
	}
	out := make([]int32, len(owners))
	for i, o := range owners {
		out[i] = None
		if o != None {
			out[i] = by[o]
		}
	}
	return out
}

// Loads returns the weight that each of n workers owns.
func Loads(owners []int32, weights []int64, n int) []int64 {
	loads := make([]int64, n)
	for i, o := range owners {
		if o != None {
			loads[o] += weights[i]
		}
	}
	return loads
}

// Check says what is wrong with a vector of owners of n workers, or nil: every
// partition needs an owner.
func Check(owners []int32, n int) error {
	for i, o := range owners {
		switch {
		case o == None:
			return fmt.Errorf("partition %d has no owner", i)
		case o < 0 || int(o) >= n:
			return fmt.Errorf("partition %d is owned by worker %d of %d", i, o, n)
		}
	}
	return nil
}
