package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// Nemesis draws faults. Each run has a subset of the kinds, so that rare
// combinations are not always drowned by the common ones.
type Nemesis struct {
	w       *World
	kinds   []kind
	total   int
	gap     time.Duration // mean time between two faults
	until   time.Duration
	most    int           // faults lead to at most as many
	longest time.Duration // of a fault
}

// kind is a kind of fault.
type kind struct {
	name   string
	weight int
	do     func(n *Nemesis)
}

// kinds are all kinds of faults.
var allKinds = []kind{
	{"crash", 4, (*Nemesis).crash},
	{"stop", 3, (*Nemesis).stop},
	{"roll", 1, (*Nemesis).roll},
	{"join", 3, (*Nemesis).join},
	{"pause", 4, (*Nemesis).pause},
	{"cut", 4, (*Nemesis).cut},
	{"outage", 1, (*Nemesis).outage},
	{"silence", 1, (*Nemesis).silence},
	{"stall", 3, (*Nemesis).stall},
	{"lose watch", 3, (*Nemesis).loseWatch},
	{"mute", 1, (*Nemesis).mute},
	{"late watch", 3, (*Nemesis).lateWatch},
	{"flaky", 4, (*Nemesis).flaky},
	{"slow drain", 3, (*Nemesis).slowDrain},
	{"hang", 1, (*Nemesis).hang},
	{"list", 3, (*Nemesis).changeList},
	{"refresh", 2, (*Nemesis).refresh},
	{"bad source", 1, (*Nemesis).badSource},
	{"bad strategy", 1, (*Nemesis).badStrategy},
	{"wipe ids", 1, wipe(core.IDs)},
	{"wipe election", 1, wipe(core.Election)},
	{"wipe heartbeats", 1, wipe(core.Heartbeats)},
	{"wipe assignments", 1, wipe(core.Assignments)},
	{"wipe all", 1, wipe(core.IDs, core.Election, core.Heartbeats, core.Assignments)},
	{"roll back", 2, (*Nemesis).rollBack},
}

// NewNemesis draws which faults there are and how many, and begins.
func NewNemesis(w *World, workers int, d time.Duration) *Nemesis {
	n := &Nemesis{w: w, until: w.now + d, most: workers + 3}
	hb := w.cfg.HeartbeatInterval
	n.gap = w.between(hb, 8*hb)
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
		n.later()
	}
	return n
}

func (n *Nemesis) later() {
	n.w.after(n.w.between(0, 2*n.gap), func() {
		if n.w.now >= n.until {
			return
		}
		x := n.w.rng.IntN(n.total)
		for _, k := range n.kinds {
			if x -= k.weight; x < 0 {
				n.w.trace.add(n.w.now, "world", "nemesis: %s", k.name)
				n.w.hits[k.name]++
				k.do(n)
				break
			}
		}
		n.later()
	})
}

// length draws how long a fault lasts: mostly short.
func (n *Nemesis) length() time.Duration {
	d := n.w.between(50*time.Millisecond, n.longest)
	if n.w.chance(0.5) {
		d = n.w.between(10*time.Millisecond, max(d/4, 20*time.Millisecond))
	}
	return min(d, max(n.until-n.w.now, 10*time.Millisecond))
}

// victim draws a live worker, or nil.
func (n *Nemesis) victim() *Worker {
	live := n.w.Live()
	if len(live) == 0 {
		return nil
	}
	if n.w.chance(0.3) { // leaders are worth more
		if i := slices.IndexFunc(live, func(p *Worker) bool { return p.snap.Leader }); i >= 0 {
			return live[i]
		}
	}
	return live[n.w.rng.IntN(len(live))]
}

