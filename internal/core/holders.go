package core

import "time"

// judgeHolders watches the heartbeats of all holders when no id is free. All
// seen alive: exhausted. One that stays silent for its lease and the grace is
// dead, and its id is taken.
func (c *Core) judgeHolders() {
	cl := &c.claim
	if !cl.judging {
		cl.judging, cl.judged, cl.asked = true, c.now, false
		for n, inc := range cl.spoken {
			if _, held := cl.ids[n]; !held {
				cl.ids[n] = holder{rec: idRecord{Inc: inc}}
			}
		}
		clear(cl.spoken)
		for n, h := range cl.ids {
			h.alive = false
			cl.ids[n] = h
		}
		c.want(watchBeats)
		c.extendStartup(c.holderDeadline() - c.now)
	}
	silent := 0
	for n := c.cfg.IDMin; n <= c.cfg.IDMax; n++ {
		if h := cl.ids[n]; !h.alive {
			silent++
		}
	}
	switch {
	case silent == 0:
		c.fail(Fault{Kind: FaultIDsExhausted, Text: "every id from " + c.workerName(c.cfg.IDMin) + " to " +
			c.workerName(c.cfg.IDMax) + " is held by a live worker"})
	case c.now >= c.holderDeadline():
		if cl.dead == nil {
			cl.dead = map[int]bool{}
		}
		for n := c.cfg.IDMin; n <= c.cfg.IDMax; n++ {
			if !cl.ids[n].alive {
				cl.dead[n] = true
			}
		}
		cl.judged = c.now // who takes none of these judges again
		c.tryClaim()
	default:
		at := c.holderDeadline()
		if overdue := max(cl.judged, c.conn.since) + overdueAfter(c.cfg.HeartbeatInterval); c.now < overdue {
			at = min(at, overdue)
		} else if !cl.asked {
			c.askHolders()
		}
		c.timer.set(timerClaim, at)
	}
}

func (c *Core) holderDeadline() time.Duration {
	return max(c.claim.judged, c.conn.since) + c.cfg.HeartbeatTTL + c.cfg.EmergencyGracePeriod
}

// judgeAnew begins the wait for the holders again: what a watch did not show
// while it was lost is no silence of theirs.
func (c *Core) judgeAnew() {
	if c.claim.judging {
		c.extendStartup(c.now - c.claim.judged)
		c.claim.judged = c.now
	}
}

// holderBeat notes that the holder of an id is alive, while a claim judges. One
// that leaves is about to release its id, which is waited for.
func (c *Core) holderBeat(w string, val []byte) {
	rec, err := decode[hbRecord](val)
	if n, ok := c.workerNumber(w); !ok || err != nil {
		return
	} else if rec.Leaving {
		c.judgeAnew()
	} else {
		c.holderLives(n)
	}
}

func (c *Core) holderLives(n int) {
	if h, ok := c.claim.ids[n]; ok && !h.alive {
		h.alive = true
		c.claim.ids[n] = h
		c.tryClaim()
	}
}

// askHolders asks for the holders whose heartbeat is overdue: an answer is as good
// as one. That nobody answers proves nothing here. The leader finds who is gone, and
// removes its id.
func (c *Core) askHolders() {
	cl := &c.claim
	cl.asked = true
	for n := c.cfg.IDMin; n <= c.cfg.IDMax; n++ {
		inc := cl.ids[n].rec.Inc
		if cl.ids[n].alive || inc == "" {
			continue
		}
		c.emit(Probe{Inc: inc, Timeout: probeTimeout, Op: c.ask(func(d Done) {
			if d.Err == OK && cl.judging && cl.ids[n].rec.Inc == inc {
				c.holderLives(n)
			}
		})})
	}
}
