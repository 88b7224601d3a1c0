package strategy

import (
	"slices"

	"github.com/arloliu/parti/internal/plan"
)

// items lists the partitions of each worker.
type items struct {
	all []int32
	end []int // of each worker's part of all
}

// of returns the partitions of worker w.
func (l items) of(w int32) []int32 {
	if w == 0 {
		return l.all[:l.end[0]]
	}
	return l.all[l.end[w-1]:l.end[w]]
}

// itemsByWorker lists the partitions of each worker by position, beginning at
// b.start. The result is good until the next call.
func (b *balancer) itemsByWorker() items {
	n := len(b.load)
	l := &b.items
	l.end = slices.Grow(l.end[:0], n)[:n]
	clear(l.end)
	owned := 0
	for _, o := range b.owners {
		if o != plan.None {
			l.end[o]++
			owned++
		}
	}
	from := 0
	for w, count := range l.end {
		l.end[w], from = from, from+count
	}
	l.all = slices.Grow(l.all[:0], owned)[:owned]
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			if o := b.owners[i]; o != plan.None {
				l.all[l.end[o]] = int32(i)
				l.end[o]++
			}
		}
	}
	fill(b.start, len(b.owners))
	fill(0, b.start)
	return *l
}
