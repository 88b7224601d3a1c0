package strategy

import (
	"cmp"
	"slices"
)

// maxExchange bounds the pairs that one exchange looks at. It is meant for
// workers with few and heavy partitions, where shedding and placing one by one
// gets stuck; with more of them the loads come out even without it.
const maxExchange = 1 << 18

// exchange looks for the one move or swap of two partitions that brings most load
// into the band, away from or to the worker that is farthest outside for which
// there is any, and makes it.
func (b *balancer) exchange() bool {
	var off []int32
	for w := range b.load {
		if b.distance(int32(w), 0) > 0 {
			off = append(off, int32(w))
		}
	}
	slices.SortFunc(off, func(v, w int32) int {
		if c := cmp.Compare(b.distance(w, 0), b.distance(v, 0)); c != 0 {
			return c
		}
		return cmp.Compare(v, w)
	})
	items := b.itemsByWorker()
	budget := maxExchange
	for _, w := range off {
		if budget -= (len(items.of(w)) + 1) * (len(b.owners) + len(b.load)); budget < 0 {
			return false
		}
		if b.exchangeWith(w, items) {
			return true
		}
	}
	return false
}

// distance is how far worker w would be outside the band with more load.
func (b *balancer) distance(w int32, more int64) int64 {
	l := b.load[w] + more
	return max(0, l-b.high[w], b.low[w]-l)
}

// exchangeWith makes the best exchange of worker w with another one, if there is
// any that helps. Of equally good ones it takes that which moves less.
func (b *balancer) exchangeWith(w int32, items items) bool {
	const nothing = int32(-1)
	var gain, cost int64
	give, get, other := nothing, nothing, w
	consider := func(i, j, v int32) {
		var out, in int64
		if i != nothing {
			out = b.weights[i]
		}
		if j != nothing {
			in = b.weights[j]
		}
		g := b.distance(w, 0) + b.distance(v, 0) - b.distance(w, in-out) - b.distance(v, out-in)
		if g > gain || g == gain && g > 0 && out+in < cost {
			gain, cost, give, get, other = g, out+in, i, j, v
		}
	}
	for v := range int32(len(b.load)) {
		if v == w {
			continue
		}
		for _, i := range items.of(w) {
			if !b.isPinned(i) {
				consider(i, nothing, v)
			}
		}
		for _, j := range items.of(v) {
			if b.isPinned(j) {
				continue
			}
			consider(nothing, j, v)
			for _, i := range items.of(w) {
				if !b.isPinned(i) {
					consider(i, j, v)
				}
			}
		}
	}
	if gain == 0 {
		return false
	}
	b.taken = true
	if give != nothing {
		b.move(give, other)
	}
	if get != nothing {
		b.move(get, w)
	}
	return true
}

// move gives partition i to worker w.
func (b *balancer) move(i, w int32) {
	b.load[b.owners[i]] -= b.weights[i]
	b.load[w] += b.weights[i]
	b.owners[i] = w
}
