package core

import "slices"

// makePlan asks the strategy. The workers are all that live, and those away
// that may still come back.
func (c *Core) makePlan(reason string) {
	l := c.lead
	l.planFor = l.planFor[:0]
	for _, s := range l.seats {
		if s == nil || s.retired || s.away && c.now >= s.awaySince+s.awayFor {
			continue
		}
		if m := l.members[s.worker]; s.away || m != nil && !m.dead {
			l.planFor = append(l.planFor, s.worker)
		}
	}
	for _, m := range c.joiners() {
		l.planFor = append(l.planFor, m.worker)
	}
	slices.Sort(l.planFor)
	if len(l.planFor) == 0 {
		return
	}
	l.reason, l.rebalance = reason, rebalance{began: c.now}
	list := l.planList()
	if len(list.IDs) == 0 {
		shares, _ := l.declared(l.planFor)
		c.planned(list, nil, shares)
		return
	}
	l.planning = true
	l.planEpoch++
	epoch, term := l.planEpoch, l.term
	workers := slices.Clone(l.planFor)
	prevWorkers, prevOwner := l.previous(list)
	c.log(Debug, "planning", "reason", reason, "workers", len(workers), "partitions", len(list.IDs), "term", l.term, "version", l.head.Version+1)
	shares, labels := l.declared(workers)
	c.emit(Plan{Workers: workers, Capacity: shares, Labels: labels, List: list, PrevWorkers: prevWorkers, PrevOwner: prevOwner, Op: c.ask(func(d Done) {
		if c.lead == nil || c.lead.term != term || l.planEpoch != epoch {
			return
		}
		l.answer = func() { c.planAnswered(list, workers, shares, d) }
	})})
}

// declared returns what the workers declare; who is away and was not heard of
// has the capacity of the last plan.
func (l *leader) declared(workers []string) ([]float64, []map[string]string) {
	shares, labels := make([]float64, len(workers)), make([]map[string]string, len(workers))
	for i, w := range workers {
		shares[i] = 1
		if s := l.seatOf(w); s != nil {
			shares[i] = s.capacity
		}
		if m := l.members[w]; m != nil && m.rec.Format != 0 {
			shares[i], labels[i] = capacity(m.rec.Capacity), m.rec.Labels
		}
	}
	return shares, labels
}

// reshaped tells whether a worker declares another capacity than was planned
// with.
func (l *leader) reshaped() bool {
	bySeat := l.roster().bySeat
	for i, s := range l.seats {
		if s == nil || s.retired || s.away {
			continue
		}
		if m := bySeat[i]; m != nil && !m.dead && m.inc == s.inc && m.rec.Format != 0 && capacity(m.rec.Capacity) != s.capacity {
			return true
		}
	}
	return false
}

func (c *Core) planAnswered(list *List, workers []string, shares []float64, d Done) {
	l := c.lead
	l.planning, l.answer = false, nil
	if d.Owners == nil {
		c.planFailed(d.Text)
		return
	}
	l.planBad = 0
	for _, w := range workers { // who died meanwhile gets nothing
		if m := l.members[w]; m == nil || m.dead {
			if s := l.seatOf(w); s == nil || !s.away {
				return
			}
		}
	}
	for _, s := range l.seats { // who is back meanwhile loses nothing
		if s == nil || s.retired || s.away || slices.Contains(workers, s.worker) {
			continue
		}
		if m := l.members[s.worker]; m != nil && !m.dead {
			return
		}
	}
	l.planFor = workers
	c.planned(list, d.Owners, shares)
}

func (c *Core) planFailed(why string) {
	l := c.lead
	c.report(FaultStrategy, why)
	l.planBad++
	l.stuckAt = min(l.stuckAt, c.now)
	l.notBefore = c.now + c.backoff(l.planBad+2)
}

// cannotLead resigns when source or strategy have not served for long, or a plan
// could not be published; another worker may have better luck. Where nobody has,
// each leader tries twice as long the next time.
func (c *Core) cannotLead() bool {
	l := c.lead
	patience := 3 * c.cfg.OperationTimeout << min(c.elect.barren, maxBarren)
	why := ""
	switch {
	case l.others() == 0:
	case l.stuckAt != never && c.now >= l.stuckAt+patience:
		why = "no plan could be made"
	case l.commit.busy && l.commit.tries > 0 && c.now >= l.commit.began+patience:
		why = "nothing could be published"
	}
	if why == "" {
		return false
	}
	c.elect.barren++
	c.stepDown(why, true)
	return true
}

const maxBarren = 5

// others counts the live members beside this worker.
func (l *leader) others() int {
	n := -1
	for _, m := range l.roster().members {
		if m.proven && !m.dead {
			n++
		}
	}
	return n
}

// planned turns the strategy's answer into moves and commits them. A plan that
// changes nothing is not committed.
func (c *Core) planned(list *List, owners []int32, shares []float64) {
	l := c.lead
	l.stuckAt, c.elect.barren = never, 0
	v := Token{l.term, l.head.Version + 1}
	if list == l.fresh {
		c.log(Info, "list of partitions changed", "partitions", len(list.IDs), "term", l.term, "version", v.Version)
		l.fresh, l.urgent = nil, false
	}
	changed := l.adoptList(list, v)
	for k, w := range l.planFor {
		switch s, m := l.seatOf(w), l.members[w]; {
		case s == nil:
			l.addSeat(w, m.inc)
			changed = true
		case s.retired:
			s.inc, s.retired, s.vacant, s.dirty = m.inc, false, false, true
			changed = true
		}
		if s := l.seatOf(w); s.capacity != shares[k] {
			s.capacity = shares[k]
			changed = true
		}
	}
	for _, s := range l.seats {
		if s != nil && !slices.Contains(l.planFor, s.worker) {
			changed = l.retire(s, v) || changed
		}
	}
	moves, placed := l.retarget(owners, l.planFor, c.cfg.MaxMovesPerPlan, v)
	l.verdictAt, l.window, l.imbalance = never, never, l.withheld
	if moves+placed == 0 && !changed && l.head.List == list.Digest {
		l.rebalance.began = never
		c.log(Debug, "plan changes nothing", "reason", l.reason, "term", l.term, "version", l.head.Version)
		return
	}
	c.handed(l.grantReady(v))
	switch l.head.Lifecycle {
	case lifecycleColdStart:
		l.commit.lifecycle = lifecyclePostColdStart
	default:
		l.commit.lifecycle = lifecycleStable
	}
	if l.reason != "emergency" {
		l.lastPlan = c.now
	}
	l.rebalance.planned = c.now
	l.rebalance.done = Rebalanced{
		Reason: l.reason, Term: l.term, Version: v.Version,
		Workers: len(l.planFor), Partitions: len(list.IDs), Moves: moves,
	}
	c.measure(MetricRebalances, 1, l.reason)
	c.measure(MetricMoves, float64(moves), l.reason)
	c.log(Info, "rebalance", "reason", l.reason, "workers", len(l.planFor), "partitions", len(list.IDs),
		"moves", moves, "placed", placed, "term", l.term, "version", v.Version)
	c.startCommit()
}
