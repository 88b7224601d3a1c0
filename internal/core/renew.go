package core

import (
	"strings"
	"time"
)

// renewal keeps one key alive: the id, the heartbeat or the leader key. Each
// write is guarded by the own last revision, so that a write that was buffered
// or delayed, or that belongs to a former holder, fails.
//
// Absent means that state was lost, and the key is made again under the same
// incarnation. Another incarnation in it means that the key is lost.
type renewal struct {
	name     string
	bucket   Bucket
	timer    timer
	interval func() time.Duration
	key      func() string
	value    func() []byte
	// holder reads whose value it is.
	holder func(val []byte) (inc string, err error)
	// wrote is told the time at which a successful write began.
	wrote func(at time.Duration)
	// lost is told that the key holds another's value.
	lost func(val []byte, rev uint64)

	active  bool
	epoch   int // of activations; results of earlier ones are ignored
	rev     uint64
	busy    bool
	again   bool          // write once more as soon as the present write is answered
	tries   int           // since the last success
	due     time.Duration // when the renewal after the present one is due; attempts until then are retries
	proved  time.Duration
	written bool   // at least once in this activation
	after   func() // what waits for the answer in flight, to release the key
}

func (c *Core) setupRenewals() {
	c.idKey = renewal{
		name: "id", bucket: IDs, timer: timerID,
		interval: func() time.Duration { return c.cfg.IDTTL / 3 },
		key:      func() string { return c.idKeyName(c.claim.number) },
		value:    c.idValue,
		holder: func(val []byte) (string, error) {
			rec, err := decode[idRecord](val)
			return rec.Inc, err
		},
		wrote: func(time.Duration) { c.idWritten() },
		lost:  func([]byte, uint64) { c.loseID("another worker holds it") },
	}
	c.hbKey = renewal{
		name: "heartbeat", bucket: Heartbeats, timer: timerHeartbeat,
		interval: func() time.Duration { return c.cfg.HeartbeatInterval },
		key:      func() string { return c.hbKeyName(c.worker()) },
		value:    c.beatValue,
		holder: func(val []byte) (string, error) {
			rec, err := decode[hbRecord](val)
			if rec.Revoked != 0 {
				return "", err
			}
			return rec.Inc, err
		},
		wrote: c.beatWritten,
		lost:  c.beatLost,
	}
	c.leadKey = renewal{
		name: "leader", bucket: Election, timer: timerLead,
		interval: func() time.Duration { return c.cfg.HeartbeatInterval },
		key:      c.leaderKeyName,
		value:    c.leaderValue,
		holder: func(val []byte) (string, error) {
			rec, err := decode[leaderRecord](val)
			return rec.Inc, err
		},
		wrote: func(time.Duration) { c.renewAgent() },
		lost:  func([]byte, uint64) { c.stepDown("another worker took the leader key", true) },
	}
	c.heldKey = renewal{
		name: "held", bucket: Assignments, timer: timerHeld,
		interval: func() time.Duration { return c.cfg.IDTTL / 3 },
		key:      func() string { return c.heldKeyName(c.worker()) },
		value:    c.heldValue,
		holder: func(val []byte) (string, error) {
			rec, err := decode[heldRecord](val)
			return rec.Inc, err
		},
		wrote: func(time.Duration) {},
		lost: func(_ []byte, rev uint64) { // who had the id before has left it
			c.heldKey.rev = rev
			c.renew(&c.heldKey)
		},
	}
}

// activate starts to renew a key that stands at rev; 0 means that it is to be
// created. at is when the write that made rev began.
func (c *Core) activate(r *renewal, rev uint64, at time.Duration) {
	r.active, r.rev, r.busy, r.again, r.tries = true, rev, false, false, 0
	r.epoch++
	r.proved, r.written = at, rev != 0
	c.timer.set(r.timer, at+r.interval())
}

func (c *Core) deactivate(r *renewal) {
	r.active = false
	c.timer.clear(r.timer)
}

// leaseEnd is when the holder stops to trust its lease: counted from before the
// last successful write was sent, and a margin sooner than anybody else.
func (r *renewal) leaseEnd(ttl time.Duration) time.Duration {
	if !r.active || !r.written {
		return 0
	}
	return r.proved + ttl - max(ttl/10, 250*time.Millisecond)
}

// unprove forgets when the lease was last proved and renews it now.
func (c *Core) unprove(r *renewal) {
	r.proved = -never / 2
	c.renew(r)
}

