package core

import (
	"hash/fnv"
	"strings"
	"time"
)

// presence is what this worker lets others know of its connection, and what it
// listens to. Its own watch on the head is the sign of its life: the server says
// when that consumer is deleted, which it does soon after the connection has gone.
type presence struct {
	served string // incarnation that probes are answered for
	heard  string // what notices are listened to: see Listen
}

// allNotices is what the leader listens to.
const allNotices = "*"

// attend has the shell answer probes while an id is held, and listen to notices:
// the leader to those of everybody, the others to that of the leader. In the
// Exclusive mode only the leader is ever asked: who leads is fenced by the head,
// while what a worker owns is its own until its lease has ended.
func (c *Core) attend() {
	serve, listen := "", ""
	if c.claim.held {
		serve = c.inc
		switch e := &c.elect; {
		case e.phase == leads && c.cfg.Exclusive:
		case e.phase == leads:
			listen = allNotices
		case e.rev != 0 && !c.mine(e.rec.Inc):
			listen = e.rec.Watch
		}
	}
	if serve != c.presence.served {
		c.presence.served = serve
		c.emit(Serve{Inc: serve})
	}
	if listen != c.presence.heard {
		c.presence.heard = listen
		c.emit(Listen{Name: listen})
	}
}

// onProbed notes that a question was answered: from now on silence would mean
// something, and heartbeats say so. Followers wait for the leader to say it.
func (c *Core) onProbed(ev Probed) {
	if ev.Inc != c.inc || c.beat.answered {
		return
	}
	c.beat.answered = true
	if c.leading() {
		c.renew(&c.leadKey)
	}
}

// onNotice is told that a watch has gone.
func (c *Core) onNotice(ev Notice) {
	nonce, ok := c.watcherOf(ev.Name)
	if !ok || nonce == c.nonce {
		return
	}
	if c.leading() {
		for _, m := range c.lead.roster().members {
			if nonceOf(m.inc) == nonce && !m.rec.Released && !m.rec.Exclusive {
				c.suspect(&m.peer, false)
			}
		}
		return
	}
	if e := &c.elect; e.rev != 0 && nonceOf(e.rec.Inc) == nonce {
		c.suspect(&e.peer, false)
	}
}

// watchName names a watch, uniquely; watcherOf reads whose watch on the head it
// is.
func (c *Core) watchName(tag, count string) string {
	return c.cfg.Group + "_" + tag + "_" + c.nonce + "_" + count
}

func (c *Core) watcherOf(name string) (nonce string, ok bool) {
	rest, ok := strings.CutPrefix(name, c.cfg.Group+"_"+c.watch[watchHeads].tag+"_")
	i := strings.LastIndexByte(rest, '_')
	if !ok || i < 0 {
		return "", false
	}
	return rest[:i], true
}

// tryMember tells whether a member is gone, as far as probes tell, and when to
// look again. In an outage only leases count.
func (c *Core) tryMember(m *member) (wake time.Duration, gone bool) {
	if m.rec.Exclusive || m.rev == 0 || !c.watch[watchBeats].synced {
		return never, false
	}
	if m.excused && m.peer.found != foundNothing {
		return never, false
	}
	floor := time.Duration(0)
	if m.alive < c.degraded.left {
		floor = c.degraded.left + c.cfg.RecoveryGracePeriod
	}
	return c.try(&m.peer, m.seen, c.intervalOf(m.rec.Interval), c.allowance(m.rec.Allowance, m.rec.Server), floor)
}

// doubtful tells whether a seat should be given nothing new: its worker is away,
// suspected, silent for so long that its lease has ended, or degraded.
func (l *leader) doubtful(seat int32) bool {
	s := l.seats[seat]
	m := l.members[s.worker]
	return s.away || m != nil && (m.peer.found != foundNothing || m.lapsed || m.rec.Degraded)
}

// sawLeader takes in a change of the leader key.
func (c *Core) sawLeader(rev uint64, live bool) {
	e := &c.elect
	p := &e.peer
	switch {
	case e.rec.Inc != p.inc:
		p.meet(e.rec.Inc)
	case live || rev > e.latest:
		c.heard(p, e.rec.Worker)
	}
	e.latest = rev
	p.answered = p.answered || e.rec.Answered
	if !p.answered && !c.mine(p.inc) {
		c.timer.sooner(timerIntro, c.now+c.spread(c.cfg.HeartbeatInterval/2))
	}
}

func (c *Core) introduceLeader() {
	if c.elect.rev != 0 && !c.mine(c.elect.peer.inc) {
		c.introduce(&c.elect.peer)
	}
}

// spread is a part of d that is this worker's own: so that not all do the same at
// the same time, and all but the first find it done.
func (c *Core) spread(d time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.inc))
	return d / 1024 * time.Duration(h.Sum32()%1024)
}

// leaderGone tells whether the leader is gone, as far as probes tell.
func (c *Core) leaderGone() bool {
	e := &c.elect
	if e.rev == 0 || c.mine(e.rec.Inc) {
		return false
	}
	wake, gone := c.try(&e.peer, e.changed, c.intervalOf(e.rec.Interval), c.allowance(e.rec.Allowance, e.rec.Server)+c.spread(c.cfg.HeartbeatInterval/20), 0)
	c.timer.set(timerLate, wake)
	return gone
}

// lookAtLeader reads the heartbeat of a leader that stays silent, an interval
// before its lease ends, and tells when that is due: who then leads knows at once
// whether its predecessor's heartbeat is overdue too, and need not wait for it.
func (c *Core) lookAtLeader() time.Duration {
	e := &c.elect
	since := max(e.changed, c.conn.since)
	if c.cfg.Exclusive || e.rev == 0 || e.last.inc != e.rec.Inc || e.last.asked > since {
		return never
	}
	late := overdueAfter(c.intervalOf(e.rec.Interval))
	if at := max(since+late, c.leaderDeadline()-late); c.now < at {
		return at
	}
	e.last.asked = c.now
	worker, inc, asked := e.last.worker, e.last.inc, c.now
	c.kv(KV{Verb: Get, Bucket: Heartbeats, Key: c.hbKeyName(worker)}, false, func(d Done) {
		rec, err := decode[hbRecord](d.Val)
		if d.Err == OK && err == nil && e.last.inc == inc && e.last.asked == asked {
			e.last.beat, e.last.quiet = rec, c.now
		}
	})
	return never
}

// quietSince is since when the heartbeat of the predecessor is known to stand
// still: since it was read, or since this worker leads.
func (c *Core) quietSince(m *member) time.Duration {
	if last := &c.elect.last; m.says(last.beat) {
		return last.quiet
	}
	return c.lead.began
}
