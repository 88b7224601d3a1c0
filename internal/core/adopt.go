package core

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"
)

// adoption is what a worker obeys: the head, and its own payload. Watches only
// wake it; what counts is read. A head that is older than one seen before, or a
// payload that does not match the head, changes nothing.
type adoption struct {
	head      headRecord // the latest valid one
	rev       uint64
	val       []byte
	seen      version // of the latest head obeyed in this life
	lifecycle string
	confirmed time.Duration // when the assignment was last known to be current
	looked    time.Duration // when the head was last seen or found absent, whatever it was

	named bool    // a head has named the present incarnation
	void  bool    // what the shell may still run was granted to an incarnation that has ended
	part  ref     // the payload in force or being applied
	owned []Owned // as last given to the shell, sorted
	// applied is what the shell has put into force; the heartbeat carries it.
	applied version

	fetching bool
	again    bool // the head changed while a payload was being read
	tries    int
	applySeq uint64
	applying map[uint64]applyState
	reading  bool // the head is being read
}

// applyState is what becomes true when an Apply is answered.
type applyState struct {
	at    version
	gave  bool // partitions were given up: the leader waits for the answer
	empty bool // everything was given up, for good or for a new incarnation
	named bool
}

func (c *Core) onHeadWatch(ev Watched) {
	if ev.Deleted {
		c.lostHead()
	}
	if ev.Key == "" || ev.Deleted {
		return // an absent head is not obeyed
	}
	c.sawHead(ev.Val, ev.Rev, c.adopt.seen)
}

// readHead reads the head from the stream leader: what the watch missed.
func (c *Core) readHead() {
	if c.life.phase != running {
		return
	}
	c.timer.set(timerHeadRead, c.now+5*c.cfg.HeartbeatInterval)
	if c.adopt.reading || !c.conn.up {
		return
	}
	c.adopt.reading = true
	known := c.adopt.seen
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName()}, false, func(d Done) {
		c.adopt.reading = false
		switch d.Err {
		case OK:
			c.sawHead(d.Val, d.Rev, known)
		case NotFound: // not obeyed, but known
			c.adopt.looked = c.now
			c.lostHead()
		default:
		}
		c.measure(MetricCacheAge, (c.now - c.adopt.confirmed).Seconds(), "")
	})
}

// sawHead takes in a head. known is the latest one that was known when it was
// looked at: an answer that was overtaken by a newer head is no fault.
func (c *Core) sawHead(val []byte, rev uint64, known version) {
	a := &c.adopt
	if c.life.phase != running || !c.claim.held || c.life.stopping() {
		return
	}
	a.looked = c.now
	if rev == a.rev && bytes.Equal(val, a.val) { // a new bucket may have another head at the same revision
		a.confirmed = c.now
		return
	}
	head, err := decode[headRecord](val)
	if err != nil {
		c.report(FaultForeignValue, "key "+c.headKeyName()+": "+err.Error())
		if c.leading() {
			c.stepDown("the head cannot be read", false)
		}
		return
	}
	if head.at().less(a.seen) {
		if !head.at().less(known) {
			return
		}
		c.report(FaultVersion, "head "+head.at().String()+" is older than "+a.seen.String()+", which was seen before")
		return
	}
	if c.cfg.App != "" && head.App != "" && head.App != c.cfg.App {
		c.foreignApp(head.App)
		return
	}
	a.head, a.val, a.rev, a.seen, a.confirmed = head, val, rev, head.at(), c.now
	c.elect.seen = max(c.elect.seen, head.Term)
	if c.elect.phase == leads && head.Term > c.elect.term {
		c.stepDown("another leader took term "+strconv.FormatUint(head.Term, 10), true)
	}
	c.sawCommit(head.at(), head.LeaderInc, rev)
	c.obey()
}

// lostHead makes a leader without a head begin anew.
func (c *Core) lostHead() {
	if c.leading() {
		c.stepDown("the head is gone", false)
	}
}

// obey acts on the latest head: it fetches the own payload when the head names
// another one.
func (c *Core) obey() {
	a := &c.adopt
	if c.life.renaming {
		return // the head can name only the incarnation that has ended
	}
	if a.head.Rebuild {
		return // what is held is kept until it is known
	}
	if a.fetching {
		a.again = true
		return
	}
	i := slices.IndexFunc(a.head.Seats, func(s headSeat) bool { return s.Worker == c.worker() })
	named := i >= 0 && a.head.Seats[i].Inc == c.inc
	part := ref{}
	if named {
		part = a.head.Seats[i].Part
	}
	switch {
	case !named && !a.named: // not yet
	case a.named && part == a.part:
		a.lifecycle = a.head.Lifecycle
		if len(a.applying) == 0 {
			a.applied = a.seen
			if named && a.head.Seats[i].Clear != (version{}) {
				c.renew(&c.hbKey) // the leader waits for it
			}
		} else {
			c.apply(a.owned, true)
		}
	default:
		if !named { // it did name this incarnation: now it owns nothing
			c.log(Warn, "not part of the assignment any more", "version", a.head.Version)
			c.overlapped()
		}
		c.fetch(part)
	}
}