// renew writes the key now, or as soon as the write in flight is answered.
func (c *Core) renew(r *renewal) {
	if !r.active {
		return
	}
	if r.busy {
		r.again = true
		return
	}
	if !c.conn.up {
		c.timer.clear(r.timer) // goes on when the connection is back
		return
	}
	c.timer.set(r.timer, c.now+r.interval())
	r.busy, r.again = true, false
	retry := r.tries > 0 && c.now < r.due
	if !retry {
		r.due = c.now + r.interval()
	}
	began, epoch := c.now, r.epoch
	op := KV{Verb: Update, Bucket: r.bucket, Key: r.key(), Val: r.value(), Rev: r.rev, Timeout: c.renewTimeout()}
	if r.rev == 0 {
		op.Verb = Create
	}
	c.kv(op, retry, func(d Done) {
		if !c.answered(r, epoch) {
			if d.Err == OK && r.epoch == epoch {
				r.rev = d.Rev
			}
			c.resumeRelease(r, epoch)
			return
		}
		switch d.Err {
		case OK:
			r.rev, r.tries, r.proved, r.written = d.Rev, 0, began, true
			r.wrote(began)
			if r.again {
				c.renew(r)
			}
		case Conflict, NotFound:
			c.inspect(r)
		default:
			c.retryRenewal(r)
		}
	})
}

// renewTimeout bounds one write of a lease: an answer that comes later than the
// next renewal is worth nothing.
func (c *Core) renewTimeout() time.Duration {
	return min(c.cfg.OperationTimeout, c.cfg.HeartbeatInterval)
}

// retryRenewal repeats a failed write: once at once, then with backoff, within a
// heartbeat.
func (c *Core) retryRenewal(r *renewal) {
	r.tries++
	if !c.conn.up {
		c.timer.clear(r.timer)
		return
	}
	if r.tries == 1 {
		c.renew(r)
		return
	}
	at := c.now + min(c.backoff(r.tries-2), c.cfg.HeartbeatInterval)
	if r.due > c.now {
		at = min(at, r.due)
	}
	c.timer.set(r.timer, at)
}

// inspect reads a key whose revision is not the expected one: an own write that
// seemed to fail, an absent key, or another holder.
func (c *Core) inspect(r *renewal) {
	r.busy = true
	epoch := r.epoch
	c.kv(KV{Verb: Get, Bucket: r.bucket, Key: r.key(), Timeout: c.renewTimeout()}, r.tries > 0, func(d Done) {
		if !c.answered(r, epoch) {
			c.resumeRelease(r, epoch)
			return
		}
		switch d.Err {
		case OK:
			inc, err := r.holder(d.Val)
			switch {
			case err != nil:
				c.report(FaultForeignValue, "key "+r.key()+": "+err.Error())
				r.lost(d.Val, d.Rev)
			case c.mine(inc):
				back := d.Rev < r.rev
				r.rev = d.Rev
				if c.renew(r); back {
					c.log(Warn, "own key is at an earlier revision", "key", r.key())
					c.stateLost()
				}
			default:
				r.lost(d.Val, d.Rev)
			}
		case NotFound:
			c.log(Warn, "own key is gone, writing it again", "key", r.key())
			c.keyLost(r)
		default:
			c.retryRenewal(r)
		}
	})
}

// answered notes that nothing is in flight any more, and tells whether the
// renewal goes on.
func (c *Core) answered(r *renewal, epoch int) bool {
	if r.epoch != epoch {
		return false
	}
	r.busy = false
	return r.active
}

func (c *Core) resumeRelease(r *renewal, epoch int) {
	if f := r.after; f != nil && r.epoch == epoch {
		r.after = nil
		f()
	}
}

// release stops to renew a key and deletes it, if it still is the own, once the
// write in flight is answered. then is told whether the key is known to be gone.
func (c *Core) release(r *renewal, then func(gone bool)) {
	key := r.key()
	c.deactivate(r)
	var del func()
	find := func() {
		c.kv(KV{Verb: Get, Bucket: r.bucket, Key: key, Timeout: c.renewTimeout()}, false, func(d Done) {
			if inc, err := r.holder(d.Val); d.Err != OK || err != nil || !c.mine(inc) || d.Rev == r.rev {
				then(d.Err == NotFound)
				return
			}
			r.rev = d.Rev
			del()
		})
	}
	del = func() {
		switch {
		case !c.conn.up:
			then(false)
			return
		case r.rev == 0: // what was written last has no answer
			find()
			return
		}
		c.kv(KV{Verb: Delete, Bucket: r.bucket, Key: key, Rev: r.rev, Timeout: c.renewTimeout()}, false, func(d Done) {
			if d.Err == Conflict { // an own write seemed to fail and did not
				find()
				return
			}
			then(d.Err == OK || d.Err == NotFound)
		})
	}
	if r.busy {
		r.after = del
		return
	}
	del()
}

// mine tells whether an incarnation is one of this life.
func (c *Core) mine(inc string) bool { return nonceOf(inc) == c.nonce }

// nonceOf is the life that an incarnation belongs to.
func nonceOf(inc string) string {
	nonce, _, _ := strings.Cut(inc, "~")
	return nonce
}
