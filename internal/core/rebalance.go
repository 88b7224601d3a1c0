package core

import "time"

// The lifecycles of a fleet, as the public ones.
const (
	lifecycleColdStart     = "cold_start"
	lifecyclePostColdStart = "post_cold_start"
	lifecycleStable        = "stable"
)

// leader is the state of a leadership. It exists from the moment that the term
// is taken until the leader steps down.
type leader struct {
	term    uint64
	began   time.Duration
	head    headRecord // as last committed
	rev     uint64
	stands  version            // of the head last known to stand in NATS
	members map[string]*member // changed by enroll and strike only
	pairs   roster             // see roster
	unheard time.Duration      // when the own heartbeats last did not come through
	table

	commit  commit
	rebuild rebuild

	strays, listed map[string]listing // ids and tickets: this listing, and the one before

	// Triggers.
	verdictAt time.Duration // of the first death not acted upon; never = none
	window    time.Duration // when the open stabilization window began; never = none
	lastJoin  time.Duration
	lastPlan  time.Duration // when the last plan that was no emergency was committed
	imbalance bool
	withheld  bool // the last plan gave a suspect less than it should have
	owes      bool // or a degraded worker, which waits until that ends
	// unfinished: the last plan had more moves than one plan may make.
	unfinished bool
	readyAt    time.Duration // since when a grant is ready; never = none is

	// The list of partitions.
	fresh        *List // a list that is not in force yet
	freshAt      time.Duration
	shrunk       string        // digest of a list so short that it must be read twice
	shrunkUntil  time.Duration // not before this does a second read confirm it
	refreshAsked bool          // a worker asks for a new list
	urgent       bool          // the fresh list does not wait for a window
	bearable     bool          // the fresh list has new weights only, and the present division bears them
	sourceBad    int
	read         int // lists read so far in this leadership
	differing    map[string]string

	// The plan in flight.
	planning  bool
	answer    func() // what the strategy said, taken in once no commit is under way
	planEpoch int
	planFor   []string
	planBad   int
	notBefore time.Duration // of the next plan, after a failed one
	stuckAt   time.Duration // since when no plan can be made; never = plans can be made
	reason    string
	rebalance rebalance
}

func (c *Core) newLeader(head headRecord, rev uint64) *leader {
	return &leader{
		term: c.elect.term, began: c.now, head: head, rev: rev, stands: head.at(),
		members: map[string]*member{}, table: newTable(), rebuild: rebuild{held: map[string]*heldBy{}},
		verdictAt: never, window: never, lastPlan: -never / 2, stuckAt: never,
		readyAt: never, lastJoin: c.now, differing: map[string]string{}, rebalance: rebalance{began: never},
	}
}

// leads begins once everything that the head names is loaded.
func (c *Core) beginLeading() {
	l := c.lead
	c.elect.phase, c.elect.tries = leads, 0
	c.timer.clear(timerCampaignEnd)
	c.timer.sooner(timerHeadRead, c.now+c.headReadEvery())
	c.log(Info, "leading", "term", l.term, "version", l.head.Version, "workers", len(l.head.Seats))
	c.measure(MetricLeader, 1, "")
	c.measureFleet(len(l.list.IDs), l.unowned())
	for _, s := range l.seats {
		if s != nil {
			m := &member{worker: s.worker, inc: s.inc, seen: c.now, joined: c.now, peer: peer{inc: s.inc, checked: c.now}}
			// In the Exclusive mode only the heartbeat tells how long a lease
			// lasts, and this worker has not followed it.
			if last := c.elect.last; !c.cfg.Exclusive && last.worker == m.worker && last.inc == m.inc {
				m.seen = last.seen
				if last.peer.inc == m.inc {
					m.peer = last.peer
				}
			}
			l.enroll(m)
		}
	}
	c.want(watchBeats)
	c.want(watchHeld)
	c.readSource()
	c.timer.set(timerSweep, c.now+c.cfg.PayloadTTL)
	c.timer.set(timerStrays, c.now+c.cfg.IDTTL)
}

// dropLeader forgets a leadership.
func (c *Core) dropLeader() {
	if c.lead == nil {
		return
	}
	c.lead = nil
	c.measureFleet(0, 0)
	c.unwant(watchBeats)
	c.unwant(watchStrays)
	c.unwant(watchHeld)
	for _, t := range []timer{timerMembers, timerLate, timerPlan, timerSource, timerGrant, timerCommit, timerSweep, timerStrays} {
		c.timer.clear(t)
	}
}

