package core

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// election is what a worker knows of the leader key, and its own campaign.
//
// A campaign takes the leader key by compare-and-swap, then takes the term by
// writing the head, then loads what the head names; only then does it lead. The
// head is what counts: every later commit is a compare-and-swap on it, so that a
// deposed leader cannot change anything, however late its writes arrive.
type election struct {
	rec     leaderRecord
	named   leaderRecord // as the log last named it
	rev     uint64       // of the leader key; 0 = absent
	refused uint64       // the revision at which it was not found
	shown   uint64       // the latest revision that the present watch has shown
	free    uint64       // rev when the own campaign began: what was judged then
	changed time.Duration
	peer    peer   // the leader
	latest  uint64 // the latest revision seen of its key
	last    predecessor
	phase   campaign
	epoch   int           // of campaigns; results of earlier ones are ignored
	term    uint64        // of the own campaign or leadership
	seen    uint64        // highest term seen anywhere
	barred  time.Duration // no campaign before
	tries   int
	agent   bool // the agent said yes
	asking  bool // an agent call is in flight
	taking  bool // the leader key is being written by a campaign
	resign  bool // the own leader key is being deleted
	barren  int  // own leaderships in a row that ended without a plan
}

// predecessor is the leader that this worker last saw alive. A new leader judges
// it by its own record of that silence, and not afresh as it does all others.
type predecessor struct {
	worker, inc string
	seen        time.Duration
	peer        peer // when it was found gone
	// beat is its heartbeat as it stood at quiet, after it was asked for.
	beat         hbRecord
	asked, quiet time.Duration
}

type campaign uint8

const (
	follower campaign = iota
	asksAgent
	readsHead
	takesKey
	takesTerm
	loads
	leads
)

// leading tells whether this worker has the term and everything it needs.
func (c *Core) leading() bool { return c.elect.phase == leads && c.lead != nil }

func (c *Core) leaderWatchBegins() {
	c.elect.shown = 0 // revisions may have gone back
	if c.elect.phase == follower {
		c.elect.rev, c.elect.rec = 0, leaderRecord{}
	}
}

func (c *Core) onLeaderWatch(ev Watched) {
	e := &c.elect
	if ev.Key == "" || ev.Rev <= e.shown {
		return
	}
	e.shown = ev.Rev
	if ev.Deleted {
		e.rev, e.rec, e.last = 0, leaderRecord{}, predecessor{}
		e.peer.meet("")
		return
	}
	rec, err := decode[leaderRecord](ev.Val)
	if err != nil {
		c.report(FaultForeignValue, "key "+ev.Key+": "+err.Error())
	}
	if rec.Inc != e.named.Inc || rec.Term != e.named.Term { // not once more after each reconnect
		e.named = rec
		c.log(Debug, "leader seen", "peer", rec.Worker, "term", rec.Term)
	}
	e.rec, e.rev, e.changed = rec, ev.Rev, c.now
	e.seen = max(e.seen, rec.Term)
	if !c.mine(rec.Inc) {
		e.last = predecessor{worker: rec.Worker, inc: rec.Inc, seen: c.now}
	}
	c.sawLeader(ev.Rev, c.watch[watchLeader].live)
	c.timer.clear(timerCampaign)
}

// leaderKnown tells whether somebody, perhaps this worker, leads as far as this
// worker can see.
func (c *Core) leaderKnown() bool {
	return c.elect.phase == leads || c.watch[watchLeader].synced && c.elect.rev != 0 && c.now < c.leaderDeadline()
}

// leaderDeadline is when a leader that stays silent has lost its lease: on this
// worker's clock, since it last saw a change or was itself cut off.
func (c *Core) leaderDeadline() time.Duration {
	return max(c.elect.changed, c.conn.since) + max(bounded(c.elect.rec.TTL, c.cfg.HeartbeatTTL), c.cfg.HeartbeatTTL)
}

