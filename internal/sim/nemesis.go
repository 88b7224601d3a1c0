package sim

import (
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// Nemesis draws faults. Each run has a subset of the kinds, so that rare
// combinations are not always drowned by the common ones. Each fault has a source
// of chance of its own, so that those that are left out when a history is shrunk
// do not change the others.
type Nemesis struct {
	w       *World
	rng     *rand.Rand // of the present fault
	seed    uint64
	count   int          // of faults drawn
	skip    map[int]bool // faults that are left out
	kinds   []kind
	total   int
	gap     time.Duration // mean time between two faults
	until   time.Duration
	most    int             // faults lead to at most as many
	longest time.Duration   // of a fault
	foreign map[string]bool // values that nobody of the fleet wrote, by bucket and key
}

// kind is a kind of fault.
type kind struct {
	name   string
	weight int
	do     func(n *Nemesis)
}

// allKinds are the faults that are drawn; messageKinds are those that single
// messages suffer because of them.
var (
	allKinds = []kind{
		{"crash", 4, (*Nemesis).crash},
		{"stop", 3, (*Nemesis).stop},
		{"abort", 1, (*Nemesis).abort},
		{"roll", 1, (*Nemesis).roll},
		{"join", 3, (*Nemesis).join},
		{"pause", 4, (*Nemesis).pause},
		{"suspend", 3, (*Nemesis).suspend},
		{"clock jump", 3, (*Nemesis).jump},
		{"cut", 4, (*Nemesis).cut},
		{"cut one way", 4, (*Nemesis).halfCut},
		{"outage", 1, (*Nemesis).outage},
		{"silence", 1, (*Nemesis).silence},
		{"bucket refuses", 2, (*Nemesis).refuse},
		{"stall", 3, (*Nemesis).stall},
		{"lose watch", 3, (*Nemesis).loseWatch},
		{"late watch", 3, (*Nemesis).lateWatch},
		{"lose event", 3, (*Nemesis).loseEvent},
		{"double events", 2, (*Nemesis).doubleEvents},
		{"lagging replica", 4, (*Nemesis).lag},
		{"stale reads", 2, (*Nemesis).staleReads},
		{"mute", 1, (*Nemesis).mute},
		{"nobody", 2, (*Nemesis).nobody},
		{"flaky", 5, (*Nemesis).flaky},
		{"slow drain", 3, (*Nemesis).slowDrain},
		{"hang", 2, (*Nemesis).hang},
		{"list", 3, (*Nemesis).changeList},
		{"announce", 1, (*Nemesis).announce},
		{"refresh", 2, (*Nemesis).refresh},
		{"bad source", 1, (*Nemesis).badSource},
		{"bad strategy", 1, (*Nemesis).badStrategy},
		{"stray event", 3, (*Nemesis).stray},
		{"foreign value", 2, (*Nemesis).foreignValue},
		{"wipe ids", 1, wipe(core.IDs)},
		{"wipe election", 1, wipe(core.Election)},
		{"wipe heartbeats", 1, wipe(core.Heartbeats)},
		{"wipe assignments", 1, wipe(core.Assignments)},
		{"wipe all", 1, wipe(core.IDs, core.Election, core.Heartbeats, core.Assignments)},
		{"save the store", 2, (*Nemesis).rollBack},
	}
	messageKinds = append(faultNames[1:len(faultNames):len(faultNames)],
		"event lost", "event doubled", "watch begins behind", "read stale", "notice lost", "notice late", "notice doubled",
		"nobody found by mistake", "rolled back", "mixed configuration")
)

// NewNemesis draws which faults there are and how many, and begins.
func NewNemesis(w *World, seed uint64, workers int, d time.Duration, skip map[int]bool) *Nemesis {
	n := &Nemesis{w: w, seed: seed, skip: skip, until: w.now + d, most: workers + 3, foreign: map[string]bool{}}
	hb := w.cfg.HeartbeatInterval
	n.gap = w.between(hb/2, 4*hb) / time.Duration(1+workers/4)
	n.longest = w.between(2*hb, 20*hb)
	for _, k := range allKinds {
		if w.chance(0.4) {
			n.kinds = append(n.kinds, k)
			n.total += k.weight
		}
	}
	names := make([]string, len(n.kinds))
	for i, k := range n.kinds {
		names[i] = k.name
	}
	w.trace.add(w.now, "world", "nemesis: every %v, up to %v: %v", n.gap, n.longest, names)
	if n.total > 0 {
		n.draw()
		n.later()
	}
	return n
}

// draw begins the next fault.
func (n *Nemesis) draw() {
	n.count++
	n.rng = rand.New(rand.NewPCG(n.seed, uint64(n.count)))
}

func (n *Nemesis) later() {
	n.w.after(n.between(0, 2*n.gap), func() {
		if n.w.now >= n.until {
			return
		}
		x := n.rng.IntN(n.total)
		for _, k := range n.kinds {
			if x -= k.weight; x < 0 {
				if n.skip[n.count] {
					break
				}
				n.w.trace.add(n.w.now, "world", "nemesis %d: %s", n.count, k.name)
				n.w.hit(k.name)
				k.do(n)
				break
			}
		}
		n.draw()
		n.later()
	})
}

func (n *Nemesis) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(n.rng.Int64N(int64(hi-lo)))
}