// advanceLeader does what a leader has to do next, one commit at a time.
func (c *Core) advanceLeader() {
	if !c.leading() || c.life.stopping() || !c.conn.up || c.now >= c.leadKey.leaseEnd(c.cfg.HeartbeatTTL) {
		return
	}
	l := c.lead
	l.now = c.now
	if !l.busy(c.adopt.seen) {
		l.reason = ""
	}
	c.judge()
	if c.cannotLead() {
		return
	}
	if l.commit.busy {
		return
	}
	if at := l.began + c.cfg.HeartbeatInterval; !l.rebuild.known && c.now < at {
		c.timer.sooner(timerPlan, at) // somebody may have seen more than this leader
		return
	}
	if l.head.Rebuild && !c.advanceRebuild() {
		return
	}
	if l.answer != nil {
		if l.answer(); l.commit.busy {
			return
		}
	}
	if l.refreshAsked {
		l.refreshAsked, l.urgent = false, true
		c.readSource()
	}
	changed := c.updateSeats()
	if l.fresh != nil && l.bearable && !l.planning { // no plan: the digest and the weights change
		changed = l.adoptList(l.fresh, Token{l.term, l.head.Version + 1}) || changed
		l.fresh, l.urgent = nil, false
	}
	released := c.releaseHolders()
	changed = changed || released && !l.draining() && len(l.gone) == 0
	// A commit takes along what is ready: a partition that nobody drains any
	// more and nobody has yet would be in none of the lists.
	if c.grantsReady() || changed {
		changed = c.grant() || changed
	}
	if changed {
		c.startCommit()
		return
	}
	c.considerPlan()
}

// list is the list to plan with.
func (l *leader) planList() *List {
	if l.fresh != nil {
		return l.fresh
	}
	return l.list
}

// cold tells whether the fleet has no assignment to preserve: no plan was made
// yet, or none of the workers that it names lives.
func (c *Core) cold() bool {
	l := c.lead
	if l.head.Lifecycle == lifecycleColdStart {
		return true
	}
	bySeat := l.roster().bySeat
	for i, s := range l.seats {
		if s == nil {
			continue
		}
		if m := bySeat[i]; s.away || m != nil && !m.dead {
			return false
		}
	}
	return true
}

// considerPlan asks the strategy for a plan when one is due, and sets the timer
// for when one will be.
func (c *Core) considerPlan() {
	l := c.lead
	if l.planning || l.planList() == nil || l.read == 0 && !l.haveSeats() {
		return
	}
	at, reason := c.planDue()
	if at == never { // nothing to plan is no failure to plan
		l.window = never
		if l.read > 0 {
			l.stuckAt, l.planBad = never, 0
		}
		return
	}
	if at = max(at, l.notBefore); c.now < at {
		c.timer.sooner(timerPlan, at)
		return
	}
	c.timer.clear(timerPlan)
	c.makePlan(reason)
}

// planDue says when the next plan is due, and why; never when nothing calls for
// one.
func (c *Core) planDue() (time.Duration, string) {
	l := c.lead
	joiners := c.joiners()
	for _, m := range joiners {
		l.lastJoin = max(l.lastJoin, m.joined)
	}
	if c.cold() {
		if len(joiners) == 0 {
			return never, ""
		}
		end := l.began + c.cfg.ColdStartWindow
		if c.cfg.ColdStartSettle < c.cfg.ColdStartWindow {
			end = min(end, max(l.lastJoin+c.cfg.ColdStartSettle, c.proving()))
		}
		return end, "cold_start"
	}
	if l.verdictAt != never {
		if c.verdictsDue() {
			return c.now, "emergency"
		}
		return c.timer[timerPlan], "emergency"
	}
	at, reason := never, ""
	consider := func(t time.Duration, why string) {
		if t = max(t, l.lastPlan+c.cfg.MinRebalanceInterval); t < at {
			at, reason = t, why
		}
	}
	for _, s := range l.seats {
		if s != nil && s.away && !s.retired {
			if end := s.awaySince + s.awayFor; c.now >= end {
				consider(end, "scale")
			} else {
				c.timer.sooner(timerPlan, end)
			}
		}
	}
	if len(joiners) > 0 || l.fresh != nil || l.imbalance || l.reshaped() {
		if l.window == never {
			l.window = c.now
		}
		why := "scale"
		if len(joiners) == 0 {
			why = "refresh"
		}
		consider(l.window+c.cfg.PlannedScaleWindow, why)
	}
	if l.unfinished && !l.draining() {
		consider(l.lastPlan, "scale")
	}
	if l.fresh != nil && l.urgent {
		consider(l.freshAt, "refresh")
	}
	return at, reason
}
