package strategy

import (
	"math"
	"sort"

	"github.com/cespare/xxhash/v2"

	"github.com/arloliu/parti/internal/plan"
)

// maxRounds bounds how often a plan is refined. Two or three are the rule.
const maxRounds = 6

// balance returns owners that keep every worker's load within ±width of its
// share, as near as the weights allow, with few moves away from the previous
// owners and with partitions at their homes where there is a choice.
//
// It follows consistent hashing with bounded loads (Mirrokni, Thorup,
// Zadimoghaddam 2016) in that a home takes what stays below its bound, and goes
// beyond it in three ways: what is in place stays in place, nobody falls below
// the band either, and partitions have weights.
func balance(p *problem, homes []int32, width float64) []int32 {
	b := &balancer{p: p, homes: homes, owners: make([]int32, len(p.parts))}
	if p.prev == nil {
		// A cold start fills a narrower band, so that the first join need not
		// begin with repairs.
		copy(b.owners, homes)
		b.setWidth(width / 2)
		b.run()
	} else {
		copy(b.owners, p.prev)
	}
	b.setWidth(width)
	b.run()
	return b.owners
}

// balancer is the state of one balance.
type balancer struct {
	p      *problem
	homes  []int32
	owners []int32 // None: taken from its owner and not placed yet
	*levels
	load   []int64
	pool   []int32 // those with owner None
	pooled int64   // their weight
	undo   []change
	start  uint64 // where scans begin on the circle of hashes
}

// change remembers an owner that a round changed.
type change struct{ partition, owner int32 }

func (b *balancer) setWidth(width float64) {
	b.levels = newLevels(b.p, b.owners, b.homes, width)
	b.load = plan.Loads(b.owners, b.p.weights, len(b.p.workers))
	// Scans begin at a place that depends on the workers, so that it is not
	// always the same partitions that move.
	d := xxhash.New()
	if b.p.prev != nil {
		for _, id := range b.p.workers {
			d.WriteString(id)
			d.Write([]byte{0})
		}
		b.start = d.Sum64()
	}
}

// run places what has no owner and then refines until nothing gets better.
func (b *balancer) run() {
	for _, i := range b.p.keys.order {
		if b.owners[i] == plan.None {
			b.pool = append(b.pool, i)
			b.pooled += b.p.weights[i]
		}
	}
	if len(b.pool) > 0 {
		b.round()
	}
	for range maxRounds {
		before := b.outside()
		if before == 0 {
			return
		}
		b.undo = b.undo[:0]
		b.round()
		if b.outside() >= before {
			b.revert()
			return
		}
	}
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
	items := b.items()
	b.shedHard(items)
	b.shedSoft(items)
	b.place(b.pool)
	b.pool = b.pool[:0]
}

func (b *balancer) revert() {
	for n := len(b.undo) - 1; n >= 0; n-- {
		c := b.undo[n]
		b.load[b.owners[c.partition]] -= b.p.weights[c.partition]
		b.owners[c.partition] = c.owner
		if c.owner != plan.None {
			b.load[c.owner] += b.p.weights[c.partition]
		}
	}
}

// take removes partition i from its owner.
func (b *balancer) take(i int32) {
	o, w := b.owners[i], b.p.weights[i]
	b.undo = append(b.undo, change{i, o})
	b.owners[i] = plan.None
	b.load[o] -= w
	b.pool = append(b.pool, i)
	b.pooled += w
}

// place gives each partition, heaviest first, to its home while that stays at or
// below its level, else to the worker with most room.
func (b *balancer) place(list []int32) {
	b.p.sortHeaviestFirst(list)
	room := make([]int64, len(b.load))
	for w, l := range b.load {
		room[w] = b.level[w] - l
	}
	heap := newRoomHeap(room)
	for _, i := range list {
		w, to := b.p.weights[i], b.homes[i]
		if room[to] < w {
			to = heap.top()
		}
		b.owners[i] = to
		b.load[to] += w
		b.pooled -= w
		heap.add(to, -w)
	}
}

