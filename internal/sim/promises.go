package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// What is checked of each worker by itself, and of leaders: whom they take for
// dead, and what they move.

// stepped is told after every event what a worker shows of itself.
func (c *checker) stepped(p *Worker, before core.Snapshot) {
	s := p.snap
	if s.Term < before.Term || s.Term == before.Term && s.Version < before.Version {
		c.fail("I2: %s obeys head %d.%d after %d.%d", p.name, s.Term, s.Version, before.Term, before.Version)
	}
	if s.State == core.Degraded && s.Leader {
		c.fail("I10: %s leads although it is degraded", p.name)
	}
	if s.Worker != p.trusted {
		c.trusts(p, s.Worker)
	}
}

// trusts notes which id a worker holds for its own.
func (c *checker) trusts(p *Worker, id string) {
	if old := p.trusted; old != "" {
		c.trust[old] = slices.DeleteFunc(c.trust[old], func(o *Worker) bool { return o == p })
		if len(c.trust[old]) < 2 {
			delete(c.shared, old)
		}
	}
	if p.trusted = id; id == "" {
		return
	}
	c.trust[id] = append(c.trust[id], p)
	if len(c.trust[id]) > 1 {
		c.shared[id] = true
	}
}

// ids checks I9: of two workers that trust the same id, one has not reached the
// store since the other took it, or has released it there and not been told yet.
func (c *checker) ids() {
	for _, id := range slices.Sorted(maps.Keys(c.shared)) {
		sound := 0
		for _, p := range c.trust[id] {
			if c.w.now >= p.disturbed && p.released != id {
				sound++
			}
		}
		if sound > 1 {
			c.fail("I9: %d workers trust id %s: %s and %s", sound, id, c.trust[id][0].name, c.trust[id][1].name)
		}
	}
}

// handed checks I12 for an assignment that a worker puts into force.
func (c *checker) handed(p *Worker, e core.Apply) {
	if e.Seq != p.applySeq+1 {
		c.fail("I12: %s puts assignment %d into force after %d", p.name, e.Seq, p.applySeq)
	}
	p.applySeq = e.Seq
	if p.state == core.Degraded && p.snap.State == core.Degraded {
		for _, o := range e.Owned {
			if !slices.ContainsFunc(p.handed, func(had core.Owned) bool { return had.ID == o.ID }) {
				c.fail("I10: %s begins with partition %s although it is degraded", p.name, o.ID)
			}
		}
	}
	p.handed = e.Owned
	at := core.Token{Term: e.Term, Version: e.Version}
	for i, o := range e.Owned {
		if i > 0 && e.Owned[i-1].ID >= o.ID {
			c.fail("I12: %s is handed %s after %s", p.name, o.ID, e.Owned[i-1].ID)
		}
		if at.Less(o.Token) {
			c.fail("I2: %s is handed %s under token %v by head %v", p.name, o.ID, o.Token, at)
		}
	}
}

// changed checks I12 for the states.
func (c *checker) changed(p *Worker, e core.StateChanged) {
	if e.From != p.state || e.To == e.From || e.From == core.Shutdown {
		c.fail("I12: %s goes from %s to %s, it was in %s", p.name, states[e.From], states[e.To], states[p.state])
	}
	if p.state = e.To; e.To == core.Degraded {
		p.degraded++
	}
}

// ended checks I13 for a worker that has just ended: nothing of it is left in the
// store or at work, if nothing hindered it.
func (c *checker) ended(p *Worker, e core.Ended) {
	for _, wt := range p.watches {
		c.fail("I13: %s has ended and still watches %d (%s)", p.name, wt.bucket, wt.name)
	}
	if e.Fault != nil || c.w.now < p.disturbed {
		return
	}
	if len(p.running) > 0 {
		c.fail("I13: %s has ended and works on %d partitions", p.name, len(p.running))
	}
	for _, id := range slices.Sorted(maps.Keys(c.holders)) {
		if c.holders[id].nonce == p.nonce() {
			c.fail("I13: %s has ended and holds id %s", p.name, id)
		}
	}
	if e, err := c.w.kv.Get(int(core.Election), c.w.cfg.Group+".leader"); err == nil {
		if rec, err := parse[holderValue](e.Val); err == nil && nonceOf(rec.Inc) == p.nonce() {
			c.fail("I13: %s has ended and holds the leader key", p.name)
		}
	}
}

