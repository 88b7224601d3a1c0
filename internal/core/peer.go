package core

import "time"

// peer is what is known of the connection of another worker: by the leader of
// each member, by a follower of the leader.
//
// A worker answers on a subject of its incarnation, and a question that nobody
// listens to comes back at once. That, after a notice that its connection went or
// while its heartbeat is late, makes a suspect and not yet a death: a lost
// connection may be reconnecting, and a lost subscription may be a change of
// permissions. Dead is who is found absent again when the heartbeat is overdue and
// the time to reconnect and the grace have passed. Silence, of a process that
// hangs or a link that is cut, is no answer at all and proves nothing.
type peer struct {
	inc      string
	answered bool          // it has answered somebody: that it does not answer means something
	deaf     bool          // heartbeats go on while nobody answers: probes are not believed
	intros   int           // questions asked before the first answer
	checked  time.Duration // when it was last made sure that it can be asked
	busy     bool          // a question is under way
	epoch    int           // of questions; answers to earlier ones are ignored

	suspected bool
	late      bool          // suspected for a late heartbeat, without a notice
	lost      time.Duration // since when it is suspected
	found     finding
	mute      bool          // the last question was not answered in time
	again     time.Duration // no suspicion for a late heartbeat before
}

// finding is what the questions to a suspect have shown.
type finding uint8

const (
	foundNothing finding = iota
	foundNobody          // nobody listens under its incarnation
	foundGone            // still nobody, and everything else is overdue
)

const (
	probeTimeout = 200 * time.Millisecond
	// maxIntros is how often a new incarnation is asked for its first answer.
	maxIntros = 3
	// checkEvery is after how many heartbeats a worker is asked although nothing
	// is suspected.
	checkEvery = 30
	// otherServer is the least allowance of a worker on another server: word of
	// what it listens to may travel later than word of its connection.
	otherServer = time.Second
)

// overdueAfter is how old a heartbeat is when it is late.
func overdueAfter(interval time.Duration) time.Duration { return interval * 11 / 10 }

// meet begins anew with another incarnation.
func (p *peer) meet(inc string) { *p = peer{inc: inc, epoch: p.epoch + 1} }

// probe asks whether anybody listens under an incarnation.
func (c *Core) probe(p *peer, then func(ErrKind)) {
	p.epoch++
	p.busy = true
	epoch := p.epoch
	c.emit(Probe{Inc: p.inc, Timeout: probeTimeout, Op: c.ask(func(d Done) {
		if p.epoch != epoch {
			return
		}
		p.busy = false
		p.answered = p.answered || d.Err == OK
		then(d.Err)
	})})
}

// introduce asks for the first answer of an incarnation.
func (c *Core) introduce(p *peer) {
	if p.answered || p.busy || p.intros == maxIntros {
		return
	}
	p.intros++
	c.probe(p, func(ErrKind) {})
}

// suspect begins a suspicion. Only who has ever answered can be suspected.
func (c *Core) suspect(p *peer, late bool) {
	if !p.answered || p.deaf {
		return
	}
	if p.suspected {
		p.late = p.late && late // a notice explains what is late
		return
	}
	p.suspected, p.late, p.lost, p.found, p.mute = true, late, c.now, foundNothing, false
	c.question(p, foundNobody)
}

// question asks a suspect, a second time if no answer came; nobody is what it
// means that nobody listens.
func (c *Core) question(p *peer, nobody finding) {
	c.probe(p, func(err ErrKind) {
		switch {
		case err == NotFound:
			p.found, p.mute = nobody, false
		case err == Ambiguous && !p.mute:
			p.mute = true
			c.question(p, nobody)
		default: // it answers; or nothing is known, and its lease decides
			c.acquit(p)
		}
	})
}

// acquit ends a suspicion.
func (c *Core) acquit(p *peer) {
	p.suspected, p.found, p.busy = false, foundNothing, false
	p.epoch++
	p.again = c.now + c.cfg.HeartbeatInterval
}

// heard is told of a heartbeat of the peer: it lives. When nobody listened under
// its incarnation and still nobody does, questions prove nothing.
func (c *Core) heard(p *peer, worker string) {
	if !p.suspected {
		return
	}
	nobody := p.found != foundNothing
	c.acquit(p)
	if nobody {
		c.doubt(p, worker, 2)
	}
}

// check makes sure, once in a while and after a heartbeat, that a peer can still be
// asked: a lost subscription shows by nothing else before it is needed.
func (c *Core) check(p *peer, worker string) {
	if !p.answered || p.deaf || p.suspected || p.busy || c.now < p.checked+checkEvery*c.cfg.HeartbeatInterval {
		return
	}
	p.checked = c.now
	c.doubt(p, worker, 2)
}

func (c *Core) doubt(p *peer, worker string, asks int) {
	c.probe(p, func(err ErrKind) {
		switch {
		case err != NotFound:
		case asks > 1:
			c.doubt(p, worker, asks-1)
		default:
			p.deaf = true
			c.report(FaultConnection, worker+" sends heartbeats and answers no probe: its subscription is lost, "+
				"by a change of permissions perhaps; until it starts anew its crash is found by its lease only")
		}
	})
}

// try takes the next step with a peer: it suspects one whose heartbeat is
// overdue, and asks a suspect again when its time has come. It tells when to look
// again, and whether the peer is gone.
func (c *Core) try(p *peer, seen, interval, allowance, floor time.Duration) (wake time.Duration, gone bool) {
	if p.deaf || !p.answered {
		return never, false
	}
	overdue := max(seen, c.conn.since) + overdueAfter(interval)
	if !p.suspected {
		if at := max(overdue, p.again); c.now < at {
			return at, false
		}
		c.suspect(p, true)
		return never, false
	}
	at := max(overdue, max(p.lost, c.conn.since)+allowance+c.cfg.EmergencyGracePeriod, floor)
	if p.late { // others lost at the same time may become late until then
		at = max(at, p.lost+overdueAfter(interval)+probeTimeout)
	}
	switch {
	case p.found == foundNothing: // the answer comes
		return never, false
	case c.now < at:
		return at, false
	case p.found == foundGone:
		return never, true
	case !p.busy:
		c.question(p, foundGone)
	}
	return never, false
}

// allowance is how long a peer may take to reconnect.
func (c *Core) allowance(said millis, server string) time.Duration {
	if server != c.conn.server {
		return max(said.duration(), otherServer)
	}
	return said.duration()
}

// intervalOf is how often a peer sends heartbeats.
func (c *Core) intervalOf(said millis) time.Duration {
	if said > 0 {
		return said.duration()
	}
	return c.cfg.HeartbeatInterval
}
