package core

import (
	"strconv"
	"time"
)

// beat is what the own heartbeat says beside that this worker lives.
type beat struct {
	seq      uint64
	leaving  bool
	released bool
	answered bool // a probe of the present incarnation
	said     bool // the heartbeat that says released has been written
	// idle is since when nothing runs of what was granted; 0 = it does.
	idle time.Duration
}

func (c *Core) beatValue() []byte {
	c.beat.seq++
	idle := millis(0)
	if c.beat.idle != 0 {
		idle = toMillis(c.now - c.beat.idle)
	}
	return encode(hbRecord{
		formatted: ours, Inc: c.inc, Seq: c.beat.seq,
		TTL: toMillis(c.cfg.HeartbeatTTL), Interval: toMillis(c.cfg.HeartbeatInterval),
		Window: toMillis(c.cfg.PlannedScaleWindow), Exclusive: c.cfg.Exclusive,
		Allowance: toMillis(c.conn.allowance), Server: c.conn.server,
		Applied: c.adopt.applied, List: c.refresh.digest, Refresh: c.refresh.count,
		Leaving: c.beat.leaving, Released: c.beat.released, Took: c.claim.took,
		Answered: c.beat.answered, Degraded: c.degraded.in, Idle: idle,
		Capacity: declared(c.cfg.Capacity), Labels: c.cfg.Labels,
	})
}

// joinFleet begins heartbeats, once per claim.
func (c *Core) joinFleet() {
	c.activate(&c.hbKey, 0, c.now)
	c.renew(&c.hbKey)
	c.want(watchLeader)
	c.want(watchHeads)
	c.timer.set(timerHeadRead, c.now+5*c.cfg.HeartbeatInterval)
}

func (c *Core) beatWritten(at time.Duration) {
	if c.beat.released && !c.hbKey.again {
		c.beat.said = true
	}
	if c.cfg.Exclusive {
		c.timer.set(timerLease, c.hbKey.leaseEnd(c.cfg.HeartbeatTTL))
	}
	_ = at
}

// beatLost is told that the heartbeat holds another's value: a predecessor's
// under an id just claimed, the mark of a leader that ended this incarnation, or
// another worker that has the id.
func (c *Core) beatLost(val []byte, rev uint64) {
	rec, err := decode[hbRecord](val)
	switch {
	case err == nil && rec.Revoked != 0 && rec.Inc == c.inc:
		c.hbKey.rev = rev
		c.newIncarnation("the leader ended the lease")
	case err == nil && rec.Revoked != 0 && c.mine(rec.Inc): // one that has ended anyway
		c.hbKey.rev = rev
		c.renew(&c.hbKey)
	case !c.hbKey.written && err == nil && c.claim.took == "" && !rec.Released && rec.Revoked == 0:
		c.giveBackID(rec.Inc)
	case !c.hbKey.written:
		if err == nil && (rec.Released || rec.Revoked != 0) {
			c.claim.took = rec.Inc
		}
		c.hbKey.rev = rev
		c.renew(&c.hbKey)
	default:
		// The id decides.
		c.inspectID(rev)
	}
}

// inspectID reads who holds the own id, after something else was found under it.
func (c *Core) inspectID(hbRev uint64) {
	epoch := c.idKey.epoch
	c.kv(KV{Verb: Get, Bucket: IDs, Key: c.idKey.key(), Timeout: c.renewTimeout()}, false, func(d Done) {
		if !c.idKey.active || c.idKey.epoch != epoch {
			return
		}
		switch d.Err {
		case OK:
			rec, err := decode[idRecord](d.Val)
			if err != nil || !c.mine(rec.Inc) {
				c.loseID("another worker holds it")
				return
			}
			c.hbKey.rev = hbRev
			c.renew(&c.hbKey)
		case NotFound: // the renewal of the id makes it again
			c.hbKey.rev = hbRev
			c.renew(&c.idKey)
			c.renew(&c.hbKey)
		default:
			c.retryRenewal(&c.hbKey)
		}
	})
}