// considerCampaign begins a campaign when the leader key is free and this worker
// may lead.
func (c *Core) considerCampaign() {
	e := &c.elect
	if e.phase != follower || e.resign || !c.conn.up || !c.claim.held || !c.hbKey.written || c.life.stopping() ||
		c.degraded.in || !c.watch[watchLeader].synced {
		return
	}
	free := e.rev == 0 || e.rec.Worker == c.worker()
	at := e.barred
	if !free && !c.leaderGone() {
		at = max(at, c.leaderDeadline())
	}
	if c.now < at {
		c.timer.set(timerCampaign, min(at, c.lookAtLeader()))
		return
	}
	c.timer.clear(timerCampaign)
	c.campaign()
}

func (c *Core) campaign() {
	e := &c.elect
	e.epoch++
	e.free = e.rev
	if e.peer.found == foundGone && e.peer.inc == e.last.inc {
		e.last.peer = e.peer
	}
	c.timer.set(timerCampaignEnd, c.now+c.cfg.ElectionTimeout)
	if !c.cfg.Agent || e.agent {
		c.campaignHead()
		return
	}
	if e.asking {
		return
	}
	e.phase, e.asking = asksAgent, true
	epoch := e.epoch
	c.emit(Agent{Verb: AgentRequest, Worker: c.worker(), Lease: c.cfg.HeartbeatTTL, Op: c.ask(func(d Done) {
		e.asking = false
		if e.epoch != epoch || e.phase != asksAgent {
			if d.Yes { // too late: give back what nobody waits for any more
				e.agent = true
				c.releaseAgent()
			}
			return
		}
		switch {
		case d.Text != "":
			c.campaignFailed("election agent: " + d.Text)
		case !d.Yes:
			c.endCampaign(c.cfg.HeartbeatInterval)
		default:
			e.agent = true
			c.campaignHead()
		}
	})})
}

// campaignHead reads the head for the term to take.
func (c *Core) campaignHead() {
	e := &c.elect
	e.phase = readsHead
	epoch, before := e.epoch, c.sight()
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName(), Timeout: c.cfg.ElectionTimeout}, false, func(d Done) {
		if e.epoch != epoch || e.phase != readsHead {
			return
		}
		head, err := c.basis(d, before)
		if err != nil {
			c.campaignFailed("read the head: " + err.Error())
			return
		}
		e.term = max(head.Term, e.seen, c.adopt.seen.Term) + 1
		if head.Rebuild {
			e.term = max(e.term, c.wall+uint64(c.now/time.Millisecond))
		}
		c.campaignKey(head, d.Rev)
	})
}

// basis is the head on which a new term goes on, as it was read. One that is
// absent, that does not continue what was seen, or that is no head at all gives
// way to a new line: perhaps no fleet ever was; perhaps workers hold what was
// lost. One of a later version is not to be touched.
func (c *Core) basis(d Done, before sight) (headRecord, error) {
	line := headRecord{Lifecycle: lifecycleColdStart, Rebuild: true, Version: c.lost.version, Lease: c.lost.lease}
	if d.Err == NotFound {
		return line, nil
	}
	if d.Err != OK {
		return line, errors.New(d.Text)
	}
	head, err := decode[headRecord](d.Val)
	switch {
	case errors.Is(err, errNewer):
		return head, fmt.Errorf("key %s: %w", c.headKeyName(), err)
	case err != nil:
		c.report(FaultForeignValue, "key "+c.headKeyName()+" is replaced: "+err.Error())
		return line, nil //nolint:nilerr // what is no head is as good as none
	}
	c.elect.seen, c.lost.version = max(c.elect.seen, head.Term), max(c.lost.version, head.Version)
	if before.breaks(head) || c.distrusts(head) {
		c.lost.broken = max(c.lost.broken, c.adopt.head.Root, head.Root)
		line.App, line.Version = head.App, c.lost.version
		return line, nil
	}
	if head.Rebuild {
		head.Version = c.lost.version
	}
	return head, nil
}