// division is what a strategy has answered.
type division struct {
	owner map[string]string
	used  bool // a head has moved something since
}

// planned is told of the answer to a plan.
func (c *checker) planned(p *Worker, e core.Plan, owners []int32) {
	d := &division{owner: make(map[string]string, len(owners))}
	for i, o := range owners {
		d.owner[e.List.IDs[i]] = e.Workers[o]
	}
	c.division[p] = d
}

// asksPlan is told that a leader asks for a plan, and checks whom it leaves out.
func (c *checker) asksPlan(p *Worker, e core.Plan) {
	last := c.last.head
	if c.writers[last.Term] != p || c.rebuilding || last.Rebuild || c.soonAfterLoss() {
		return
	}
	for _, s := range last.Seats {
		if _, found := slices.BinarySearch(e.Workers, s.Worker); !found {
			c.leftOut(p, s)
		}
	}
}

func (c *checker) soonAfterLoss() bool { return c.lostAt > 0 && c.w.now <= c.lostAt+2*c.margin() }

// leftOut checks I7 for a worker that a leader plans without. Dead is who is known
// to be in trouble for longer than the grace; gone for good is who left and did not
// return within its own window.
func (c *checker) leftOut(p *Worker, s seatValue) {
	o := c.w.byNonce(nonceOf(s.Inc))
	if o == nil {
		return
	}
	now := c.w.now + c.w.jumped // as a clock may show it that was set forward
	least := func(d time.Duration) time.Duration { return d * 98 / 100 }
	switch {
	case o.stopAt > 0 && !o.aborted && o.stopWell && o.cleanEnd:
		if w := min(o.cfg.PlannedScaleWindow, 10*p.cfg.PlannedScaleWindow); now-o.stopAt < least(w) {
			c.fail("I7: %s plans without %s, which left %v ago and may return within %v", p.name, s.Worker, c.w.now-o.stopAt, w)
		}
	case o.stopAt > 0:
	case o.live && c.w.now >= o.disturbed:
		c.fail("I7: %s takes %s for dead, which is alive and well", p.name, s.Worker)
	default:
		since := o.troubled
		if c.w.now >= o.disturbed || !o.live && o.gone < o.troubled {
			since = o.gone
		}
		// Its lease and the grace, from a heartbeat that may have been the last; or
		// the time to reconnect and the grace, where probes tell.
		wait := max(o.cfg.HeartbeatTTL, p.cfg.HeartbeatTTL) - o.cfg.HeartbeatInterval*12/10
		if !c.w.cfg.Exclusive {
			wait = min(wait, o.allowance)
		}
		if wait += p.cfg.EmergencyGracePeriod - 100*time.Millisecond; now-since < least(wait) {
			c.fail("I7: %s takes %s for dead %v after its trouble began, and not %v", p.name, s.Worker, c.w.now-since, wait)
		}
	}
}

// destinations is who has each partition, or is to have it.
func (p published) destinations() map[string]string {
	to := make(map[string]string, len(p.grants)+len(p.next))
	for id, g := range p.grants {
		to[id] = g.worker
	}
	maps.Copy(to, p.next)
	return to
}

// moved checks I7 for a head that follows another one: only what the strategy
// moved has moved.
func (c *checker) moved(p *Worker, was, is published) {
	old := was.destinations()
	d := c.division[p]
	moves := false
	to := is.destinations()
	for _, id := range slices.Sorted(maps.Keys(to)) {
		from, ok := old[id]
		if !ok || from == to[id] {
			continue
		}
		moves = true
		if d == nil || d.used {
			c.fail("I7: head %d.%d of %s moves partition %s from %s to %s without a plan", is.head.Term, is.head.Version, p.name, id, from, to[id])
			return
		}
		if d.owner[id] == from {
			c.fail("I7: head %d.%d of %s moves partition %s from %s to %s, the plan leaves it there", is.head.Term, is.head.Version, p.name, id, from, to[id])
			return
		}
	}
	if d != nil && moves {
		d.used = true
	}
}