// giveBackID goes on to another id, since somebody sends heartbeats under this
// one: its key was lost, and its holder will write it again. Who stops releases it
// as it would any other.
func (c *Core) giveBackID(inc string) {
	n := c.claim.number
	c.log(Warn, "worker id is in use", "incarnation", inc)
	c.deactivate(&c.hbKey)
	if c.life.stopping() {
		c.beat.said = true
		c.resumeStop()
		return
	}
	spoken := c.claim.spoken
	if spoken == nil {
		spoken = map[int]string{}
	}
	spoken[n] = inc
	c.dropTicket(func() {})
	c.unwant(watchLeader)
	c.unwant(watchHeads)
	c.nextIncarnation()
	c.startClaim()
	c.claim.number, c.claim.spoken, c.claim.busy = n, spoken, true
	c.release(&c.idKey, func(bool) {
		if !c.claimOver() {
			c.tryClaim()
		}
	})
}

// loseID stops owning at once and claims another id, in the same process.
func (c *Core) loseID(why string) {
	if !c.claim.held {
		return
	}
	w := c.worker()
	c.log(Error, "worker id lost", "peer", w, "reason", why)
	c.report(FaultIDLost, w+": "+why)
	c.overlapped()
	c.stepDown("the worker id was lost", false)
	c.deactivate(&c.idKey)
	c.deactivate(&c.hbKey)
	c.deactivate(&c.heldKey) // under the id that was lost
	c.timer.clear(timerLease)
	c.dropTicket(func() {})
	c.claim.held = false
	c.unwant(watchLeader)
	c.unwant(watchHeads)
	c.overlapped()
	c.nextIncarnation()
	c.adopt.forgetClaim()
	if c.life.stopping() {
		return
	}
	c.apply(nil, false)
	c.startClaim()
}

// leaseTimer is the end of the own lease, in the Exclusive mode: what was granted
// is void, since others may be granted it from now on.
func (c *Core) leaseTimer() {
	if !c.cfg.Exclusive || !c.claim.held {
		return
	}
	end := c.hbKey.leaseEnd(c.cfg.HeartbeatTTL)
	if c.now < end {
		c.timer.set(timerLease, end)
		return
	}
	if c.adopt.named {
		if end > 0 { // else it is not known, after a suspension
			c.beat.idle = end
		}
		c.newIncarnation("the lease ended")
	}
}

// newIncarnation voids everything granted to the present one. The id stays; the
// heartbeat tells of the new incarnation once everything is let go.
func (c *Core) newIncarnation(why string) {
	if c.life.stopping() { // nothing is begun any more
		c.adopt.void = true
		c.deactivate(&c.hbKey)
		return
	}
	if c.adopt.named && c.beat.idle == 0 {
		c.beat.idle = max(1, c.now)
	}
	c.log(Warn, "new incarnation", "reason", why)
	c.stepDown(why, false)
	c.adopt.forgetClaim()
	c.life.renaming = true
	c.timer.clear(timerHeartbeat)
	c.apply(nil, false)
}

// letGo goes on when nothing of the old incarnation runs any more.
func (c *Core) letGo() {
	if !c.life.renaming {
		return
	}
	c.life.renaming = false
	c.nextIncarnation()
	c.renew(&c.idKey)
	c.renew(&c.hbKey)
	// A head that asks what is held may have come meanwhile.
	if a := &c.adopt; c.lost.now || c.heldKey.active || a.head.Rebuild && a.applied != (version{}) {
		c.tellHeld()
	}
}

func (c *Core) nextIncarnation() {
	c.incs++
	c.inc = c.nonce + "~" + strconv.Itoa(c.incs)
	c.beat.seq, c.beat.answered = 0, false
}

// forgetClaim drops what was granted; what the shell runs is told apart.
func (a *adoption) forgetClaim() {
	a.named, a.part, a.rev, a.fetching, a.again, a.void = false, ref{}, 0, false, false, true
}