func (c *Core) campaignKey(head headRecord, headRev uint64) {
	e := &c.elect
	e.phase = takesKey
	began, epoch := c.now, e.epoch
	op := KV{Verb: Update, Bucket: Election, Key: c.leaderKeyName(), Val: c.leaderValue(), Rev: e.free, Timeout: c.renewTimeout()}
	if e.free == 0 {
		op.Verb = Create
	}
	e.taking = true
	c.kv(op, false, func(d Done) {
		e.taking = false
		if e.epoch != epoch || e.phase != takesKey {
			c.undoCampaign(d)
			return
		}
		switch d.Err {
		case OK:
			c.activate(&c.leadKey, d.Rev, began)
			c.takeTerm(head, headRev)
		case Conflict, NotFound:
			// Somebody was faster, or an own write arrived after all; the watch
			// tells which, and the lease of an own one lapses.
			c.endCampaign(c.backoff(e.tries))
			if e.free != 0 && e.free == e.refused { // the watch shows what does not stand there
				c.rewatch(watchLeader)
			}
			e.refused = e.free
		default:
			c.campaignFailed("write the leader key: " + d.Text)
		}
	})
}

// undoCampaign gives back a leader key that was taken when nobody wanted it any
// more.
func (c *Core) undoCampaign(d Done) {
	done := func() {
		c.elect.resign = false
		c.resumeStop()
	}
	if d.Err != OK && d.Err != Ambiguous {
		done()
		return
	}
	c.leadKey.rev = d.Rev // of an ambiguous write, a read finds it
	c.release(&c.leadKey, func(bool) { done() })
}

func (c *Core) leaderValue() []byte {
	c.beat.seq++
	return encode(leaderRecord{
		formatted: ours, Worker: c.worker(), Inc: c.inc, Term: c.elect.term,
		TTL: toMillis(c.cfg.HeartbeatTTL), Seq: c.beat.seq,
		Interval: toMillis(c.cfg.HeartbeatInterval), Allowance: toMillis(c.conn.allowance), Server: c.conn.server,
		Answered: c.beat.answered, Watch: c.watch[watchHeads].name,
	})
}

// takeTerm writes the head under the new term, and nothing else of it changes:
// from here on no commit of an earlier leader can succeed.
func (c *Core) takeTerm(head headRecord, headRev uint64) {
	e := &c.elect
	e.phase = takesTerm
	epoch := e.epoch
	if c.cfg.App != "" && head.App != "" && head.App != c.cfg.App {
		c.foreignApp(head.App)
		return
	}
	head.Base = head.at()
	if head.Rebuild {
		head.Root, head.Base = e.term, version{Term: e.term}
	}
	head.formatted, head.Term, head.Leader, head.LeaderInc, head.Window = ours, e.term, c.worker(), c.inc, 0
	if c.cfg.App != "" {
		head.App = c.cfg.App
	}
	head.Created = c.cfg.Buckets[Assignments]
	op := KV{Verb: Update, Bucket: Assignments, Key: c.headKeyName(), Val: encode(head), Rev: headRev, Timeout: c.cfg.ElectionTimeout}
	if headRev == 0 {
		op.Verb = Create
	}
	c.kv(op, false, func(d Done) {
		if e.epoch != epoch || e.phase != takesTerm {
			return
		}
		switch d.Err {
		case OK:
			e.seen = max(e.seen, e.term)
			c.loadLeader(head, d.Rev)
		case Conflict, NotFound, Ambiguous:
			c.rereadTerm(headRev)
		default:
			c.campaignFailed("take the term: " + d.Text)
		}
	})
}

