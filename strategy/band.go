package strategy

import (
	"slices"

	"github.com/arloliu/parti/internal/plan"
)

// maxRounds bounds how often a plan is refined. One or two are the rule; many
// happen only when few and heavy partitions cannot be spread evenly.
const maxRounds = 64

// balance returns owners that keep every worker's load within ±width of its
// share, as near as the weights allow, with few moves away from the previous
// owners and with partitions at their homes where there is a choice.
//
// It follows consistent hashing with bounded loads (Mirrokni, Thorup,
// Zadimoghaddam 2016) in that a home takes what stays below its bound, and goes
// beyond it in three ways: what is in place stays in place, nobody falls below
// the band either, and partitions have weights.
//
// Its result is a fixed point: with it as previous owners nothing moves.
func balance(p *problem, homes []int32, width float64) []int32 {
	b := newBalancer(p, homes)
	if p.prev == nil {
		// A cold start fills a narrower band, so that the first change need not
		// begin with repairs.
		copy(b.owners, homes)
		b.aim(width / 2)
		b.refine()
	} else {
		copy(b.owners, p.prev)
	}
	b.start = p.scanStart()
	b.aim(width)
	if b.collect() {
		b.round()
	}
	b.refine()
	return b.owners
}

// balancer is the state of one balance.
type balancer struct {
	*problem
	homes  []int32
	owners []int32 // None: taken from its owner and not placed yet
	*levels
	load   []int64
	pool   []int32  // those with owner None
	pooled int64    // their weight
	undo   []change // of this round
	taken  bool     // anything at all, in any round
	start  int      // position where scans begin

	// Memory that rounds use again.
	need, key []int64
	next      []int
	heap      topHeap
	items     items
}

func newBalancer(p *problem, homes []int32) *balancer {
	n := len(p.workers)
	return &balancer{
		problem: p,
		homes:   homes,
		owners:  make([]int32, len(p.order)),
		need:    make([]int64, n),
		key:     make([]int64, n),
		next:    make([]int, n),
		pool:    make([]int32, 0, len(p.order)/16),
		undo:    make([]change, 0, len(p.order)/16),
	}
}

// change remembers an owner that a round changed.
type change struct{ partition, owner int32 }

// aim sets the levels to reach.
func (b *balancer) aim(width float64) {
	b.levels = newLevels(b.problem, b.owners, b.homes, width)
	b.load = plan.Loads(b.owners, b.weights, len(b.workers))
}

// collect puts what has no owner into the pool and reports whether there is any.
func (b *balancer) collect() bool {
	for i, o := range b.owners {
		if o == plan.None {
			b.pool = append(b.pool, int32(i))
			b.pooled += b.weights[i]
		}
	}
	return len(b.pool) > 0
}

// refine repeats whatever brings more load into the band, and then takes back
// what need not have moved, until neither finds anything.
func (b *balancer) refine() {
	for range maxRounds {
		better := b.outside() > 0 && (b.improve(false) || b.improve(true) || b.exchange())
		if !better && !b.restore() {
			return
		}
	}
}

// improve runs a round and keeps what it did if less load lies outside the band
// than before. A bold one begins by moving a partition that is too heavy to be
// placed again.
func (b *balancer) improve(bold bool) bool {
	before := b.outside()
	b.undo = b.undo[:0]
	if bold && !b.giveHeavy() {
		return false
	}
	b.round()
	if b.outside() < before {
		return true
	}
	for _, u := range slices.Backward(b.undo) {
		i, o := u.partition, u.owner
		b.load[b.owners[i]] -= b.weights[i]
		b.load[o] += b.weights[i]
		b.owners[i] = o
	}
	return false
}

// outside is how much load lies outside the band.
func (b *balancer) outside() int64 {
	var sum int64
	for w, l := range b.load {
		sum += max(0, l-b.high[w]) + max(0, b.low[w]-l)
	}
	return sum
}

// round is one pass of the algorithm: heavy partitions without an owner first,
// while others can still make room for them, then what the workers above the
// band must give and those below it need, then everything without an owner.
func (b *balancer) round() {
	b.placeHeavy()
	b.shed()
	b.place(b.pool)
	b.pool = b.pool[:0]
}

// take removes partition i from its owner.
func (b *balancer) take(i int32) {
	o, w := b.owners[i], b.weights[i]
	b.undo = append(b.undo, change{i, o})
	b.taken = true
	b.owners[i] = plan.None
	b.load[o] -= w
	b.pool = append(b.pool, i)
	b.pooled += w
}

// place gives each partition, heaviest first, to its home while that stays at or
// below its level, else to the worker with most room.
func (b *balancer) place(list []int32) {
	if len(list) == 0 {
		return
	}
	b.sortHeaviestFirst(list)
	room, most := b.key, &b.heap
	for w, l := range b.load {
		room[w] = b.level[w] - l
	}
	most.init(room)
	for _, i := range list {
		w, to := b.weights[i], b.homes[i]
		if room[to] < w {
			to = most.top()
		}
		b.owners[i] = to
		b.load[to] += w
		b.pooled -= w
		most.set(to, room[to]-w)
	}
}

// placeHeavy places those partitions without an owner that are wider than the
// band of their home.
func (b *balancer) placeHeavy() {
	if b.even {
		return
	}
	var heavy []int32
	light := b.pool[:0]
	for _, i := range b.pool {
		if h := b.homes[i]; b.weights[i] > b.high[h]-b.level[h] {
			heavy = append(heavy, i)
		} else {
			light = append(light, i)
		}
	}
	b.pool = light
	b.place(heavy)
}
