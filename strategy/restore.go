package strategy

import "github.com/arloliu/parti/internal/plan"

// restore gives partitions back to their previous owners, heaviest first, where
// that brings neither worker farther out of the band, and reports whether there
// were any.
func (b *balancer) restore() bool {
	if b.prev == nil || !b.taken {
		return false
	}
	var moved []int32
	for i, o := range b.owners {
		if was := b.prev[i]; was != o && was != plan.None && !b.isPinned(int32(i)) {
			moved = append(moved, int32(i))
		}
	}
	b.sortHeaviestFirst(moved)
	found := false
	for _, i := range moved {
		w, from, to := b.weights[i], b.owners[i], b.prev[i]
		if b.distance(from, -w) <= b.distance(from, 0) && b.distance(to, w) <= b.distance(to, 0) {
			b.move(i, to)
			found = true
		}
	}
	return found
}
