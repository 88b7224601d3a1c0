package strategy

import (
	"cmp"
	"slices"

	"github.com/arloliu/parti/internal/plan"
)

// quotas divides n equal things among workers by their capacities, nil for equal
// ones, in whole numbers. Each gets its share rounded down; the rest go, one
// each, first to those who hold more than that already, so that as few things
// move as can be, then to those who lost most by the rounding.
func quotas(n, workers int, capacities []float64, held []int) []int {
	quota := make([]int, workers)
	rest := make([]float64, workers)
	left := n
	sum := 0.0
	for _, c := range capacities {
		sum += c
	}
	for w := range quota {
		if capacities == nil {
			quota[w] = n / workers
		} else {
			share := float64(capacities[w] / sum * float64(n)) // converted: not fused with what follows
			quota[w] = min(int(share), left)
			rest[w] = share - float64(quota[w])
		}
		left -= quota[w]
	}
	order := make([]int, workers)
	for w := range order {
		order[w] = w
	}
	slices.SortFunc(order, func(a, b int) int {
		// Who has no remainder is due no more, whatever it holds.
		saves := func(w int) int {
			if held[w] > quota[w] && (capacities == nil || rest[w] > 1e-9) {
				return 1
			}
			return 0
		}
		if c := cmp.Compare(saves(b), saves(a)); c != 0 {
			return c
		}
		if c := cmp.Compare(rest[b], rest[a]); c != 0 {
			return c
		}
		if c := cmp.Compare(held[b], held[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	for i := 0; left > 0; i++ {
		quota[order[i%workers]]++
		left--
	}
	return quota
}

// deal gives every worker its quota of partitions, taken in order of position.
// Those in the hands of a worker with room stay; the others are dealt to the
// workers with room in turn.
func deal(p *problem) []int32 {
	owners := make([]int32, len(p.parts))
	held := make([]int, len(p.workers))
	for i := range owners {
		owners[i] = plan.None
		if p.prev != nil {
			owners[i] = p.prev[i]
		}
		if owners[i] != plan.None {
			held[owners[i]]++
		}
	}
	room := quotas(len(p.parts), len(p.workers), p.capacities, held)
	for i, o := range owners {
		switch {
		case o == plan.None:
		case room[o] > 0:
			room[o]--
		default:
			owners[i] = plan.None
		}
	}
	turn := newTurns(room)
	for i, o := range owners {
		if o == plan.None {
			owners[i] = turn.next()
		}
	}
	return owners
}

// turns goes round the workers that still have room.
type turns struct {
	room []int
	open []int32
	at   int
}

func newTurns(room []int) *turns {
	t := &turns{room: room}
	for w, n := range room {
		if n > 0 {
			t.open = append(t.open, int32(w))
		}
	}
	return t
}

// next returns the worker whose turn it is and takes one from its room. Workers
// that are full drop out when a round ends, so that a round costs no more than
// it deals.
func (t *turns) next() int32 {
	for {
		if t.at == len(t.open) {
			t.at = 0
			t.open = slices.DeleteFunc(t.open, func(w int32) bool { return t.room[w] == 0 })
		}
		w := t.open[t.at]
		t.at++
		if t.room[w] > 0 {
			t.room[w]--
			return w
		}
	}
}
