package core

import (
	"time"
)

// lifecycle is the life of a manager from Start to Stop.
type lifecycle struct {
	phase    phase
	state    State
	started  bool // Start has been answered
	startBy  time.Duration
	waits    bool // the wait for the first assignment has been allowed for
	stop     stopStep
	abort    bool
	lapse    bool // work may still run: the id and the lease are left to lapse
	renaming bool
	fault    *Fault // why it ends by itself
}

type phase uint8

const (
	idle phase = iota
	running
	ended
)

type stopStep uint8

const (
	notStopping stopStep = iota
	drains               // the shell lets go of everything
	tells                // the heartbeat says so
	resigns              // the leader key and the id are released
)

func (l *lifecycle) stopping() bool { return l.stop != notStopping }

func (c *Core) onStart(ev Start) {
	if c.life.phase != idle {
		return
	}
	c.life.phase = running
	c.nonce, c.inc, c.rng = ev.Nonce, ev.Nonce, rng(ev.Seed)
	c.wall = ev.Wall - uint64(c.now/time.Millisecond)
	c.conn.since = c.now
	c.adopt.confirmed = c.now
	c.life.startBy = c.now + c.cfg.StartupTimeout
	c.timer.set(timerStartup, c.life.startBy)
	c.timer.set(timerPulse, c.now+c.cfg.HeartbeatInterval)
	if !c.conn.up {
		c.conn.lostAt = c.now
		c.degradedDisconnected()
	}
	c.startClaim()
}

// extendStartup allows Start more time: waits that are no fault are not charged.
func (c *Core) extendStartup(d time.Duration) {
	if !c.life.started && d > 0 {
		c.life.startBy += d
		c.timer.set(timerStartup, c.life.startBy)
	}
}

func (c *Core) startupTimeout() {
	if !c.life.started && !c.life.stopping() {
		text := "not done after " + c.cfg.StartupTimeout.String() + ", in state " + c.waitingFor()
		if last := c.degraded.last; last != "" {
			text += "; the last error of NATS: " + last
		}
		c.fail(Fault{Kind: FaultTimeout, Text: text})
	}
}

func (c *Core) waitingFor() string {
	switch {
	case !c.conn.up:
		return "without a connection to NATS"
	case !c.claim.held:
		return "claiming a worker id"
	case !c.leaderKnown():
		return "without a leader"
	}
	return "waiting for an assignment"
}

// assigned is told that an assignment which names this worker is in force.
func (c *Core) assigned() {
	if !c.life.started && !c.life.stopping() {
		c.life.started = true
		c.timer.clear(timerStartup)
		c.emit(Started{})
	}
}

// fail ends a life that cannot go on.
func (c *Core) fail(f Fault) {
	if c.life.stopping() {
		return
	}
	c.life.fault = &f
	if !c.life.started {
		c.emit(StartFailed{Fault: f})
	}
	c.onAbort()
}

func (c *Core) foreignApp(app string) {
	c.fail(Fault{Kind: FaultForeignApp, Text: "group " + c.cfg.Group + " is in use by app " + app + ", this is " + c.cfg.App})
}

// onStop ends in good order: say so, let go, say that too, resign, and release
// the id last.
func (c *Core) onStop() {
	if c.life.stopping() || c.life.phase != running {
		if c.life.phase == idle {
			c.end()
		}
		return
	}
	c.life.stop = drains
	c.endDegraded()
	c.timer.set(timerShutdown, c.now+c.cfg.ShutdownTimeout)
	c.timer.clear(timerStartup)
	if !c.claim.held {
		c.unclaim()
		return
	}
	if !c.life.started {
		c.life.abort = true
	}
	c.beat.leaving = true
	c.renew(&c.hbKey)
	c.timer.set(timerDrained, c.now+min(c.cfg.HandoffTimeout, c.cfg.ShutdownTimeout*3/4))
	c.adopt.named = false
	c.apply(nil, false)
}

// onAbort ends at once: nothing was granted yet, or nothing can be saved.
func (c *Core) onAbort() {
	if c.life.phase != running || c.life.stop > drains {
		if c.life.phase == idle {
			c.end()
		}
		return
	}
	c.life.abort = true
	c.endDegraded()
	c.timer.clear(timerStartup)
	c.timer.set(timerShutdown, c.now+min(c.cfg.ShutdownTimeout, c.cfg.OperationTimeout))
	if !c.claim.held {
		c.life.stop = drains
		c.unclaim()
		return
	}
	c.life.stop = drains
	if c.adopt.named || len(c.adopt.owned) > 0 {
		c.timer.set(timerDrained, c.now+c.cfg.HandoffTimeout)
		c.adopt.named = false
		c.apply(nil, false)
		return
	}
	c.endDraining()
}

// unclaim releases whatever a claim that is not done may have written.
func (c *Core) unclaim() {
	n := c.claim.number
	c.endClaim()
	c.life.stop = resigns
	if !c.claim.busy || !c.conn.up {
		c.dropTicket(c.end)
		return
	}
	// A write may be in flight. Once it is answered, and not before, a read tells
	// what to undo.
	c.claim.undo = func() {
		c.kv(KV{Verb: Get, Bucket: IDs, Key: c.idKeyName(n)}, false, func(d Done) {
			if rec, err := decode[idRecord](d.Val); d.Err == OK && err == nil && c.mine(rec.Inc) {
				c.kv(KV{Verb: Delete, Bucket: IDs, Key: c.idKeyName(n), Rev: d.Rev}, false, func(Done) { c.dropTicket(c.end) })
				return
			}
			c.dropTicket(c.end)
		})
	}
}

