package core

import (
	"slices"
	"strings"
	"time"
)

// What lies in NATS can be lost: a bucket deleted and made anew, the last writes
// gone with a server's disk. Revisions and terms go back then, and repeat. A
// worker that finds its own keys absent writes them again, id first. One that
// finds no head, or one that does not continue what it has seen, keeps what it
// holds and says so in its key `held`, from which the next leader rebuilds the
// head (see rebuild.go).
//
// Heads form lines. A line begins with a head that is rebuilt, and is named by
// that head's term, the root; each term of it says on which head of the term
// before it is based. A worker that finds a line broken trusts no head of it any
// more, and goes on with the next line.
type losses struct {
	now      bool          // no head is there that continues what was seen
	broken   uint64        // root of the latest line that was found broken; 0 = none was
	recreate bool          // the other own keys are written as soon as the id is
	safe     time.Duration // when the id was last written for that reason
	lease    millis        // the longest of the fleet, as a head has said
	version  uint64        // the highest version ever seen; of the terms, election knows
}

// sight is what was known of the head at some moment.
type sight struct {
	at   version
	root uint64
	by   string
}

func (c *Core) sight() sight {
	a := &c.adopt
	return sight{at: a.seen, root: a.head.Root, by: a.head.LeaderInc}
}

// breaks tells whether a head that stood in NATS after s was seen does not
// continue the line of what was seen.
func (s sight) breaks(h headRecord) bool {
	switch {
	case h.at().less(s.at):
		return true
	case h.Root == 0 || s.root == 0:
		return false
	case h.Root < s.root:
		return true
	case h.Term == s.at.Term:
		return h.LeaderInc != s.by
	}
	return h.Root == s.root && h.Base.less(s.at)
}

// distrusts tells whether a head belongs to a line that was found broken.
func (c *Core) distrusts(h headRecord) bool { return h.Root != 0 && h.Root <= c.lost.broken }

// headLost is told that no head continues what this worker has seen.
func (c *Core) headLost(why string) {
	c.lost.broken = max(c.lost.broken, c.adopt.head.Root)
	if c.leading() {
		c.stepDown(why, false)
	}
	if !c.lost.now {
		c.lost.now = true
		c.report(FaultVersion, why+"; what is held is kept until a head is rebuilt from it")
		c.stateLost() // goes on with what is held, once the id is safe
	} else if !c.heldKey.active {
		c.tellHeld()
	}
}

// headFound is told of a head that goes on with a line.
func (c *Core) headFound(h headRecord) {
	c.lost.now = false
	if !h.Rebuild {
		c.lost.lease = h.Lease
	}
	switch {
	case !h.Rebuild:
		if c.heldKey.active {
			c.release(&c.heldKey, func(bool) {})
		}
	case c.adopt.named || c.adopt.applied != version{} || len(c.adopt.letting) > 0:
		c.tellHeld()
	}
}

// stateLost is told of a sign that NATS has lost something: all own keys are
// looked after at once, and the buckets.
func (c *Core) stateLost() {
	c.emit(Rebind{})
	if c.idKey.active {
		c.lost.recreate = true
		c.renew(&c.idKey)
	}
}

// idWritten goes on with the other keys.
func (c *Core) idWritten() {
	if !c.lost.recreate {
		return
	}
	c.lost.recreate, c.lost.safe = false, c.now
	c.renew(&c.hbKey)
	c.renew(&c.leadKey)
	if c.lost.now || c.heldKey.active {
		c.tellHeld()
	}
	c.readHead()
}

// keyLost is told that an own key is absent.
func (c *Core) keyLost(r *renewal) {
	r.rev = 0
	if r == &c.heldKey || c.lost.safe > 0 && c.now < c.lost.safe+c.cfg.HeartbeatInterval {
		c.renew(r)
		return
	}
	c.stateLost() // the id first
}

// onRebound compares the creation times of the buckets. What watches of a bucket
// that was made anew have shown is void.
func (c *Core) onRebound(ev Rebound) {
	changed := false
	for b, created := range ev.Created {
		if created == "" || created == c.cfg.Buckets[b] {
			continue
		}
		changed = true
		c.log(Warn, "a bucket was made anew", "bucket", bucketNames[b])
		c.cfg.Buckets[b] = created
		for k := range c.watch {
			if c.watch[k].bucket == Bucket(b) {
				c.rewatch(watchKind(k))
			}
		}
	}
	if !changed || !c.claim.held {
		return
	}
	if c.idKey.active {
		c.lost.recreate = true
		c.renew(&c.idKey)
	}
	c.readHead()
}

// tellHeld publishes what this worker holds, and goes on to until the line of
// heads goes on.
func (c *Core) tellHeld() {
	if !c.claim.held || !c.hbKey.active || c.life.renaming || c.life.stop > drains {
		return
	}
	if !c.heldKey.active {
		c.activate(&c.heldKey, 0, c.now)
	}
	c.renew(&c.heldKey)
}

// heldValue is what this worker holds, and to which rebuilding leader it says so.
func (c *Core) heldValue() []byte {
	a := &c.adopt
	c.beat.seq++
	rec := heldRecord{
		formatted: ours, Inc: c.inc, Seq: c.beat.seq, Root: max(a.head.Root, c.lost.broken), Named: a.named, Seen: a.seen.Term,
		Term: max(c.elect.seen, a.seen.Term), Version: c.lost.version, Lease: max(c.lost.lease, toMillis(c.cfg.HeartbeatTTL)),
		Grants: grantsOf(a.owned),
	}
	if a.head.Rebuild && !c.distrusts(a.head) {
		rec.For = a.head.Term
	}
	for _, o := range a.letting {
		rec.Drains = append(rec.Drains, heldDrain{ID: o.ID, Weight: o.Weight})
	}
	slices.SortFunc(rec.Drains, func(x, y heldDrain) int { return strings.Compare(x.ID, y.ID) })
	return encode(rec)
}

// grantsOf groups partitions by their tokens.
func grantsOf(owned []Owned) []grantList {
	var out []grantList
	at := map[Token]int{}
	for _, o := range owned {
		k, ok := at[o.Token]
		if !ok {
			k = len(out)
			at[o.Token] = k
			out = append(out, grantList{Term: o.Token.Term, Version: o.Token.Version})
		}
		out[k].IDs = append(out[k].IDs, o.ID)
		out[k].Weights = append(out[k].Weights, o.Weight)
	}
	return out
}