// placeHeavy places those partitions without an owner that are wider than the
// band of their home.
func (b *balancer) placeHeavy() {
	var heavy []int32
	light := b.pool[:0]
	for _, i := range b.pool {
		h := b.homes[i]
		if b.p.weights[i] > b.high[h]-b.level[h] && !b.p.even {
			heavy = append(heavy, i)
		} else {
			light = append(light, i)
		}
	}
	b.pool = light
	b.place(heavy)
}

// items lists the partitions of each worker in ascending order of hash, but for
// the giants, rotated to begin at b.start.
func (b *balancer) items() [][]int32 {
	end := make([]int, len(b.load)+1)
	for _, o := range b.owners {
		if o != plan.None {
			end[o+1]++
		}
	}
	for w := range b.load {
		end[w+1] += end[w]
	}
	all := make([]int32, end[len(b.load)])
	items := make([][]int32, len(b.load))
	for w := range items {
		items[w] = all[end[w]:end[w]:end[w+1]]
	}
	order := b.p.keys.order
	at := sort.Search(len(order), func(n int) bool { return b.p.keys.hash[order[n]] >= b.start })
	for _, part := range [][]int32{order[at:], order[:at]} {
		for _, i := range part {
			if o := b.owners[i]; o != plan.None {
				if _, giant := b.pinned[i]; !giant {
					items[o] = append(items[o], i)
				}
			}
		}
	}
	return items
}

// shedHard takes from every worker above the band what it has too much: first
// what has its home at a worker below the band, then whatever fits, last the
// partition nearest to what is still too much.
func (b *balancer) shedHard(items [][]int32) {
	for w := range int32(len(b.load)) {
		if b.load[w] <= b.high[w] {
			continue
		}
		fits := func(i int32) bool { return b.owners[i] == w && b.p.weights[i] <= b.load[w]-b.high[w] }
		for _, i := range items[w] {
			if h := b.homes[i]; h != w && b.load[h] < b.low[h] && fits(i) {
				b.take(i)
			}
		}
		for _, i := range items[w] {
			if fits(i) {
				b.take(i)
			}
		}
		excess := b.load[w] - b.high[w]
		if excess <= 0 {
			continue
		}
		nearest := plan.None
		for _, i := range items[w] {
			if b.owners[i] == w && b.p.weights[i] >= excess && (nearest == plan.None || b.p.weights[i] < b.p.weights[nearest]) {
				nearest = i
			}
		}
		if nearest != plan.None && b.low[w]-(b.load[w]-b.p.weights[nearest]) < excess {
			b.take(nearest)
		}
	}
}

// shedSoft takes from workers inside the band what those below it still need
// beyond what has no owner already: first what has its home there, then from the
// fullest.
func (b *balancer) shedSoft(items [][]int32) {
	need := make([]int64, len(b.load))
	missing := -b.pooled
	for w, l := range b.load {
		need[w] = max(0, b.low[w]-l)
		missing += need[w]
	}
	if missing <= 0 {
		return
	}
	for _, list := range items {
		for _, i := range list {
			o, h, w := b.owners[i], b.homes[i], b.p.weights[i]
			if o == plan.None || o == h || need[h] <= 0 || missing <= 0 || b.load[o]-w < b.level[o] {
				continue
			}
			b.take(i)
			need[h] -= w
			missing -= w
		}
	}
	over := make([]int64, len(b.load))
	for w, l := range b.load {
		over[w] = l - b.level[w]
	}
	fullest := newRoomHeap(over)
	next := make([]int, len(b.load))
	for missing > 0 {
		o := fullest.top()
		if next[o] == len(items[o]) {
			if over[o] == math.MinInt64 {
				return
			}
			fullest.add(o, math.MinInt64-over[o])
			continue
		}
		i := items[o][next[o]]
		next[o]++
		if w := b.p.weights[i]; b.owners[i] == o && b.load[o]-w >= b.low[o] {
			b.take(i)
			missing -= w
			fullest.add(o, -w)
		}
	}
}
