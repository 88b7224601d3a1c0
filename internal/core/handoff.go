package core

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// updateSeats follows what the members say about themselves: a new incarnation
// under a seated id, a leaver that has let go. It reports whether there is
// something to commit.
func (c *Core) updateSeats() bool {
	l := c.lead
	changed := false
	v := Token{l.term, l.head.Version + 1}
	bySeat := l.roster().bySeat
	for i, s := range l.seats {
		if s == nil || s.retired {
			continue
		}
		m := bySeat[i]
		if m == nil || m.rev == 0 || m.dead {
			continue
		}
		switch {
		case m.inc != s.inc && !m.rec.Leaving && m.rec.Revoked == 0 && c.now < c.succeeds(m, s):
			c.timer.sooner(timerPlan, c.succeeds(m, s))
		case m.inc != s.inc && !m.rec.Leaving && m.rec.Revoked == 0:
			// The same id, another incarnation: no move, but new tokens before
			// it starts. The id was taken over by compare-and-swap from a dead
			// holder, or by this holder itself after it had let go.
			c.log(Info, "worker returned", "peer", s.worker, "incarnation", m.inc, "away", s.away)
			c.returned(s, int32(i), m)
			l.imbalance = l.imbalance || s.owed
			s.inc, s.away, s.vacant, s.dirty = m.inc, false, false, true
			s.files.outdate() // all tokens are new
			for p := range l.owner {
				if l.owner[p] == int32(i) {
					l.token[p] = v
				}
			}
			changed = true
		case m.inc == s.inc && m.rec.Leaving && m.rec.Released && !s.away:
			s.away, s.awaySince, s.vacant = true, c.now, true
			s.awayFor = max(bounded(m.rec.Window, c.cfg.PlannedScaleWindow), 1)
			c.log(Info, "worker left", "peer", s.worker, "incarnation", s.inc, "waits", s.awayFor.String())
			changed = true
		}
	}
	return changed
}

// succeeds tells from when a new incarnation may have what a seat is granted. In
// the Exclusive mode the one before must have let go, or be dead beyond doubt, or
// have lost its lease: its id may have been lost, and not given up.
func (c *Core) succeeds(m *member, s *seat) time.Duration {
	if !c.cfg.Exclusive || s.vacant || nonceOf(m.inc) == nonceOf(s.inc) || m.rec.Took == s.inc {
		return 0
	}
	return max(m.former, c.conn.since)
}

// releaseHolders drops the holders that have let go: they said so, they died, or
// another incarnation has their id. One that takes too long is overridden in the
// Available mode and reported and waited for in the Exclusive mode; what passed while
// this leader was cut off, or on a clock that was set forward, does not count.
func (c *Core) releaseHolders() bool {
	l := c.lead
	if len(l.holders)+len(l.gone) == 0 || c.allHold() {
		return false
	}
	changed := false
	due := never
	late := lateHolders{}
	l.awaited = map[holding]struct{}{}
	filter := func(id string, hs []holding) []holding {
		out := hs[:0]
		for _, h := range hs {
			if h.since == 0 {
				h.since = max(1, c.now)
			}
			if c.released(h) {
				changed = true
			} else if at := c.holdsUntil(h); c.now >= at && late.overridden(c, id, &h) {
				changed = true
			} else {
				if c.now < at {
					due = min(due, at)
				}
				l.awaited[h] = struct{}{}
				out = append(out, h)
				continue
			}
			if s := l.seatOf(h.worker); s != nil {
				s.drainDirty = true
			}
		}
		return out
	}
	for i, hs := range l.holders {
		if hs = filter(l.list.IDs[i], hs); len(hs) > 0 {
			l.holders[i] = hs
		} else {
			delete(l.holders, i)
			l.searched = min(l.searched, i)
		}
	}
	for id, g := range l.gone {
		if g.holders = filter(id, g.holders); len(g.holders) > 0 {
			l.gone[id] = g
		} else {
			delete(l.gone, id)
		}
	}
	if changed && len(l.holders) == 0 { // an emptied map would keep its memory
		l.holders = map[int32][]holding{}
	}
	if due != never {
		c.timer.sooner(timerPlan, due)
	}
	c.reportLate(late)
	return changed
}

