package core

import (
	"time"
)

// member is a worker as its heartbeats show it to the leader.
type member struct {
	worker string
	inc    string
	rec    hbRecord
	rev    uint64        // of the heartbeat; 0 = never seen, named by the head only
	unsure bool          // the watch began anew, perhaps on a new bucket: revisions may have gone back
	former time.Duration // when the lease of the incarnation before has ended, as far as it was seen
	seen   time.Duration // when it last changed, on this clock; at first, when it was first looked for
	alive  time.Duration // when it last changed while this worker watched
	joined time.Duration // when this incarnation was first seen
	proven bool          // a change was seen, or it is this worker: it is no leftover of a dead fleet
	dead   bool
	// looking: its heartbeat is being read, or its lease ended, before it counts
	// as dead.
	looking   bool
	verifying bool          // a heartbeat that tells of another incarnation is being read
	buried    bool          // what it left is being removed
	buryAt    time.Duration // not before
	excused   bool          // it was lost in an outage: its lease decides
	lost      bool          // its heartbeat is not at the revision that was seen
	peer      peer
	lapsed    bool // its lease has ended
	// compared: the refresh whose list was compared with the leader's.
	compared uint64
}

// verdictGap is how long a verdict waits for others that are due, so that a node
// with three workers is one plan and not three.
const verdictGap = 250 * time.Millisecond

func (c *Core) onBeatWatch(ev Watched) {
	w, ok := c.tail(ev.Key, "hb")
	if _, named := c.workerNumber(w); !ok || !named {
		return
	}
	live := c.watch[watchBeats].live
	if c.claim.judging && live && !ev.Deleted {
		c.holderBeat(w, ev.Val)
	}
	if c.lead != nil {
		c.sawBeat(w, ev, live)
	}
}

// sawBeat takes in a heartbeat that was watched.
func (c *Core) sawBeat(w string, ev Watched, live bool) { c.tookBeat(w, ev, live, false) }

// tookBeat takes in a heartbeat that was watched, or read from the stream leader.
func (c *Core) tookBeat(w string, ev Watched, live, read bool) {
	l := c.lead
	m := l.members[w]
	if ev.Deleted {
		if m != nil && l.seatOf(w) == nil {
			l.strike(w)
		}
		return
	}
	rec, err := decode[hbRecord](ev.Val)
	if err != nil {
		c.report(FaultForeignValue, "key "+ev.Key+": "+err.Error())
		return
	}
	if m != nil && !m.unsure && ev.Rev <= m.rev {
		return
	}
	if m != nil && m.says(rec) { // seen before
		m.rev, m.unsure = ev.Rev, false
		return
	}
	if m == nil {
		m = &member{worker: w}
		l.enroll(m)
	}
	if m.inc != "" && m.inc != rec.Inc && !read {
		c.verifyBeat(m, live)
		return
	}
	if m.inc != rec.Inc {
		m.former = m.seen
		if m.inc != "" {
			m.former += c.memberTTL(m) + c.cfg.EmergencyGracePeriod
		}
		m.inc, m.joined, m.seen, m.proven = rec.Inc, c.now, c.now, false
		m.rec, m.compared = hbRecord{}, 0
		m.peer.meet(rec.Inc)
		m.peer.checked = c.now
	}
	if m.rev == 0 && !live {
		m.compared = rec.Refresh // its list may be of any age
	}
	if rec.Refresh > m.rec.Refresh && m.rev != 0 || rec.Refresh > 0 && m.rev == 0 && live {
		l.refreshAsked = true
	}
	if live || m.rev != 0 || m.seen >= l.began {
		m.seen = c.now
	}
	if live || m.rev != 0 {
		c.heard(&m.peer, w)
	}
	if m.rec.Degraded && !rec.Degraded && l.owes { // it takes its share now
		l.owes, l.imbalance = false, true
	}
	m.rec, m.rev, m.unsure = rec, ev.Rev, false
	m.peer.answered = m.peer.answered || rec.Answered
	if live && w != c.worker() && !rec.Exclusive && !c.cfg.Exclusive {
		c.introduce(&m.peer)
		c.check(&m.peer, w)
	}
	m.proven = m.proven || live || rec.Inc == c.inc
	if live {
		m.alive = c.now
	}
	m.excused = false
	if rec.Revoked == 0 {
		m.dead, m.looking, m.buried = false, false, false
	}
}

