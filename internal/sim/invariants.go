package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// checker compares what happens with what the design promises.
type checker struct {
	w   *World
	err error

	runners   map[string][]*Worker // who works on each partition, at this moment
	contested map[string]bool      // worked on by more than one

	last   published // what workers may rely on
	stored headValue // the head that stands in the store
	// rebuilding: the assignments were lost, and no head was rebuilt yet.
	rebuilding bool
	lostRev    uint64                // the highest revision that was lost
	lostAt     time.Duration         // when the assignments were last lost; 0 = never
	writers    map[uint64]*Worker    // who wrote heads of a term
	tokens     map[string]grant      // the latest grant of each partition
	granted    map[string]string     // who was ever granted a partition under a token
	created    map[string]string     // payloads and drain lists ever written
	holders    map[string]hold       // of ids
	trust      map[string][]*Worker  // who holds an id for its own
	shared     map[string]bool       // ids that more than one does
	division   map[*Worker]*division // the last answer that each got from its strategy

	moves   int // counted by leaders
	plans   int
	forced  int
	overlap int // of runners in the Available mode, explained by faults
}

// hold is who holds an id since when.
type hold struct {
	nonce string
	since time.Duration
}

func newChecker(w *World) *checker {
	return &checker{
		w: w, runners: map[string][]*Worker{}, contested: map[string]bool{},
		writers: map[uint64]*Worker{}, tokens: map[string]grant{}, granted: map[string]string{}, created: map[string]string{}, holders: map[string]hold{},
		trust: map[string][]*Worker{}, shared: map[string]bool{}, division: map[*Worker]*division{},
	}
}

// fail notes the first broken invariant.
func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("at %v: %s", c.w.now, fmt.Sprintf(format, args...))
		c.w.trace.add(c.w.now, "CHECK", "%s", c.err.Error())
	}
}

// margin is how long after a fault its consequences may show.
func (c *checker) margin() time.Duration {
	f := c.w.cfg
	m := f.HeartbeatTTL + f.EmergencyGracePeriod + 3*f.HeartbeatInterval + f.OperationTimeout
	if c.w.mixed {
		m *= 2
	}
	return m
}

// step is called after every event.
func (c *checker) step() {
	if c.w.cfg.Exclusive && len(c.contested) > 0 {
		for _, id := range slices.Sorted(maps.Keys(c.contested)) {
			c.exclusive(id)
		}
	}
	if len(c.shared) > 0 {
		c.ids()
	}
}

// exclusive checks that at most one worker that works on a partition believes in
// its lease.
func (c *checker) exclusive(id string) {
	var believers []string
	for _, p := range c.runners[id] {
		if !p.void[id] && p.local() < p.snap.LeaseEnd {
			believers = append(believers, p.name)
		}
	}
	if len(believers) > 1 {
		c.fail("I1: partition %s is worked on by %v, and each believes in its lease", id, believers)
	}
}

// runs is told that a worker works on a partition, or goes on with another token.
func (c *checker) runs(p *Worker, id string, token core.Token) {
	now := c.w.now
	if inc := c.granted[grantKey(id, token)]; nonceOf(inc) != p.nonce() && (c.lostAt == 0 || now > c.lostAt+c.margin()) {
		c.fail("I1: %s starts on partition %s under token %v, which was granted to %q", p.name, id, token, inc)
	}
	if old, ok := p.running[id]; ok {
		if token.Less(old) {
			c.fail("I2: %s goes on with partition %s under an older token %v, it had %v", p.name, id, token, old)
		}
		return
	}
	for _, o := range c.runners[id] {
		if now >= o.disturbed && now >= p.disturbed && !c.w.cfg.Exclusive {
			c.fail("I1: %s starts on partition %s (token %v), on which %s still works (token %v)", p.name, id, token, o.name, o.running[id])
		}
		c.overlap++
	}
	c.runners[id] = append(c.runners[id], p)
	c.contested[id] = len(c.runners[id]) > 1
	if !c.contested[id] {
		delete(c.contested, id)
	}
}

// givesUp is told that a worker is to stop working on a partition although it
// lives on. It needs a reason: the same grant must not be in the head any more.
func (c *checker) givesUp(p *Worker, id string) {
	g, ok := c.last.grants[id]
	if !c.w.cfg.Exclusive && !p.stopped && ok && nonceOf(g.inc) == p.nonce() && g.token == p.running[id] && g.worker == p.snap.Worker {
		c.fail("I10: %s gives up partition %s, which the head grants it under token %v", p.name, id, g.token)
	}
}

