package core

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// What a leader measures: how long a plan takes to come into force, and how long
// partitions have no owner on the way. Nothing here decides anything.

// The causes for which a partition has no owner for a while.
const (
	causeMove    = "move"    // a plan moved it, and its owner finishes first
	causeCrash   = "crash"   // its owner died; counted from the last sign of life
	causeRestart = "restart" // its owner left, and came back or was given up
)

// rebalance are the times of the plan in progress.
type rebalance struct {
	began     time.Duration // the strategy was asked; never = no plan is in progress
	planned   time.Duration // it has answered
	published time.Duration // the head is written; 0 = not yet
	done      Rebalanced    // but for its durations
}

// gap says since when a partition that had an owner has none, and why.
type gap struct {
	since time.Duration
	cause string
}

// losesOwner begins to count for a partition that loses its owner.
func (t *table) losesOwner(i int32, since time.Duration, cause string) {
	if _, counts := t.idle[i]; !counts {
		t.idle[i] = gap{since: since, cause: cause}
	}
}

// handed is told the partitions that get an owner with the next commit.
func (c *Core) handed(got []gap) {
	pauses := map[gap]int{}
	for _, p := range got {
		pauses[p]++
	}
	for _, p := range slices.SortedFunc(maps.Keys(pauses), func(a, b gap) int {
		return cmp.Or(cmp.Compare(a.cause, b.cause), cmp.Compare(a.since, b.since))
	}) {
		c.tellHanded(Handed{Cause: p.cause, Pause: c.now - p.since, Partitions: pauses[p]})
	}
}

// returned counts the partitions of a worker that is back under a new incarnation:
// it had left, or has lost its lease meanwhile.
func (c *Core) returned(s *seat, i int32, m *member) {
	since := s.awaySince
	if !s.away {
		if m.rec.Idle == 0 {
			return // its process is a new one: nobody knows when the old one ended
		}
		since = m.seen - m.rec.Idle.duration()
	}
	n := 0
	for _, o := range c.lead.owner {
		if o == i {
			n++
		}
	}
	if n > 0 {
		c.tellHanded(Handed{Cause: causeRestart, Pause: c.now - since, Partitions: n})
	}
}

func (c *Core) tellHanded(h Handed) {
	c.log(Info, "partitions handed over", "reason", h.Cause, "partitions", h.Partitions, "took", h.Pause.String(),
		"term", c.lead.term, "version", c.lead.head.Version+1)
	c.emit(h)
}

// takenFrom is why and since when the partitions of a seat that is retired have
// no owner.
func (l *leader) takenFrom(s *seat) gap {
	m := l.members[s.worker]
	switch {
	case s.away:
		return gap{since: s.awaySince, cause: causeRestart}
	case m != nil && m.dead:
		return gap{since: m.seen, cause: causeCrash}
	}
	return gap{since: l.now, cause: causeMove}
}

// measureCommit is called when a head was written.
func (c *Core) measureCommit() {
	l := c.lead
	c.measure(MetricCommitTime, (c.now - l.commit.began).Seconds(), "")
	c.measureFleet(len(l.list.IDs), l.unowned())
	r := &l.rebalance
	if r.began == never || r.planned == 0 {
		return
	}
	if r.published == 0 {
		r.published = c.now
	}
	if l.draining() || l.anyReady() {
		return
	}
	e := r.done
	e.Began, e.Plan, e.Publish, e.Handoff = r.began, r.planned-r.began, r.published-r.planned, c.now-r.published
	r.began = never
	c.emit(e)
}

// unowned counts the partitions of the list that nobody works on: those granted
// to nobody, and those of workers that have left and may come back.
func (l *leader) unowned() int {
	n := 0
	for _, o := range l.owner {
		if o < 0 || l.seats[o].away {
			n++
		}
	}
	return n
}

// measureFleet tells what only a leader knows, when it has changed.
func (c *Core) measureFleet(partitions, unowned int) {
	if f := (Fleet{partitions, unowned}); f != c.fleet {
		c.fleet = f
		c.emit(f)
	}
}

// overlapped counts what this worker holds at the moment in which it learns that
// it was believed dead: others may have been at work on it since. In the Exclusive
// mode the lease has ended before.
func (c *Core) overlapped() {
	if n := len(c.adopt.owned); n > 0 && !c.cfg.Exclusive {
		c.measure(MetricOverlaps, float64(n), "")
	}
}