// verifyBeat reads a heartbeat that tells of another incarnation than the one
// known. A watch on a replica that is behind may show one that has ended, and what
// the present one still holds would be granted to others.
func (c *Core) verifyBeat(m *member, live bool) {
	if m.verifying {
		return
	}
	m.verifying = true
	epoch := c.elect.epoch
	c.kv(KV{Verb: Get, Bucket: Heartbeats, Key: c.hbKeyName(m.worker)}, false, func(d Done) {
		m.verifying = false
		if c.lead != nil && c.elect.epoch == epoch && c.lead.members[m.worker] == m && d.Err == OK {
			c.tookBeat(m.worker, Watched{Key: c.hbKeyName(m.worker), Val: d.Val, Rev: d.Rev}, live, true)
		}
	})
}

// says tells whether a heartbeat is the one that is known: whether its revision
// is the same does not tell, since a new bucket begins anew.
func (m *member) says(rec hbRecord) bool {
	return m.rev != 0 && rec.Inc == m.rec.Inc && rec.Seq == m.rec.Seq && rec.Revoked == m.rec.Revoked
}

func (m *member) saysAll(val []byte) bool {
	rec, err := decode[hbRecord](val)
	return err == nil && m.says(rec)
}

// beatWatchBegins makes the watch's first values count, whatever their revisions.
func (c *Core) beatWatchBegins() {
	c.judgeAnew()
	if c.lead != nil {
		for _, m := range c.lead.members {
			m.unsure = true
		}
	}
}

// bounded is a duration of another worker, at most ten times the own one: workers
// of a group may be configured a little differently, a stray value is nobody's.
func bounded(theirs millis, own time.Duration) time.Duration { return min(theirs.duration(), 10*own) }

// memberTTL is the lease of a member: its own or the observer's, the longer.
func (c *Core) memberTTL(m *member) time.Duration {
	if m.rev == 0 { // its heartbeat is lost, or was not seen yet
		return max(bounded(c.lead.head.Lease, c.cfg.HeartbeatTTL), c.cfg.HeartbeatTTL)
	}
	return max(bounded(m.rec.TTL, c.cfg.HeartbeatTTL), c.cfg.HeartbeatTTL)
}

// silentSince is from when a member's silence counts: never from before the
// observer's own last reconnect, or its own heartbeats came through again.
func (c *Core) silentSince(m *member) time.Duration {
	return max(m.seen, c.conn.since, c.lead.unheard)
}

// unheard tells whether the own heartbeats do not come through: those of others
// may not either, and their silence proves nothing.
func (c *Core) unheard() bool {
	return c.hbKey.tries > 1 || c.now >= c.hbKey.proved+2*c.cfg.HeartbeatInterval
}

