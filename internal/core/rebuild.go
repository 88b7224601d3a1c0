package core

import (
	"maps"
	"slices"
	"time"
)

// rebuild is the work of a leader that has begun a new line of heads, since none
// was there or the one before is broken. Its first head says so, and names
// nobody. Workers keep what they hold and answer with it. When everybody who is
// cut off must have lost its lease, and everybody else has answered, the leader
// commits the union: nothing moves. Without anybody who ever held anything it is
// a cold start.
type rebuild struct {
	held map[string]*heldBy // by worker, what they say they hold
	// known: the present values of held have been seen.
	known bool
	cold  bool // nobody holds anything

	asked    bool   // the echo is awaited
	before   uint64 // what was written up to here is no echo
	reported bool   // that somebody does not answer
}

// heldBy is what a worker says it holds.
type heldBy struct {
	rec heldRecord
	rev uint64
	// before is what the incarnation before has said.
	before []grantList
}

func (c *Core) heldWatchBegins() {
	if c.lead != nil {
		c.lead.rebuild.held = map[string]*heldBy{}
	}
}

func (c *Core) onHeldWatch(ev Watched) {
	if !c.leading() {
		c.unwant(watchHeld)
		return
	}
	l := c.lead
	r := &l.rebuild
	r.known = r.known || ev.Synced
	w, ok := c.tail(ev.Key, "held")
	if _, named := c.workerNumber(w); !ok || !named {
		return
	}
	old := r.held[w]
	if delete(r.held, w); ev.Deleted {
		return
	}
	rec, err := decode[heldRecord](ev.Val)
	if err != nil {
		c.report(FaultForeignValue, "key "+ev.Key+": "+err.Error())
		return
	}
	h := &heldBy{rec: rec, rev: ev.Rev}
	if old != nil {
		h.before = old.before
		if old.rec.Inc != rec.Inc {
			h.before = slices.Concat(old.rec.Grants, old.before)
		}
	}
	r.held[w] = h
	switch {
	case rec.For == 0 && rec.Root >= l.head.Root && rec.Root != 0:
		c.lost.broken = max(c.lost.broken, rec.Root)
		c.raise(rec)
		c.stepDown(w+" has seen a head that does not stand in NATS any more", false)
	case l.head.Rebuild && (rec.Term > l.term || rec.For == 0 && rec.Seen == l.term): // of another leader, even if equal
		c.raise(rec)
		c.stepDown(w+" has seen a later term", false)
	default:
		c.raise(rec)
	}
}

// raise notes the highest term and version that a worker has seen.
func (c *Core) raise(rec heldRecord) {
	c.elect.seen = max(c.elect.seen, rec.Term)
	c.lost.version = max(c.lost.version, rec.Version)
}

// somethingHeld tells whether any worker was ever granted anything, as far as
// the leader can see.
func (c *Core) somethingHeld() bool {
	if c.adopt.named || len(c.adopt.letting) > 0 {
		return true
	}
	for _, m := range c.lead.members {
		if !m.dead && m.rec.Applied.Version > 0 {
			return true
		}
	}
	for _, h := range c.lead.rebuild.held {
		if h.rec.Named || len(h.rec.Grants)+len(h.rec.Drains) > 0 {
			return true
		}
	}
	return false
}

// longestLease is the longest lease that any worker may have.
func (c *Core) longestLease() time.Duration {
	lease := max(c.cfg.HeartbeatTTL, bounded(c.lost.lease, c.cfg.HeartbeatTTL))
	for _, m := range c.lead.members {
		lease = max(lease, c.memberTTL(m))
	}
	for _, h := range c.lead.rebuild.held {
		lease = max(lease, bounded(h.rec.Lease, c.cfg.HeartbeatTTL))
	}
	return lease
}