// advanceStop takes the next step of an orderly end.
func (c *Core) advanceStop() {
	switch c.life.stop {
	case notStopping:
	case drains:
		if len(c.adopt.applying) > 0 {
			return
		}
		c.timer.clear(timerDrained)
		if c.life.lapse {
			c.releaseAll()
			return
		}
		c.life.stop = tells
		c.beat.released = true
		if !c.life.abort && c.conn.up && c.hbKey.active {
			c.renew(&c.hbKey)
			return
		}
		c.beat.said = true
		c.releaseAll()
	case tells:
		if c.beat.said || !c.conn.up || c.hbKey.tries > 1 { // who cannot say that it leaves is found dead
			c.releaseAll()
		}
	case resigns:
	}
}

// releaseAll gives back the leader key and, last, the id. The heartbeat of a
// leaver stays until the leader has listed it; that of an aborted start goes.
func (c *Core) releaseAll() {
	c.stepDown("stopped", false)
	c.life.stop = resigns // only now: without a connection the key is given up at once
	c.resumeStop()
}

// resumeStop goes on with releaseAll once the leader key is gone.
func (c *Core) resumeStop() {
	if c.life.stop != resigns || c.elect.resign {
		return
	}
	if c.heldKey.active {
		c.release(&c.heldKey, func(bool) {})
	}
	last := func(bool) { c.dropTicket(c.end) }
	release := func(bool) { c.release(&c.idKey, last) }
	if c.life.lapse {
		c.deactivate(&c.idKey)
		c.deactivate(&c.hbKey)
	}
	hasBeat := c.hbKey.active
	if !hasBeat || !c.life.abort {
		c.deactivate(&c.hbKey)
	}
	switch {
	case !c.claim.held || !c.idKey.active:
		last(true)
	case c.life.abort && hasBeat:
		c.release(&c.hbKey, release)
	default:
		release(true)
	}
}

// drainTimeout goes on although something still runs.
func (c *Core) drainTimeout() {
	if c.life.stop == drains && len(c.adopt.applying) > 0 {
		c.log(Error, "work did not end in time; stopping all the same")
		c.life.fault = &Fault{Kind: FaultTimeout, Text: "stop: work on partitions did not end in time"}
		c.endDraining()
	}
}

// endDraining waits no longer for work to end. In the Exclusive mode nobody may
// start on it then before the lease has ended.
func (c *Core) endDraining() {
	c.life.lapse = c.cfg.Exclusive && len(c.adopt.applying) > 0
	clear(c.adopt.applying)
}

func (c *Core) shutdownTimeout() {
	if c.life.stopping() {
		if c.life.fault == nil {
			c.life.fault = &Fault{Kind: FaultTimeout, Text: "stop: NATS did not answer in time; what was held lapses by itself"}
		}
		c.end()
	}
}

// end is the last thing that a core does.
func (c *Core) end() {
	for k := range c.watch {
		c.unwant(watchKind(k))
	}
	c.forget()
	c.life.phase = ended
	c.setState(Shutdown)
	c.emit(Ended{Fault: c.life.fault})
}

func (c *Core) setState(s State) {
	if s != c.life.state {
		c.emit(StateChanged{From: c.life.state, To: s})
		c.life.state = s
	}
}

// updateState derives the state from the sub-machines.
func (c *Core) updateState() {
	if c.life.phase == running {
		c.setState(c.deriveState())
	}
}

func (c *Core) deriveState() State {
	switch {
	case c.life.stopping():
		return Shutdown
	case c.degraded.in:
		return Degraded
	case !c.claim.held:
		return ClaimingID
	}
	if !c.adopt.named || !c.life.started && !c.applied() {
		if !c.leaderKnown() && !c.adopt.named {
			return Electing
		}
		if !c.life.waits {
			c.life.waits = true
			c.extendStartup(max(c.cfg.ColdStartWindow, c.cfg.PlannedScaleWindow) + c.cfg.MinRebalanceInterval)
		}
		return WaitingAssignment
	}
	if c.leading() {
		if s, ok := c.lead.state(c.adopt.seen); ok {
			return s
		}
	}
	if !c.applied() {
		return Rebalancing
	}
	return Stable
}

// applied tells whether what was handed to the shell is in force.
func (c *Core) applied() bool { return len(c.adopt.applying) == 0 }

// state is what a leader shows while it waits and decides, and until it has
// itself obeyed what it published.
func (l *leader) state(obeyed version) (State, bool) {
	if l.head.Rebuild {
		return Scaling, true
	}
	busy := l.busy(obeyed)
	switch {
	case l.verdictAt != never, busy && l.reason == "emergency":
		return Emergency, true
	case busy:
		return Rebalancing, true
	case l.window != never, l.someoneAway():
		return Scaling, true
	}
	return Stable, false
}

// busy tells whether a plan is being made, or not carried out yet.
func (l *leader) busy(obeyed version) bool {
	return obeyed.less(l.head.at()) || l.planning || l.commit.busy || l.draining() || l.anyReady()
}

func (l *leader) someoneAway() bool {
	for _, s := range l.seats {
		if s != nil && s.away && !s.retired {
			return true
		}
	}
	return false
}