func (n *Nemesis) chance(p float64) bool { return n.rng.Float64() < p }

// length draws how long a fault lasts: mostly short.
func (n *Nemesis) length() time.Duration {
	d := n.between(50*time.Millisecond, n.longest)
	if n.chance(0.5) {
		d = n.between(10*time.Millisecond, max(d/4, 20*time.Millisecond))
	}
	return min(d, max(n.until-n.w.now, 10*time.Millisecond))
}

// victim draws a live worker, or nil.
func (n *Nemesis) victim() *Worker {
	live := n.w.Live()
	if len(live) == 0 {
		return nil
	}
	if n.chance(0.3) { // leaders are worth more
		if i := slices.IndexFunc(live, func(p *Worker) bool { return p.snap.Leader }); i >= 0 {
			return live[i]
		}
	}
	return live[n.rng.IntN(len(live))]
}

// spawn starts a process that is started again when it ends by itself.
func (n *Nemesis) spawn(host int) *Worker {
	w := n.w
	p := w.process(host, w.config())
	d := w.between(100*time.Millisecond, 3*time.Second)
	p.onEnd = func() {
		if p.failed {
			n.again(p, d)
		}
	}
	if w.now < n.until && w.chance(0.05) {
		for range 1 + w.rng.IntN(3) {
			n.strayTo(p)
		}
	}
	if w.now < n.until && w.chance(0.01) {
		if w.chance(0.5) {
			p.Stop()
		} else {
			p.stopped = true
			p.tell(core.Abort{})
		}
	}
	p.start()
	return p
}

// again starts a process in place of one that has ended.
func (n *Nemesis) again(p *Worker, d time.Duration) {
	host := p.host
	if n.w.chance(0.3) {
		n.w.hosts++
		host = n.w.hosts
	}
	n.w.coming++
	n.w.after(d, func() {
		n.w.coming--
		n.spawn(host)
	})
}

// End stops all faults that still last.
func (n *Nemesis) End() {
	w := n.w
	w.trace.add(w.now, "world", "nemesis ends")
	for _, p := range w.Live() {
		p.link.flakyTo, p.drainTo, p.sourceBad, p.planBad, p.behindTo, p.presence.missedTo = 0, 0, 0, 0, 0, 0
	}
	w.calm, w.staleTo, w.refusing = true, 0, [core.NumBuckets]time.Duration{}
	for _, at := range slices.Sorted(maps.Keys(n.foreign)) {
		b, key := int(at[0]-'0'), at[1:]
		if e, err := w.kv.Get(b, key); err == nil && w.kv.Delete(b, key, e.Rev) == nil {
			w.noteWrite(core.KV{Verb: core.Delete, Bucket: core.Bucket(b), Key: key}, 0)
			w.pump(core.Bucket(b))
		}
	}
	if len(w.Live()) == 0 {
		n.spawn(1)
	}
	n.ask()
}

// ask has a worker read the list again, until one says that it is in force:
// nobody is told when a source changes.
func (n *Nemesis) ask() {
	w := n.w
	if w.check.last.head.List == w.list.Digest {
		return
	}
	for _, p := range w.Live() {
		if p.snap.State == core.Stable {
			p.Refresh()
			break
		}
	}
	w.after(w.cfg.MinRebalanceInterval, n.ask)
}