// advanceRebuild does what a leader without a head does next. It returns true
// when that is a cold start.
func (c *Core) advanceRebuild() (cold bool) {
	l := c.lead
	r := &l.rebuild
	if r.cold || !c.cfg.Exclusive && !c.somethingHeld() {
		return true
	}
	// Who is cut off has lost its lease by then, wherever it was when the head
	// was lost. In the Exclusive mode nobody else can know that nothing is held.
	at := max(l.began, c.conn.since) + c.longestLease() + c.cfg.EmergencyGracePeriod
	if c.now < at {
		c.timer.sooner(timerPlan, at)
		return false
	}
	if !c.echoed() {
		return false
	}
	if c.unanswered(at) {
		return false
	}
	if !c.commitHeld() {
		r.cold = true
		c.timer.sooner(timerPlan, c.now)
	}
	return r.cold
}

// echoed tells whether what was written up to now has come through the watches:
// the own heartbeat and the own answer, written after the wait, come back. A
// watch that is late would show the silence of workers that speak.
func (c *Core) echoed() bool {
	r := &c.lead.rebuild
	if !r.asked {
		r.asked, r.before = true, c.beat.seq
		c.renew(&c.hbKey)
		c.tellHeld()
	}
	m, h := c.lead.members[c.worker()], r.held[c.worker()]
	return m != nil && m.inc == c.inc && m.rec.Seq > r.before && h != nil && h.rec.Inc == c.inc && h.rec.Seq > r.before
}

// unanswered tells whether a live worker has not said yet what it holds. In the
// Available mode it is waited for as long as for a handoff.
func (c *Core) unanswered(since time.Duration) bool {
	l := c.lead
	r := &l.rebuild
	for _, p := range l.roster().members {
		m, w := p.member, p.worker
		if m.dead || m.rev == 0 || m.rec.Released || m.rec.Revoked != 0 || m.rec.Applied.Version == 0 {
			continue
		}
		if h := r.held[w]; h != nil && h.rec.For == l.term && nonceOf(h.rec.Inc) == nonceOf(m.inc) {
			continue
		}
		at := since + c.cfg.HandoffTimeout
		if c.now < at {
			c.timer.sooner(timerPlan, at)
			return true
		}
		if !r.reported {
			r.reported = true
			c.report(FaultForced, w+" has not said within "+c.cfg.HandoffTimeout.String()+" what it holds, while the head is rebuilt")
		}
		if c.cfg.Exclusive {
			return true
		}
	}
	return false
}

// commitHeld commits the union of what live workers hold: each with the token
// that it has. A partition held twice stays with the higher token, and the other
// one drains it. It reports whether there is anybody to name.
func (c *Core) commitHeld() bool {
	l := c.lead
	l.head.Version = max(l.head.Version, c.lost.version)
	v := Token{l.term, l.head.Version + 1}
	l.table = newTable()
	l.now = c.now
	u := union{best: map[string]claimed{}, holders: map[string][]holding{}, weight: map[string]int64{}}
	for _, w := range slices.Sorted(maps.Keys(l.rebuild.held)) {
		h, m := l.rebuild.held[w], l.members[w]
		if m == nil || m.dead || m.rev == 0 || m.rec.Released || !h.rec.Named && len(h.rec.Grants)+len(h.rec.Drains) == 0 {
			continue
		}
		seat := l.addSeat(w, m.inc)
		l.seats[seat].capacity = capacity(m.rec.Capacity)
		if m.inc == h.rec.Inc {
			u.add(h, seat, m, version(v))
		} else { // the id has passed on, and what belongs to it
			u.inherit(h.rec.Grants, seat)
		}
		u.inherit(h.before, seat)
	}
	if !l.haveSeats() {
		return false
	}
	u.fill(&l.table, v)
	for _, hs := range l.holders {
		for _, h := range hs {
			l.seatOf(h.worker).drainDirty = true
		}
	}
	for _, g := range l.gone {
		for _, h := range g.holders {
			l.seatOf(h.worker).drainDirty = true
		}
	}
	// Who came back when the head was lost, and had been given up before, has a
	// seat now and little or nothing. It gets its share as if it had joined.
	if least, most := l.extremes(); most-least > 1 {
		l.withheld, l.imbalance = true, true
	}
	l.commit.lifecycle = lifecycleStable
	l.planning, l.answer = false, nil
	l.planEpoch++
	c.listHeld(v)
	c.log(Info, "head rebuilt", "workers", len(l.byName), "partitions", len(l.list.IDs), "term", v.Term, "version", v.Version)
	l.reason, l.rebalance = "rebuild", rebalance{began: c.now}
	c.startCommit()
	return true
}