// stops is told that a worker does not work on a partition any more.
func (c *checker) stops(p *Worker, id string) {
	c.runners[id] = slices.DeleteFunc(c.runners[id], func(o *Worker) bool { return o == p })
	if len(c.runners[id]) < 2 {
		delete(c.contested, id)
	}
}

// wrote is told of every successful write.
func (c *checker) wrote(p *Worker, op core.KV, _ uint64) {
	group := c.w.cfg.Group + "."
	kind, rest, _ := strings.Cut(strings.TrimPrefix(op.Key, group), ".")
	switch kind {
	case "head":
		if op.Verb == core.Delete {
			c.fail("I8: %s deletes the head", p.name)
			return
		}
		c.headWritten(p, op)
	case "part", "drain":
		switch {
		case op.Verb == core.Create:
			// The same again may come late, when it has been deleted.
			if old, ok := c.created[op.Key]; ok && old != string(op.Val) {
				c.fail("I8: %s writes %s a second time, with other content", p.name, op.Key)
			}
			c.created[op.Key] = string(op.Val)
		case op.Verb == core.Update:
			c.fail("I8: %s changes %s", p.name, op.Key)
		case op.Verb == core.Delete && c.named(op.Key):
			c.fail("I4: %s deletes %s, which the head names", p.name, op.Key)
		}
	case "id":
		c.idWritten(p, op, rest)
	case "hb", "leader", "ticket", "held":
	default:
		c.fail("I13: %s writes a key of an unknown kind: %s", p.name, op.Key)
	}
}

// named tells whether the head names a payload or drain list.
func (c *checker) named(key string) bool {
	for _, s := range c.last.head.Seats {
		if s.Part.Version != 0 && s.Part.key(c.w.cfg.Group, "part", s.Worker) == key ||
			s.Drain.Version != 0 && s.Drain.key(c.w.cfg.Group, "drain", s.Worker) == key {
			return true
		}
	}
	return false
}

// headWritten checks a new head against the one before.
func (c *checker) headWritten(p *Worker, op core.KV) {
	cur, err := c.w.publish(op.Val)
	if err != nil {
		if c.lostAt > 0 && c.w.now < c.lostAt+2*c.w.cfg.OperationTimeout { // payloads that were written before
			c.stored, c.last, c.rebuilding = cur.head, cur, true
			return
		}
		c.fail("I1: head written by %s: %v", p.name, err)
		return
	}
	old, h, was := c.stored, cur.head, c.last
	c.stored = h
	began := c.rebuilding || old.Rebuild
	switch {
	case h.Rebuild: // it names nobody, and what was published holds
		c.rebuilding = true
		c.last.head.Rebuild = true
	case c.rebuilding && !old.Rebuild: // by somebody who knows of no loss
		c.last = cur
	default:
		c.rebuilding = false
		c.last = cur
	}
	switch first := c.writers[h.Term]; {
	case c.lostAt > 0 && op.Rev <= c.lostRev && (h.Term < old.Term || first == nil && h.Term > old.Term && !h.Rebuild):
		// The revision of a head that was lost came again.
		c.writers[h.Term] = p
		c.rebuilding = true
		return
	case h.Term < old.Term || h.Term == old.Term && h.Version <= old.Version || h.Version < old.Version:
		c.fail("I8: %s writes head %d.%d over %d.%d", p.name, h.Term, h.Version, old.Term, old.Version)
		return
	case first == nil && h.Term == old.Term: // since the loss
		c.writers[h.Term] = p
	case first == nil:
		c.writers[h.Term] = p
		if !h.Rebuild && (h.Version != old.Version || !slices.Equal(h.Seats, old.Seats) && len(h.Seats)+len(old.Seats) > 0) {
			c.fail("I7: %s changes the assignment while it takes term %d", p.name, h.Term)
		}
	case first != p:
		c.fail("I8: head %d.%d is written by %s, but the term is that of %s", h.Term, h.Version, p.name, first.name)
	case h.Version != old.Version+1 && !old.Rebuild:
		c.fail("I2: %s writes head %d.%d after %d.%d", p.name, h.Term, h.Version, old.Term, old.Version)
	}
	if began && old.Rebuild && !h.Rebuild {
		// Who held more than those who are there now has taken it along.
		c.tokens = map[string]grant{}
		c.rebuilt(p, cur)
	}
	if !began && !h.Rebuild && same(was.head, old) {
		c.moved(p, was, cur)
	}
	c.tokensGrow(p, cur)
	c.covers(p, cur, old)
}