// allHold tells whether nobody has let go of anything since releaseHolders looked at
// every partition, and nobody's time is up. Holders are few, and what they hold may
// be a tenth of a million partitions.
func (c *Core) allHold() bool {
	l := c.lead
	if l.awaited == nil {
		return false
	}
	due := never
	for h := range l.awaited {
		at := c.holdsUntil(h)
		switch {
		case c.released(h), c.now >= at && !h.stuck:
			return false
		case c.now < at:
			due = min(due, at)
		}
	}
	if due != never {
		c.timer.sooner(timerPlan, due)
	}
	return true
}

// holdsUntil is when a holder should have let go.
func (c *Core) holdsUntil(h holding) time.Duration {
	return max(h.since, c.conn.since) + c.cfg.HandoffTimeout
}

// released tells whether a holder has let go.
func (c *Core) released(h holding) bool {
	m := c.lead.members[h.worker]
	switch {
	case m == nil, m.dead:
		return true
	case m.rev == 0:
		return false // named by the head, not heard of yet
	case m.inc != h.inc:
		return true
	case m.rec.Leaving && m.rec.Released:
		return true
	}
	return !m.rec.Applied.less(h.release)
}

// lateHolders is what holders turn out not to have let go of in time, by worker.
type lateHolders map[string][]string

// overridden notes a holder that does not let go, and tells whether its partition
// is granted all the same. An empty id stands for what a lost head may have
// given it.
func (late lateHolders) overridden(c *Core, id string, h *holding) bool {
	if h.stuck {
		return false
	}
	h.stuck = true
	late[h.worker] = append(late[h.worker], id)
	return !c.cfg.Exclusive
}

// mostNamed is how many partitions a report names.
const mostNamed = 3

// reportLate makes one report for each worker, however much it holds on to.
func (c *Core) reportLate(late lateHolders) {
	for _, w := range slices.Sorted(maps.Keys(late)) {
		ids := late[w]
		what := "what it had before the head was lost"
		if ids = slices.DeleteFunc(ids, func(id string) bool { return id == "" }); len(ids) > 0 {
			slices.Sort(ids)
			what = "partition " + ids[0]
			if n := len(ids); n > 1 {
				what = strconv.Itoa(n) + " partitions (" + strings.Join(ids[:min(n, mostNamed)], ", ")
				if n > mostNamed {
					what += ", …"
				}
				what += ")"
			}
		}
		then := "granted to the next owner nevertheless"
		if c.cfg.Exclusive {
			then = "waited for"
		} else {
			c.measure(MetricForced, float64(len(late[w])), "")
		}
		c.report(FaultForced, w+" has not let go of "+what+" within "+c.cfg.HandoffTimeout.String()+"; this is "+then)
	}
}

// grantBatch is how long ready grants wait for others, to share a commit, in a fleet
// of up to grantFleet workers. A larger one waits longer in proportion: every commit
// is a head that names all workers and that all workers read.
const (
	grantBatch = 5 * time.Millisecond
	grantFleet = 64
)

func (l *leader) grantBatch() time.Duration {
	return grantBatch * time.Duration(max(grantFleet, len(l.byName))) / grantFleet
}

// grantsReady tells whether partitions wait for nobody any more, and no others
// are about to follow.
func (c *Core) grantsReady() bool {
	l := c.lead
	if !l.anyReady() {
		l.readyAt = never
		return false
	}
	if l.readyAt == never {
		l.readyAt = c.now
	}
	if at := l.readyAt + l.grantBatch(); l.draining() && c.now < at {
		c.timer.set(timerGrant, at)
		return false
	}
	return true
}

// grant gives every partition that waits for nobody to its next owner.
func (c *Core) grant() bool {
	l := c.lead
	l.readyAt = never
	got := l.grantReady(Token{l.term, l.head.Version + 1})
	c.handed(got)
	return len(got) > 0
}