// extremes is how many partitions the seat with the least has, and that with the
// most.
func (t *table) extremes() (least, most int) {
	n := make([]int, len(t.seats))
	for _, s := range t.next {
		if s >= 0 {
			n[s]++
		}
	}
	return slices.Min(n), slices.Max(n)
}

// listHeld compares the source's list with what is held. When it names the same
// partitions it is the list; what nobody holds is planned at once, since its
// owner is gone.
func (c *Core) listHeld(v Token) {
	l := c.lead
	list := l.fresh
	if l.fresh = nil; list == nil {
		return
	}
	held := l.index()
	missing, weights := false, true
	for i, id := range list.IDs {
		j, ok := held[id]
		missing = missing || !ok
		weights = weights && ok && list.Weights[i] == l.list.Weights[j]
	}
	if !missing && len(list.IDs) == len(held) && (weights || l.imbalanceWith(list) <= c.cfg.MinRebalanceThreshold) {
		l.adoptList(list, v)
		return
	}
	if c.listed(list); missing {
		l.verdictAt = c.now
	}
}

// union is what workers hold together.
type union struct {
	best    map[string]claimed
	holders map[string][]holding // by partition, who has to let go
	weight  map[string]int64
}

// claimed is a partition as one worker holds it.
type claimed struct {
	seat  int32
	token Token // zero: an earlier incarnation held it
	by    holding
}

func (u *union) add(h *heldBy, seat int32, m *member, v version) {
	by := holding{worker: m.worker, inc: m.inc, release: v}
	for _, g := range h.rec.Grants {
		for i, id := range g.IDs {
			u.weight[id] = max(u.weight[id], g.Weights[i])
			mine := claimed{seat, Token{g.Term, g.Version}, by}
			if other, ok := u.best[id]; ok {
				if other.token.Less(mine.token) {
					mine, other = other, mine
				}
				u.best[id] = other
				if mine.token != (Token{}) {
					u.holders[id] = append(u.holders[id], mine.by)
				}
				continue
			}
			u.best[id] = mine
		}
	}
	for _, d := range h.rec.Drains {
		u.weight[d.ID] = max(u.weight[d.ID], d.Weight)
		u.holders[d.ID] = append(u.holders[d.ID], by)
	}
}

// inherit gives a seat what an earlier incarnation of its worker held, unless
// somebody holds it now.
func (u *union) inherit(grants []grantList, seat int32) {
	for _, g := range grants {
		for i, id := range g.IDs {
			if _, ok := u.best[id]; !ok {
				u.weight[id] = g.Weights[i]
				u.best[id] = claimed{seat: seat}
			}
		}
	}
}

// fill makes the table of a union.
func (u *union) fill(t *table, v Token) {
	list := &List{IDs: slices.Sorted(maps.Keys(u.best))}
	t.list = list
	for i, id := range list.IDs {
		best := u.best[id]
		list.Weights = append(list.Weights, u.weight[id])
		hs := u.holders[id]
		delete(u.holders, id)
		t.next = append(t.next, best.seat)
		owner := best.seat
		if len(hs) > 0 {
			t.holders[int32(i)] = hs
		}
		if best.token == (Token{}) { // a new grant, and so it waits
			if best.token = v; len(hs) > 0 {
				owner, t.open = -1, true
			}
		}
		t.owner = append(t.owner, owner)
		t.token = append(t.token, best.token)
	}
	for id, hs := range u.holders {
		t.gone[id] = goneEntry{weight: u.weight[id], holders: hs}
	}
}