// judge decides who is dead. A silent worker is dead after its lease and the
// grace. When so many are silent that it looks like an outage, each also gets
// the time that it needs to reconnect.
func (c *Core) judge() {
	l := c.lead
	unheard := c.unheard()
	if unheard {
		l.unheard = c.now
	}
	outage := c.outage()
	wake, late := never, never
	for _, p := range l.roster().members {
		m := p.member
		if m.dead && p.seat == nil && !m.buried && !l.commit.busy { // no head names it
			if c.now >= m.buryAt {
				c.bury(m)
			} else {
				wake = min(wake, m.buryAt)
			}
		}
		if m.dead || m.inc == c.inc || m.left(p.seat) {
			continue
		}
		at := c.silentSince(m) + c.memberTTL(m) + c.cfg.EmergencyGracePeriod
		if m.seen < l.began { // the predecessor, perhaps deposed and alive: its heartbeat must be overdue too
			at = max(at, c.quietSince(m)+max(bounded(m.rec.Interval, c.cfg.HeartbeatInterval), c.cfg.HeartbeatInterval)*11/10)
		}
		// For as long as this silence lasts: when the first of them are buried it
		// may not look like an outage any more.
		m.excused = m.excused || outage[m.worker]
		if m.excused {
			at = min(at+m.rec.Allowance.duration(), max(at, c.silentSince(m)+c.memberTTL(m)+c.cfg.RecoveryGracePeriod))
		}
		if m.alive < c.degraded.left {
			at = max(at, c.degraded.left+c.cfg.RecoveryGracePeriod)
		}
		look, gone := c.tryMember(m)
		if m.peer.suspected {
			wake = min(wake, look)
		} else {
			late = min(late, look)
		}
		if c.now < at && (!gone || unheard) {
			wake = min(wake, at)
			continue
		}
		if !gone && c.hbKey.proved < c.silentSince(m)+c.intervalOf(m.rec.Interval) {
			c.renew(&c.hbKey) // what its heartbeats ran into may stop the own ones, too
			continue
		}
		c.verdict(m)
	}
	c.timer.set(timerMembers, wake)
	c.timer.set(timerLate, late)
}

// left tells whether a member has left in good order, or has said so while a commit is
// under way.
func (m *member) left(s *seat) bool {
	return s != nil && (s.away || m.inc == s.inc && m.rec.Leaving && m.rec.Released && m.rec.Revoked == 0)
}

// outage returns the silent workers when their number makes crashes unlikely: at
// least two, and more than the configured part of the fleet, or all of one NATS
// server.
func (c *Core) outage() map[string]bool {
	l := c.lead
	var silent []*member
	total := 0
	bySeat := l.roster().bySeat
	for i, s := range l.seats {
		if s == nil || s.away {
			continue
		}
		total++
		m := bySeat[i]
		if m == nil {
			continue
		}
		m.lapsed = c.now >= c.silentSince(m)+c.memberTTL(m)
		if m.peer.found != foundNothing || m.lapsed {
			silent = append(silent, m)
		}
	}
	if len(silent) < 2 {
		return nil
	}
	missing, lost := map[string]bool{}, map[string]int{}
	for _, m := range silent {
		missing[m.worker] = true
		lost[m.rec.Server]++
	}
	if float64(len(silent)) > c.cfg.RestartRatio*float64(total) {
		return missing
	}
	servers := map[string]int{}
	for i, s := range l.seats {
		if s != nil && !s.away && bySeat[i] != nil {
			servers[bySeat[i].rec.Server]++
		}
	}
	for _, m := range silent {
		if srv := m.rec.Server; srv == "" || lost[srv] < 2 || lost[srv] < servers[srv] {
			delete(missing, m.worker)
		}
	}
	return missing
}

// verdict pronounces a member dead, after a look at its heartbeat in NATS, since
// the watch may be late. In the Exclusive mode the look is a write that ends the
// lease at the very heartbeat that was judged.
func (c *Core) verdict(m *member) {
	if m.looking {
		return
	}
	if m.rec.Revoked != 0 {
		c.pronounce(m)
		return
	}
	op := KV{Verb: Get, Bucket: Heartbeats, Key: c.hbKeyName(m.worker)}
	rec := m.rec
	revoke := c.cfg.Exclusive && m.rev != 0 && !m.lost
	if revoke {
		rec.Revoked = c.lead.term
		op.Verb, op.Val, op.Rev = Update, encode(rec), m.rev
	}
	m.looking = true
	epoch := c.elect.epoch
	c.kv(op, false, func(d Done) {
		if c.lead == nil || c.elect.epoch != epoch || !m.looking {
			return
		}
		m.looking = false
		switch {
		case d.Err == NotFound:
			m.rev = 0
			c.pronounce(m)
		case d.Err == Conflict && revoke: // it lives; or its heartbeat is lost, or back at an earlier one: a read tells
			m.lost = true
			c.verdict(m)
		case d.Err == OK && m.lost:
			m.lost, m.unsure = false, true
			c.sawBeat(m.worker, Watched{Key: op.Key, Val: d.Val, Rev: d.Rev}, true)
		case d.Err == OK && revoke:
			m.rev, m.rec = max(m.rev, d.Rev), rec
			c.pronounce(m)
		case d.Err == OK && m.saysAll(d.Val):
			c.pronounce(m)
		case d.Err == OK:
			m.unsure = true
			c.sawBeat(m.worker, Watched{Key: op.Key, Val: d.Val, Rev: d.Rev}, m.rev != 0)
			m.seen = c.now
		default: // it lives, or nothing is known: judged again after the grace
			m.seen = max(m.seen, c.now-c.memberTTL(m))
			m.peer.lost = c.now
		}
	})
}

