package core

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"time"
)

// adoption is what a worker obeys: the head, and its own payload. Watches only
// wake it; what counts is read. A head that is older than one seen before, or a
// payload that does not match the head, changes nothing.
type adoption struct {
	head      headRecord // the latest valid one; of its seats only the own, since there may be many
	rev       uint64
	val       []byte
	seen      version // of the latest head obeyed in this life
	lifecycle string
	// letting: given up, and the shell may still work on it.
	letting   map[string]Owned
	confirmed time.Duration // when the assignment was last known to be current
	looked    time.Duration // when the head was last seen or found absent, whatever it was
	read      time.Duration // when its last reading that was answered began

	named bool     // a head has named the present incarnation
	void  bool     // what the shell may still run was granted to an incarnation that has ended
	part  ref      // the payload in force or being applied
	base  basePart // what the next delta is probably on
	owned []Owned  // as last given to the shell, sorted
	// applied is what the shell has put into force; the heartbeat carries it.
	applied version

	missing ref           // payload that was not found
	missed  time.Duration // when it first was not

	fetching  bool
	again     bool // the head changed while a payload was being read
	tries     int
	applySeq  uint64
	applying  map[uint64]applyState
	reading   bool // the head is being read
	readTries int  // since that was last answered
	reread    bool // and once more, since that may have begun too early
}

// applyState is what becomes true when an Apply is answered.
type applyState struct {
	at    version
	gave  bool // partitions were given up: the leader waits for the answer
	empty bool // everything was given up, for good or for a new incarnation
	named bool
}

func (c *Core) onHeadWatch(ev Watched) {
	if ev.Key == "" || ev.Deleted { // an absent head is not obeyed; a read tells whether it is
		if c.adopt.seen != (version{}) {
			c.verifyHead()
		}
		return
	}
	c.sawHead(ev.Val, ev.Rev, nil)
}

// verifyHead reads the head, since a watch showed what may be late and may be a
// sign of loss.
func (c *Core) verifyHead() {
	if c.adopt.reading {
		c.adopt.reread = true
		return
	}
	c.readHead()
}

// headReadEvery is how often the head is read though the watch shows nothing new. The
// leader asks more often, since nothing tells it that the bucket has gone: the wait for
// those who are cut off begins when it knows.
func (c *Core) headReadEvery() time.Duration {
	if c.leading() {
		return c.cfg.HeartbeatInterval
	}
	return 5 * c.cfg.HeartbeatInterval
}

// readHead reads the head from the stream leader: what the watch missed.
func (c *Core) readHead() {
	if c.life.phase != running {
		return
	}
	c.timer.set(timerHeadRead, c.now+c.headReadEvery())
	if c.adopt.reading || !c.conn.up {
		return
	}
	c.adopt.reading, c.adopt.reread = true, false
	before, began := c.sight(), c.now
	op := KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName()}
	retry := c.adopt.readTries > 0
	if retry { // soon again, so that it does not take minutes to count
		op.Timeout = c.renewTimeout()
	}
	c.kv(op, retry, func(d Done) {
		c.adopt.reading = false
		c.adopt.readTries++
		switch d.Err {
		case OK:
			c.adopt.read = began
			c.sawHead(d.Val, d.Rev, &before)
		case NotFound: // not obeyed, but known
			c.adopt.looked = c.now
			if c.life.phase == running && c.claim.held && !c.life.stopping() && before.at != (version{}) {
				c.headLost("the head is gone")
			}
		default:
			c.timer.sooner(timerHeadRead, c.now+c.backoff(c.adopt.readTries))
		}
		if d.Err == OK || d.Err == NotFound || d.Err == Down {
			c.adopt.readTries = 0
		}
		if c.adopt.reread {
			c.readHead()
		}
		c.measure(MetricCacheAge, (c.now - c.adopt.confirmed).Seconds(), "")
	})
}

