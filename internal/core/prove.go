package core

import "math"

// What degraded mode waits for: a proof that whatever failed works again. Most
// operations are repeated anyway, those of a leader are not, since a degraded worker
// does not lead: their kind is tried by something that changes nothing.

// noRevision is a revision that no key ever has.
const noRevision = math.MaxInt64

// cleared tells whether all that degraded mode may be due to works again, and
// tries what does not.
func (c *Core) cleared() bool {
	ok := c.proveFailing()
	for _, r := range []*renewal{&c.idKey, &c.hbKey} {
		if r.proved < c.degraded.good {
			c.renew(r)
			ok = false
		}
	}
	if c.adopt.looked < c.degraded.good {
		c.readHead()
		ok = false
	}
	for _, k := range []watchKind{watchHeads, watchLeader} {
		if !c.watch[k].synced {
			c.openWatch(k)
			ok = false
		}
	}
	return ok
}

// proveFailing tries what fails, at most once per heartbeat, and tells whether
// nothing does.
func (c *Core) proveFailing() bool {
	ok := true
	for b := range c.degraded.kinds {
		for class := range c.degraded.kinds[b] {
			k := &c.degraded.kinds[b][class]
			if !k.failing {
				continue
			}
			ok = false
			if c.claim.held && !c.repeats(k.last) && (k.tried == 0 || c.now >= k.tried+c.cfg.HeartbeatInterval) {
				k.tried = c.now
				c.prove(k.last)
			}
		}
	}
	return ok
}

// repeats tells whether an operation that failed is being tried again anyway.
func (c *Core) repeats(op asked) bool {
	switch op.kind.class {
	case writes:
		for _, r := range []*renewal{&c.idKey, &c.hbKey, &c.heldKey} {
			if r.active && r.tries > 0 && r.bucket == op.kind.bucket && r.key() == op.key {
				return true
			}
		}
		return false
	case reads:
		return op.kind.bucket == Assignments && op.key == c.headKeyName() && c.adopt.readTries > 0
	default:
		return false
	}
}

// prove tries an operation that failed in a way that changes nothing: a write of as
// much under the same key, at a revision at which it never stands. That it conflicts
// is an answer: the write was permitted, and not refused for its size, by a stream
// that has a leader.
func (c *Core) prove(op asked) {
	switch op.kind.class {
	case reads:
		c.kv(KV{Verb: Get, Bucket: op.kind.bucket, Key: op.key, Timeout: c.renewTimeout()}, true, func(Done) {})
	case writes:
		c.kv(KV{
			Verb: Update, Bucket: op.kind.bucket, Key: op.key, Val: make([]byte, op.size), Rev: noRevision, Timeout: c.renewTimeout(),
		}, true, func(Done) {})
	default:
		switch op.kind.bucket {
		case Assignments:
			c.remake(watchHeads)
		case Election:
			c.remake(watchLeader)
		case Heartbeats:
			c.want(watchBeats)
		default:
			c.want(watchStrays)
		}
	}
}

// remake makes a watch anew, unless that is under way.
func (c *Core) remake(k watchKind) {
	if c.watch[k].made {
		c.rewatch(k)
	}
}

// endProofs closes the watches that were only opened for a proof.
func (c *Core) endProofs() {
	c.unwant(watchStrays)
	if !c.claim.judging {
		c.unwant(watchBeats)
	}
}