func (c *Core) pronounce(m *member) {
	l := c.lead
	m.dead = true
	if l.seatOf(m.worker) == nil {
		c.bury(m)
		return
	}
	c.log(Warn, "worker is dead", "peer", m.worker, "incarnation", m.inc, "silent", (c.now - m.seen).String())
	if l.verdictAt == never {
		l.verdictAt = c.now
	}
}

// bury removes what a dead worker that owns nothing left in NATS, unless
// somebody has taken it over meanwhile. The watch shows when it is gone.
func (c *Core) bury(m *member) {
	l := c.lead
	m.buried, m.buryAt = true, c.now+c.cfg.OperationTimeout
	if m.rev == 0 {
		l.strike(m.worker)
	} else {
		c.kv(KV{Verb: Delete, Bucket: Heartbeats, Key: c.hbKeyName(m.worker), Rev: m.rev}, false, func(d Done) {
			switch {
			case d.Err == OK && c.lead == l && l.members[m.worker] == m && m.dead:
				l.strike(m.worker)
			case d.Err != Conflict:
				m.buried = false // once more, later
			}
		})
	}
	n, ok := c.workerNumber(m.worker)
	if !ok || m.inc == "" {
		return
	}
	key, inc := c.idKeyName(n), m.inc
	c.kv(KV{Verb: Get, Bucket: IDs, Key: key}, false, func(d Done) {
		if rec, err := decode[idRecord](d.Val); d.Err == OK && err == nil && rec.Inc == inc {
			c.kv(KV{Verb: Delete, Bucket: IDs, Key: key, Rev: d.Rev}, false, func(Done) {})
		}
	})
}

// verdictsDue tells whether the pronounced deaths may be acted upon: at once, or
// after others that are due within the gap.
func (c *Core) verdictsDue() bool {
	l := c.lead
	if l.verdictAt == never {
		return false
	}
	end := l.verdictAt + verdictGap
	if c.now >= end {
		return true
	}
	looking := false
	for _, m := range l.members {
		looking = looking || m.looking || m.peer.suspected && m.peer.busy
	}
	if next := c.timer[timerMembers]; looking || next <= c.now+verdictGap {
		c.timer.sooner(timerPlan, min(next, end))
		return false
	}
	return true
}

// proving tells until when members that may be leftovers of a dead fleet are
// waited for: each should have sent a heartbeat by then.
func (c *Core) proving() time.Duration {
	at := time.Duration(0)
	for _, m := range c.lead.members {
		if !m.proven && !m.dead && m.rev != 0 {
			at = max(at, c.silentSince(m)+c.cfg.HeartbeatInterval+c.cfg.HeartbeatInterval/4)
		}
	}
	return at
}

// joiners returns the live members that have no seat yet, sorted.
func (c *Core) joiners() []*member {
	l := c.lead
	var out []*member
	for _, p := range l.roster().members {
		m := p.member
		if p.seat != nil && (!p.seat.retired || p.seat.inc == m.inc) {
			continue
		}
		if m.proven && !m.dead && !m.rec.Leaving && m.rec.Revoked == 0 {
			out = append(out, m)
		}
	}
	return out
}