// fetch reads the own payload.
func (c *Core) fetch(want ref) {
	a := &c.adopt
	if want.none() {
		a.part = want
		c.apply(nil, true)
		return
	}
	want.Worker = c.worker()
	a.fetching = true
	inc := c.inc
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.partKey(want)}, false, func(d Done) {
		a.fetching = false
		if c.inc != inc || c.life.stopping() || c.life.renaming {
			return
		}
		if a.again {
			a.again = false
			c.obey()
			return
		}
		if d.Err == OK && digest(d.Val) == want.Digest {
			if rec, err := decode[partRecord](d.Val); err == nil && rec.Inc == inc {
				a.tries = 0
				want.Worker = ""
				a.part = want
				c.apply(ownedBy(rec), true)
				return
			}
		}
		if d.Err == OK || d.Err == NotFound {
			c.report(FaultVersion, "key "+c.partKey(want)+" is missing or does not match the head; what is held is kept")
		}
		a.tries++
		c.timer.set(timerReread, c.now+c.backoff(a.tries))
	})
}

// readPayload tries again, from the head on.
func (c *Core) readPayload() {
	if c.life.phase == running && c.claim.held {
		c.obey()
	}
}

func ownedBy(rec partRecord) []Owned {
	var out []Owned
	for _, g := range rec.Grants {
		for i, id := range g.IDs {
			out = append(out, Owned{ID: id, Weight: g.Weights[i], Token: Token{g.Term, g.Version}})
		}
	}
	slices.SortFunc(out, func(a, b Owned) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// apply hands an assignment to the shell. While degraded only losses are obeyed;
// gains wait for the exit.
func (c *Core) apply(owned []Owned, named bool) {
	a := &c.adopt
	if c.degraded.in {
		kept := retained(a.owned, owned)
		if !slices.Equal(kept, owned) {
			a.part = ref{Version: 1, Digest: "partial"} // read again after the exit
		}
		owned = kept
	}
	gave := givesUp(a.owned, owned)
	a.owned, a.named, a.void = owned, named, a.void && !named
	a.lifecycle = a.head.Lifecycle
	a.applySeq++
	if a.applying == nil {
		a.applying = map[uint64]applyState{}
	}
	a.applying[a.applySeq] = applyState{at: a.seen, gave: gave, empty: len(owned) == 0 && !named, named: named}
	c.measure(MetricPartitions, float64(len(owned)), "")
	c.emit(Apply{Seq: a.applySeq, Term: a.seen.Term, Version: a.seen.Version, Lifecycle: a.lifecycle, Owned: owned})
}

// givesUp tells whether a partition of old, or its grant, is missing from cur.
// Both are sorted.
func givesUp(old, cur []Owned) bool {
	return len(retained(old, cur)) < len(old)
}

// retained returns those of old that are in cur too. Both are sorted.
func retained(old, cur []Owned) []Owned {
	var out []Owned
	j := 0
	for _, o := range old {
		for j < len(cur) && cur[j].ID < o.ID {
			j++
		}
		if j < len(cur) && cur[j].ID == o.ID {
			out = append(out, o)
		}
	}
	return out
}

// onApplied notes what is in force now. An answer also answers for the earlier
// ones that were skipped.
func (c *Core) onApplied(ev Applied) {
	a := &c.adopt
	st, ok := a.applying[ev.Seq]
	if !ok {
		return
	}
	gave := false
	for seq, s := range a.applying {
		if seq <= ev.Seq {
			gave = gave || s.gave
			delete(a.applying, seq)
		}
	}
	if st.named {
		a.applied = st.at
		if len(a.applying) == 0 && a.head.Term != 0 && c.namesMe() {
			a.applied = a.seen
		}
		c.assigned()
	}
	if st.empty {
		c.letGo()
	}
	if gave && c.claim.held && !c.life.stopping() {
		c.renew(&c.hbKey) // the leader waits for it
	}
}

// namesMe tells whether the latest head has just what is in force.
func (c *Core) namesMe() bool {
	a := &c.adopt
	for _, s := range a.head.Seats {
		if s.Worker == c.worker() {
			return s.Inc == c.inc && s.Part == a.part
		}
	}
	return false
}