// spawn starts a process that is started again when it ends by itself.
func (n *Nemesis) spawn(host int) *Worker {
	p := n.w.SpawnWith(host, n.w.config())
	p.onEnd = func() {
		if p.failed {
			n.again(p, n.w.between(100*time.Millisecond, 3*time.Second))
		}
	}
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

func (n *Nemesis) crash() {
	p := n.victim()
	if p == nil {
		return
	}
	p.Crash()
	if n.w.chance(0.8) || len(n.w.Live()) == 0 {
		n.again(p, n.length())
	}
}

func (n *Nemesis) stop() {
	p := n.victim()
	if p == nil || p.stopped {
		return
	}
	if n.w.chance(0.7) || len(n.w.Live()) == 1 {
		d := n.length()
		p.onEnd = func() { n.again(p, d) }
	}
	p.Stop()
}

// roll restarts all workers, one after another.
func (n *Nemesis) roll() {
	gap := n.length()
	for i, p := range n.w.Live() {
		n.w.after(time.Duration(i)*gap, func() {
			if p.live && !p.stopped && n.w.now < n.until {
				p.onEnd = func() { n.again(p, time.Second) }
				p.Stop()
			}
		})
	}
}

func (n *Nemesis) join() {
	for range 1 + n.w.rng.IntN(3) {
		if len(n.w.Live())+n.w.coming < n.most {
			n.w.hosts++
			n.spawn(n.w.hosts)
		}
	}
}

func (n *Nemesis) pause() {
	p := n.victim()
	if p == nil {
		return
	}
	d := n.length()
	p.Pause(d)
	if d > 2*n.w.cfg.HeartbeatInterval && n.w.chance(0.5) { // the server gives it up
		p.cutLink(d+n.w.between(0, time.Second), d)
	}
	if n.w.chance(0.1) {
		n.w.after(d/2, func() {
			if p.live {
				p.Crash()
				n.again(p, time.Second)
			}
		})
	}
}

func (n *Nemesis) cut() {
	if p := n.victim(); p != nil {
		n.cutOne(p, n.length())
	}
}

func (n *Nemesis) cutOne(p *Worker, d time.Duration) {
	notice := n.w.between(0, 10*time.Millisecond)
	if n.w.chance(0.4) { // silent: found out by pings
		notice = n.w.between(2*time.Second, 6*time.Second)
	}
	p.cutLink(d, notice)
}

// outage cuts everybody's link, or all of one server.
func (n *Nemesis) outage() {
	d := n.length()
	server := fmt.Sprintf("n%d", n.w.rng.IntN(3))
	all := n.w.chance(0.5)
	for _, p := range n.w.Live() {
		if all || p.server == server {
			n.cutOne(p, d+n.w.between(0, d/4))
		}
	}
}

// silence makes the store answer nobody.
func (n *Nemesis) silence() {
	w := n.w
	d := n.length()
	w.kvDown = max(w.kvDown, w.now+d)
	for _, p := range w.Live() {
		p.disturb(d + w.cfg.OperationTimeout)
	}
}

func (n *Nemesis) stall() {
	if p := n.victim(); p != nil {
		p.stall(min(n.length(), 4*time.Second))
	}
}

func (n *Nemesis) loseWatch() {
	if p := n.victim(); p != nil && len(p.watches) > 0 {
		p.watches[n.w.rng.IntN(len(p.watches))].lose()
	}
}

// lateWatch holds back a watch: by less than what would be noticed as silence.
func (n *Nemesis) lateWatch() {
	if p := n.victim(); p != nil && len(p.watches) > 0 {
		d := min(n.length(), 10*time.Second)
		n.w.faultsEnd = max(n.w.faultsEnd, n.w.now+d)
		p.watches[n.w.rng.IntN(len(p.watches))].block(d)
	}
}

func (n *Nemesis) flaky() {
	if p := n.victim(); p != nil {
		p.link.flaky = 0.1 + 0.7*n.w.rng.Float64()
		p.link.flakyTo = n.w.now + n.length()
	}
}

func (n *Nemesis) slowDrain() {
	if p := n.victim(); p != nil {
		p.disturb(n.longest)
		p.drainMax, p.drainTo = n.length(), n.w.now+n.longest
	}
}

func (n *Nemesis) hang() {
	if p := n.victim(); p != nil {
		d := n.length()
		p.hang = n.w.now + d
		p.disturb(d)
	}
}

func (n *Nemesis) changeList() {
	w := n.w
	ids, weights := slices.Clone(w.list.IDs), slices.Clone(w.list.Weights)
	for range 1 + w.rng.IntN(4) {
		i := w.rng.IntN(len(ids))
		switch w.rng.IntN(3) {
		case 0:
			ids, weights = append(ids, fmt.Sprintf("l%06d", w.rng.IntN(1e6))), append(weights, 100)
		case 1:
			if len(ids) > 1 {
				ids, weights = slices.Delete(ids, i, i+1), slices.Delete(weights, i, i+1)
			}
		case 2:
			weights[i] = 50 + w.rng.Int64N(500)
		}
	}
	if w.chance(0.05) {
		ids, weights = ids[:len(ids)/4+1], weights[:len(ids)/4+1]
	}
	w.setList(ids, weights)
	if w.chance(0.8) {
		n.refresh()
	}
}

func (n *Nemesis) refresh() {
	if p := n.victim(); p != nil {
		p.Refresh()
	}
}

func (n *Nemesis) badSource() {
	if p := n.victim(); p != nil {
		p.sourceBad = n.w.now + n.length()
	}
}

func (n *Nemesis) badStrategy() {
	if p := n.victim(); p != nil {
		p.planBad = n.w.now + n.length()
	}
}

func wipe(buckets ...core.Bucket) func(*Nemesis) {
	return func(n *Nemesis) { n.w.Wipe(buckets...) }
}

// rollBack saves the store and brings it back later.
func (n *Nemesis) rollBack() {
	w := n.w
	s := w.kv.Snapshot()
	w.after(n.length(), func() {
		if w.now < n.until {
			w.hits["rolled back"]++
			w.Rollback(s)
		}
	})
}

// End stops all faults that still last.
func (n *Nemesis) End() {
	w := n.w
	w.trace.add(w.now, "world", "nemesis ends")
	for _, p := range w.Live() {
		p.link.flakyTo, p.drainTo, p.sourceBad, p.planBad = 0, 0, 0, 0
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