// sawHead takes in a head. before is what was known when its reading began; nil if
// it was watched, and may be late.
func (c *Core) sawHead(val []byte, rev uint64, before *sight) {
	a := &c.adopt
	if c.life.phase != running || !c.claim.held || c.life.stopping() {
		return
	}
	a.looked = c.now
	if rev == a.rev && bytes.Equal(val, a.val) { // a new bucket may have another head at the same revision
		if before != nil { // a watch begins with what it has, which may be late
			a.confirmed = c.now
		}
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
	c.elect.seen, c.lost.version = max(c.elect.seen, head.Term), max(c.lost.version, head.Version)
	switch {
	case before == nil && (c.sight().breaks(head) || c.distrusts(head)):
		c.verifyHead()
		return
	case before != nil && (before.breaks(head) || c.distrusts(head)):
		c.headLost("head " + head.at().String() + " does not continue " + a.seen.String() + ", which was seen before")
		return
	case c.sight().breaks(head): // the answer is late
		return
	}
	if c.cfg.App != "" && head.App != "" && head.App != c.cfg.App {
		c.foreignApp(head.App)
		return
	}
	a.head, a.val, a.rev, a.seen, a.confirmed = head, val, rev, head.at(), c.now
	a.head.Seats = nil
	if i := slices.IndexFunc(head.Seats, func(s headSeat) bool { return s.Worker == c.worker() }); i >= 0 {
		a.head.Seats = []headSeat{head.Seats[i]}
	}
	if c.elect.phase == leads && head.Term > c.elect.term {
		c.stepDown("another leader took term "+strconv.FormatUint(head.Term, 10), true)
	}
	if !a.named {
		a.lifecycle = head.Lifecycle
	}
	c.sawCommit(head.at(), head.LeaderInc, rev)
	c.headFound(head)
	if head.Created != "" && head.Created != c.cfg.Buckets[Assignments] {
		c.emit(Rebind{})
	}
	c.obey()
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
	c.getPart(want, a.base, func(g partRead, d Done) {
		a.fetching = false
		if c.inc != inc || c.life.stopping() || c.life.renaming || a.head.Rebuild {
			return
		}
		if a.again {
			a.again = false
			c.obey()
			return
		}
		if d.Err == OK && g.inc == inc {
			a.tries = 0
			a.base = g.base
			want.Worker = ""
			a.part = want
			c.apply(g.owned, true)
			return
		}
		if d.Err == OK || d.Err == NotFound {
			if a.missing == want && a.read >= a.missed { // the head that names it was read since
				c.headLost("key " + c.partKey(want) + " is missing or does not match the head")
				return
			}
			if a.missing != want {
				a.missing, a.missed = want, c.now
				c.report(FaultVersion, "key "+c.partKey(want)+" is missing or does not match the head; what is held is kept")
			}
			c.verifyHead()
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

// apply hands an assignment to the shell. While degraded only losses are obeyed;
// gains wait for the exit.
func (c *Core) apply(owned []Owned, named bool) {
	a := &c.adopt
	if c.degraded.in {
		kept := retained(a.owned, owned)
		if !slices.Equal(kept, owned) {
			a.part = ref{Version: math.MaxUint64} // read again after the exit
		}
		owned = kept
	}
	gave := givesUp(a.owned, owned) || len(a.letting) > 0
	a.let(owned)
	if a.owned, a.named, a.void = owned, named, a.void && !named; named {
		c.beat.idle = 0
	}
	a.lifecycle = a.head.Lifecycle
	a.applySeq++
	if a.applying == nil {
		a.applying = map[uint64]applyState{}
	}
	a.applying[a.applySeq] = applyState{at: a.seen, gave: gave, empty: len(owned) == 0 && !named, named: named}
	c.measure(MetricPartitions, float64(len(owned)), "")
	c.emit(Apply{Seq: a.applySeq, Term: a.seen.Term, Version: a.seen.Version, Lifecycle: a.lifecycle, Owned: owned})
}

// let notes what the shell may still work on once owned is all that it is given.
// Both are sorted.
func (a *adoption) let(owned []Owned) {
	for _, o := range owned {
		delete(a.letting, o.ID)
	}
	j := 0
	for _, o := range a.owned {
		for j < len(owned) && owned[j].ID < o.ID {
			j++
		}
		if j < len(owned) && owned[j].ID == o.ID {
			continue
		}
		if a.letting == nil {
			a.letting = map[string]Owned{}
		}
		a.letting[o.ID] = o
	}
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
	if len(a.applying) == 0 {
		a.letting = nil // a cleared map would keep its memory
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
