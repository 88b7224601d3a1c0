package strategy

import (
	"math"
	"sort"

	"github.com/cespare/xxhash/v2"

	"github.com/arloliu/parti/internal/plan"
)

// shed takes partitions from workers above the band until they are inside it, and
// from others until what has no owner suffices to lift everybody into the band.
func (b *balancer) shed() {
	need := b.need
	var needed, excess int64
	for w, l := range b.load {
		need[w] = max(0, b.low[w]-l)
		needed += need[w]
		excess += max(0, l-b.high[w])
	}
	if needed > 0 && needed > b.pooled {
		excess -= b.shedHome(need, needed-b.pooled-excess)
	}
	var items items
	if excess > 0 {
		items = b.itemsByWorker()
		for w, l := range b.load {
			if l > b.high[w] {
				b.shedExcess(int32(w), items.of(int32(w)))
			}
		}
	}
	missing := -b.pooled
	for w, l := range b.load {
		missing += max(0, b.low[w]-l)
	}
	if missing > 0 {
		if excess <= 0 {
			items = b.itemsByWorker()
		}
		b.shedFullest(missing, items)
	}
}

// shedHome takes what has its home at a worker that needs it: from workers above
// the band as far as they must give anyway, and up to missing from those who stay
// at or above their level. It returns how much of the excess above the band it
// took.
//
// It goes through the partitions backwards, while a cold start takes those that a
// home cannot keep forwards: so a worker that left and comes back finds the
// partitions that it had.
func (b *balancer) shedHome(need []int64, missing int64) (excess int64) {
	for i := int32(len(b.owners)) - 1; i >= 0; i-- {
		o, h := b.owners[i], b.homes[i]
		if o == h || need[h] <= 0 || o == plan.None || b.isPinned(i) {
			continue
		}
		switch w := b.weights[i]; {
		case w <= b.load[o]-b.high[o]:
			excess += w
		case w <= b.load[o]-b.level[o] && missing > 0:
			missing -= w
			excess += max(0, b.load[o]-b.high[o])
		default:
			continue
		}
		need[h] -= b.weights[i]
		b.take(i)
	}
	return excess
}

// shedExcess takes from a worker above the band what it has too much: first
// whatever fits, then the partition nearest to what is still too much, if that
// does more good than harm.
func (b *balancer) shedExcess(w int32, items []int32) {
	for _, i := range items {
		excess := b.load[w] - b.high[w]
		if excess < b.lightest {
			break
		}
		if b.owners[i] == w && b.weights[i] <= excess && !b.isPinned(i) {
			b.take(i)
		}
	}
	excess := b.load[w] - b.high[w]
	if excess <= 0 {
		return
	}
	nearest := b.nearest(w, excess, items)
	if nearest == plan.None {
		return
	}
	if short := b.low[w] - (b.load[w] - b.weights[nearest]); short < excess {
		b.take(nearest)
	}
}

// nearest returns the lightest of a worker's partitions that is no lighter than
// excess, or None.
func (b *balancer) nearest(w int32, excess int64, items []int32) int32 {
	nearest, ideal := plan.None, max(excess, b.lightest)
	for _, i := range items {
		if b.owners[i] == w && b.weights[i] >= excess && !b.isPinned(i) && (nearest == plan.None || b.weights[i] < b.weights[nearest]) {
			nearest = i
			if b.weights[i] == ideal {
				break
			}
		}
	}
	return nearest
}

// giveHeavy moves a partition from the worker farthest above the band to the
// emptiest other one, where it may well be too much: what is light can make room
// for what is heavy, but not the other way round. It reports whether there was
// any.
func (b *balancer) giveHeavy() bool {
	from, to := int32(0), plan.None
	for w := range int32(len(b.load)) {
		if b.load[w]-b.high[w] > b.load[from]-b.high[from] {
			from = w
		}
	}
	for w := range int32(len(b.load)) {
		if w != from && (to == plan.None || b.level[w]-b.load[w] > b.level[to]-b.load[to]) {
			to = w
		}
	}
	excess := b.load[from] - b.high[from]
	if excess <= 0 || to == plan.None {
		return false
	}
	i := b.nearest(from, excess, b.itemsByWorker().of(from))
	if i == plan.None {
		return false
	}
	b.undo = append(b.undo, change{i, from})
	b.taken = true
	b.move(i, to)
	return true
}

// shedFullest takes what is missing from whoever is fullest at the time.
func (b *balancer) shedFullest(missing int64, items items) {
	over, fullest, next := b.key, &b.heap, b.next
	for w, l := range b.load {
		over[w] = l - b.level[w]
	}
	const empty = math.MinInt64 // has nothing to give any more
	fullest.init(over)
	clear(next)
	for missing > 0 {
		o := fullest.top()
		mine := items.of(o)
		if next[o] == len(mine) {
			if over[o] == empty {
				return
			}
			fullest.set(o, empty)
			continue
		}
		i := mine[next[o]]
		next[o]++
		if w := b.weights[i]; b.owners[i] == o && b.load[o]-w >= b.low[o] && !b.isPinned(i) {
			b.take(i)
			missing -= w
			fullest.set(o, over[o]-w)
		}
	}
}

// scanStart returns the position where scans begin: it depends on the workers, so
// that it is not always the same partitions that move.
func (p *problem) scanStart() int {
	var salt uint64
	for _, id := range p.workers {
		salt = mix(salt + xxhash.Sum64String(id))
	}
	return sort.Search(len(p.order), func(i int) bool { return p.order[i].hash() >= uint32(salt>>32) })
}