// rereadTerm looks at a head that is not as expected: an own write that arrived,
// a last commit of the former leader, or a leader with a higher term.
func (c *Core) rereadTerm(expected uint64) {
	e := &c.elect
	epoch, before := e.epoch, c.sight()
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName(), Timeout: c.cfg.ElectionTimeout}, true, func(d Done) {
		if e.epoch != epoch || e.phase != takesTerm {
			return
		}
		head, err := c.basis(d, before)
		switch {
		case err != nil:
			c.campaignFailed("take the term: read the head: " + err.Error())
		case d.Err == NotFound && expected == 0:
			c.takeTerm(head, 0)
		case head.Term == 0:
			c.campaignFailed("take the term: the head was lost meanwhile")
		case head.Term == e.term && head.LeaderInc == c.inc:
			c.loadLeader(head, d.Rev)
		case head.Term >= e.term:
			c.stepDown("another leader took term "+strconv.FormatUint(head.Term, 10), true)
		default:
			c.takeTerm(head, d.Rev)
		}
	})
}

func (c *Core) campaignFailed(why string) {
	c.report(FaultElection, why)
	c.elect.tries++
	c.stepDown(why, false)
	c.elect.barred = max(c.elect.barred, c.now+c.backoff(c.elect.tries))
}

func (c *Core) campaignTimeout() {
	if p := c.elect.phase; p != follower && p != leads {
		c.campaignFailed("a campaign took longer than the election timeout")
	}
}

// endCampaign goes back to following; the next campaign is not before wait.
func (c *Core) endCampaign(wait time.Duration) {
	e := &c.elect
	e.phase = follower
	e.barred = max(e.barred, c.now+wait)
	c.timer.clear(timerCampaignEnd)
	c.releaseAgent()
}

// stepDown ends the own leadership or campaign. barred keeps a leader that lost
// to a higher term from campaigning for a lease, so that two cannot duel.
func (c *Core) stepDown(why string, barred bool) {
	e := &c.elect
	if e.phase == follower {
		return
	}
	if e.phase == leads {
		c.log(Info, "leadership ended", "term", e.term, "reason", why)
		c.measure(MetricLeader, 0, "")
	}
	if barred {
		e.barred = max(e.barred, c.now+c.cfg.HeartbeatTTL+c.jitter(c.cfg.HeartbeatInterval))
	}
	e.phase = follower
	e.epoch++
	c.timer.clear(timerCampaignEnd)
	c.dropLeader()
	e.resign = e.resign || e.taking // given back when the write is answered
	c.releaseKey()
	c.releaseAgent()
}

// releaseKey deletes the own leader key, if it still is the own.
func (c *Core) releaseKey() {
	if !c.leadKey.active {
		return
	}
	e := &c.elect
	e.rev, e.changed, e.resign = max(e.rev, c.leadKey.rev), c.now, true
	c.release(&c.leadKey, func(gone bool) {
		e.resign = false
		if gone && (e.rev <= c.leadKey.rev || c.mine(e.rec.Inc)) {
			e.rev, e.rec = 0, leaderRecord{}
		}
		c.resumeStop()
	})
}

func (c *Core) releaseAgent() {
	if !c.elect.agent {
		return
	}
	c.elect.agent = false
	c.emit(Agent{Verb: AgentRelease, Worker: c.worker(), Op: c.ask(func(Done) {})})
}

// renewAgent renews the agent's lease along with the leader key.
func (c *Core) renewAgent() {
	e := &c.elect
	if !e.agent || e.asking {
		return
	}
	e.asking = true
	epoch := e.epoch
	c.emit(Agent{Verb: AgentRenew, Worker: c.worker(), Op: c.ask(func(d Done) {
		e.asking = false
		if !d.Yes && e.epoch == epoch && e.phase != follower {
			e.agent = false
			if d.Text != "" {
				c.report(FaultElection, "election agent: renew: "+d.Text)
			}
			c.stepDown("the election agent did not renew", false)
			c.elect.barred = max(c.elect.barred, c.now+c.cfg.HeartbeatInterval)
		}
	})})
}