// tokensGrow checks I2 for the tokens.
func (c *checker) tokensGrow(p *Worker, cur published) {
	for _, id := range slices.Sorted(maps.Keys(cur.grants)) {
		g := cur.grants[id]
		if old, ok := c.tokens[id]; ok {
			if g.token.Less(old.token) {
				c.fail("I2: %s grants partition %s with token %v, older than %v", p.name, id, g.token, old.token)
			} else if g.token == old.token && g.inc != old.inc {
				c.fail("I2: %s grants partition %s to %s with the token of %s", p.name, id, g.inc, old.inc)
			}
		}
		c.tokens[id] = g
		c.granted[grantKey(id, g.token)] = g.inc
	}
}

func grantKey(id string, t core.Token) string { return fmt.Sprintf("%s@%d.%d", id, t.Term, t.Version) }

// covers checks I3 and I4: everything in the list is owned, or is to be.
func (c *checker) covers(p *Worker, cur published, old headValue) {
	if cur.head.Lifecycle == "cold_start" {
		return
	}
	if cur.head.List == "" && (old.Rebuild || old.List == "") { // a union, and nothing else is known yet
		return
	}
	list := c.w.lists[cur.head.List]
	if list == nil {
		c.fail("I4: head %d.%d of %s names a list that no source gave: %q", cur.head.Term, cur.head.Version, p.name, cur.head.List)
		return
	}
	if before := c.w.lists[old.List]; before != nil && !old.Rebuild && 2*len(list.IDs) < len(before.IDs) &&
		c.w.now+c.w.jumped < list.since+p.cfg.MinRebalanceInterval*98/100 {
		c.fail("I3: head %d.%d of %s takes %d partitions from the list, %v after a source first left them out",
			cur.head.Term, cur.head.Version, p.name, len(before.IDs)-len(list.IDs), c.w.now-list.since)
	}
	for _, id := range list.IDs {
		_, owned := cur.grants[id]
		_, coming := cur.next[id]
		if !owned && !coming {
			c.fail("I4: in head %d.%d of %s, nobody has partition %s or is to have it", cur.head.Term, cur.head.Version, p.name, id)
		}
		if owned && coming {
			c.fail("I4: in head %d.%d of %s, partition %s is owned by %s and is to go to %s as well",
				cur.head.Term, cur.head.Version, p.name, id, cur.grants[id].worker, cur.next[id])
		}
	}
	if extra := len(cur.grants) + len(cur.next) - len(list.IDs); extra > 0 && c.err == nil {
		c.fail("I4: head %d.%d of %s assigns %d partitions that are not in its list", cur.head.Term, cur.head.Version, p.name, extra)
	}
}

// idWritten follows who holds an id.
func (c *checker) idWritten(p *Worker, op core.KV, id string) {
	if op.Verb == core.Delete {
		delete(c.holders, id)
		if name := c.w.cfg.Prefix + "-" + id; name == p.trusted {
			p.released = name
		}
		return
	}
	rec, err := parse[holderValue](op.Val)
	if err != nil {
		c.fail("I9: %s writes id %s: %v", p.name, id, err)
		return
	}
	p.released = ""
	nonce := nonceOf(rec.Inc)
	old, held := c.holders[id]
	if held && old.nonce == nonce {
		return
	}
	if held {
		if o := c.w.byNonce(old.nonce); o != nil && o.live && c.w.now >= o.disturbed {
			c.fail("I9: %s takes id %s from %s, which lives", p.name, id, o.name)
		}
	}
	c.holders[id] = hold{nonce, c.w.now}
}

func (w *World) byNonce(nonce string) *Worker {
	for _, p := range w.workers {
		if "nonce"+p.name[1:] == nonce {
			return p
		}
	}
	return nil
}

// measured takes in what the workers count.
func (c *checker) measured(_ *Worker, m core.Measure) {
	switch m.Metric {
	case core.MetricMoves:
		c.moves += int(m.Value)
	case core.MetricRebalances:
		c.plans++
	case core.MetricForced:
		c.forced += int(m.Value)
	default:
	}
}

// answered checks that a refresh is answered in bounded time.
func (p *Worker) answered(id uint64) {
	w := p.world
	if !p.live || p.refreshes[id] == 0 && len(p.refreshes) == 0 {
		return
	}
	if p.paused || w.now < p.goesOn+p.cfg.HeartbeatInterval {
		w.after(p.cfg.HeartbeatInterval, func() { p.answered(id) })
		return
	}
	if asked, waits := p.refreshes[id]; waits {
		w.check.fail("%s has not answered a refresh of %v", p.name, asked)
	}
}
