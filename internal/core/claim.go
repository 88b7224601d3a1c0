package core

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// claim finds a stable id. It follows one watch over ids and tickets, which is
// a log with a total order:
//
//  1. try the first free id, unless others are already queueing: the lowest of
//     those that partitions wait for, else the lowest;
//  2. after a conflict, write a ticket. Its revision is the place in the queue.
//     Take the r-th free id, r being the number of claimers with an earlier
//     ticket that hold no id yet. Everybody computes the same ids from the same
//     log, so n workers started together take the n first free ids for a handful
//     of messages each.
//
// Create guards every step: a wrong guess costs a message and nothing else.
type claim struct {
	active  bool
	held    bool
	number  int
	ids     map[int]holder
	tickets map[string]ticket // by incarnation
	mine    uint64            // revision of the own ticket
	queued  time.Duration     // when it was written
	busy    bool
	ready   bool // nothing is known to wait behind what the watch has shown
	tries   int
	checked bool         // processes of this host have been asked for
	dead    map[int]bool // ids whose process on this host is dead
	await   int          // an id that somebody else must be seen to hold; -1 = none
	// spoken are free ids under which somebody sends heartbeats: their keys were
	// lost, and are not for the taking.
	spoken  map[int]string
	freed   map[int]bool // ids that were deleted, and may leave a trace
	waited  waited
	took    string // incarnation that has let go of the id that is claimed, as far as is known
	judging bool   // all ids are taken; their holders are being watched
	judged  time.Duration
	asked   bool   // the silent ones have been asked for
	undo    func() // the claim is over: what is to be done when nothing is in flight any more
}

type holder struct {
	rec   idRecord
	rev   uint64
	alive bool // seen alive since the judging began
}

type ticket struct {
	rev  uint64
	seen time.Duration
}

func (c *Core) startClaim() {
	c.claim = claim{active: true, await: -1}
	c.want(watchClaim)
}

func (c *Core) endClaim() {
	c.claim.active = false
	c.timer.clear(timerClaim)
	c.unwant(watchClaim)
	if c.claim.judging {
		c.unwant(watchBeats)
		c.claim.judging = false
	}
	c.claim.ids, c.claim.tickets, c.claim.dead = nil, nil, nil
	c.claim.freed, c.claim.waited = nil, waited{}
}

// dropTicket removes the own ticket. It counts for nothing once an id is held,
// so that this can wait until fewer claimers are watching.
func (c *Core) dropTicket(then func()) {
	rev := c.claim.mine
	if c.claim.mine = 0; rev == 0 || !c.conn.up {
		then()
		return
	}
	c.kv(KV{Verb: Delete, Bucket: IDs, Key: c.ticketKey(c.nonce), Rev: rev}, false, func(Done) { then() })
}

func (c *Core) claimWatchBegins() {
	c.claim.ready = false
	c.claim.ids, c.claim.tickets = map[int]holder{}, map[string]ticket{}
	c.judgeAnew()
}

func (c *Core) onClaimWatch(ev Watched) {
	if !c.claim.active {
		return
	}
	if n, ok := c.idNumber(ev.Key); ok {
		c.sawID(n, ev)
	} else if inc, ok := c.tail(ev.Key, "ticket"); ok {
		if ev.Deleted {
			delete(c.claim.tickets, inc)
		} else {
			// Its revision is its place, whatever stands in it.
			if _, err := decode[ticketRecord](ev.Val); err != nil {
				c.report(FaultForeignValue, "key "+ev.Key+": "+err.Error())
			}
			c.claim.tickets[inc] = ticket{rev: ev.Rev, seen: c.now}
		}
	}
	// The server may take a message that was replaced meanwhile for one that
	// still waits, and never say that nothing does: quiet says it too.
	if c.claim.ready = ev.Synced; ev.Synced {
		c.tryClaim()
	} else if !c.claim.busy {
		c.claimLater(claimQuiet)
	}
}

// claimQuiet is how long a watch must be silent to count as complete.
const claimQuiet = 50 * time.Millisecond

func (c *Core) sawID(n int, ev Watched) {
	if n == c.claim.await {
		c.claim.await = -1
	}
	if ev.Deleted {
		delete(c.claim.ids, n)
		if c.claim.freed == nil {
			c.claim.freed = map[int]bool{}
		}
		c.claim.freed[n] = true
		return
	}
	rec, err := decode[idRecord](ev.Val)
	if err != nil {
		c.report(FaultForeignValue, "key "+ev.Key+": "+err.Error())
	}
	c.claim.ids[n] = holder{rec: rec, rev: ev.Rev, alive: c.claim.judging && c.watch[watchClaim].live}
	delete(c.claim.dead, n)
}

func (c *Core) resumeClaim() {
	if c.claim.active && !c.claim.held {
		c.tryClaim()
	}
}

func (c *Core) claimTimer() {
	if c.claim.held {
		c.dropTicket(func() {})
		return
	}
	c.claim.await = -1
	c.claim.ready = c.claim.ready || len(c.claim.ids)+len(c.claim.tickets) > 0
	if c.canClaim() && c.claim.mine != 0 && !c.inQueue() && c.now >= c.claim.queued+c.cfg.HeartbeatInterval {
		c.takeTicket() // removed as too old, or the watch is slow: a conflict then
		return
	}
	c.tryClaim()
}

// canClaim tells whether an attempt can be made and its premises are known.
func (c *Core) canClaim() bool {
	cl := &c.claim
	return cl.active && !cl.held && !cl.busy && c.conn.up && cl.ready
}

// inQueue tells whether the watch shows the own ticket, and so all before it.
func (c *Core) inQueue() bool {
	_, ok := c.claim.tickets[c.nonce]
	return ok
}

// tryClaim makes the next attempt when everything it depends on is known.
func (c *Core) tryClaim() {
	cl := &c.claim
	if !c.canClaim() || cl.await >= 0 {
		return
	}
	if cl.mine != 0 && !c.inQueue() {
		c.claimLater(2 * claimQuiet)
		return
	}
	if !cl.checked {
		cl.checked = true
		if c.checkProcesses() {
			return
		}
	}
	if n, ok := c.deadID(); ok {
		c.takeID(n, cl.ids[n].rev)
		return
	}
	ahead, queueing := c.queue()
	free := c.freeIDs(ahead + 1)
	switch {
	case len(free) == 0:
		c.judgeHolders()
	case c.readWaited(queueing, free[0]): // and comes back
	case cl.mine == 0 && queueing:
		c.takeTicket()
	case len(free) > ahead:
		c.takeID(free[ahead], 0)
	default: // the ids left are spoken for by others
		c.removeOldTickets()
		c.timer.set(timerClaim, c.now+c.backoff(2))
	}
}

// queue counts the claimers with an earlier ticket that hold no id yet, and
// tells whether anybody else is queueing.
func (c *Core) queue() (ahead int, queueing bool) {
	cl := &c.claim
	holds := make(map[string]bool, len(cl.ids))
	for _, h := range cl.ids {
		holds[h.rec.Inc] = true
	}
	for inc, t := range cl.tickets {
		if inc == c.nonce || holds[inc] || c.now-t.seen > c.cfg.OperationTimeout {
			continue
		}
		queueing = true
		if cl.mine != 0 && t.rev < cl.mine {
			ahead++
		}
	}
	return ahead, queueing
}

// removeOldTickets removes tickets of claimers that must have ended.
func (c *Core) removeOldTickets() {
	for _, inc := range slices.Sorted(maps.Keys(c.claim.tickets)) {
		if t := c.claim.tickets[inc]; inc != c.nonce && c.now-t.seen > c.cfg.OperationTimeout {
			delete(c.claim.tickets, inc)
			c.kv(KV{Verb: Delete, Bucket: IDs, Key: c.ticketKey(inc), Rev: t.rev}, false, func(Done) {})
		}
	}
}

func (c *Core) takeTicket() {
	c.claim.busy = true
	c.kv(KV{Verb: Create, Bucket: IDs, Key: c.ticketKey(c.nonce), Val: encode(ticketRecord{formatted: ours})}, false, func(d Done) {
		if d.Err == OK {
			c.claim.mine = d.Rev
		}
		if c.claimOver() {
			return
		}
		switch d.Err {
		case OK:
			c.claim.queued = c.now
			c.claimLater(2 * claimQuiet)
			c.tryClaim()
		case Conflict: // an earlier attempt did arrive
			if t, seen := c.claim.tickets[c.nonce]; seen {
				c.claim.mine, c.claim.queued = t.rev, c.now
				c.tryClaim()
				return
			}
			c.claimLater(c.cfg.HeartbeatInterval)
		default:
			c.claimFailed()
		}
	})
}

// takeID claims id n: a free one (rev 0), or one whose holder is known dead.
func (c *Core) takeID(n int, rev uint64) {
	c.claim.busy, c.claim.number, c.claim.took = true, n, ""
	if rev != 0 || c.claim.dead[n] {
		c.claim.took = c.claim.ids[n].rec.Inc
	}
	began := c.now
	op := KV{Verb: Create, Bucket: IDs, Key: c.idKeyName(n), Val: c.idValue()}
	if op.Fresh = !c.claim.freed[n]; rev != 0 {
		op.Verb, op.Rev = Update, rev
	}
	c.kv(op, false, func(d Done) {
		if c.claimOver() {
			return
		}
		switch d.Err {
		case OK:
			c.idClaimed(n, d.Rev, began)
		case Conflict, NotFound:
			c.claimConflict(n)
		case Ambiguous:
			c.readClaim(n, began)
		default:
			c.claimFailed()
		}
	})
}

// readClaim finds out what became of a write without an answer.
func (c *Core) readClaim(n int, began time.Duration) {
	c.claim.busy = true
	c.kv(KV{Verb: Get, Bucket: IDs, Key: c.idKeyName(n)}, true, func(d Done) {
		if c.claimOver() {
			return
		}
		if rec, err := decode[idRecord](d.Val); d.Err == OK && err == nil && c.mine(rec.Inc) {
			c.idClaimed(n, d.Rev, began)
			return
		}
		c.claimFailed()
	})
}

// claimOver notes that nothing is in flight any more, and tells whether nobody
// wants the id any more.
func (c *Core) claimOver() bool {
	c.claim.busy = false
	undo := c.claim.undo
	if undo == nil {
		return false
	}
	c.claim.undo = nil
	undo()
	return true
}

// claimConflict joins the queue, after the watch has shown who was faster.
func (c *Core) claimConflict(n int) {
	c.measure(MetricClaimConflicts, 1, "")
	cl := &c.claim
	delete(cl.dead, n)
	if _, seen := cl.ids[n]; !seen {
		cl.await = n
	}
	c.claimLater(2 * claimQuiet)
	if cl.mine == 0 {
		c.takeTicket()
		return
	}
	c.tryClaim()
}

// claimLater tries again on the next news of the watch, or after d.
func (c *Core) claimLater(d time.Duration) { c.timer.set(timerClaim, c.now+d) }

func (c *Core) claimFailed() {
	c.claim.tries++
	c.claimLater(c.backoff(c.claim.tries))
}

// checkProcesses asks the operating system about holders that ran on this host,
// so that a restarted process gets its id back at once. It reports whether
// there is anything to ask.
func (c *Core) checkProcesses() bool {
	me := c.cfg.Process
	ask := map[string]Process{}
	asked := map[int]uint64{} // revisions: the holder may change meanwhile
	for n, h := range c.claim.ids {
		p := h.rec.Proc
		if p.Boot != "" && p.Boot == me.Boot && p.PIDNS == me.PIDNS && p != me {
			ask[strconv.Itoa(n)], asked[n] = p, h.rev
		}
	}
	if len(ask) == 0 {
		return false
	}
	c.claim.busy = true
	c.emit(Processes{Op: c.ask(func(d Done) {
		if c.claimOver() {
			return
		}
		c.claim.dead = map[int]bool{}
		for _, s := range d.Dead {
			if n, err := strconv.Atoi(s); err == nil {
				if h, still := c.claim.ids[n]; still && h.rev == asked[n] {
					c.claim.dead[n] = true
				}
			}
		}
		c.tryClaim()
	}), All: ask})
	return true
}

// deadID returns the lowest id in range whose holder is known dead.
func (c *Core) deadID() (int, bool) {
	for _, n := range slices.Sorted(maps.Keys(c.claim.dead)) {
		if n >= c.cfg.IDMin && n <= c.cfg.IDMax {
			return n, true
		}
	}
	return 0, false
}

func (c *Core) idValue() []byte {
	return encode(idRecord{
		formatted: ours, Inc: c.inc, Host: c.cfg.Host, Proc: c.cfg.Process, TTL: toMillis(c.cfg.IDTTL),
	})
}

// idClaimed goes on with the life of a worker that has an id.
func (c *Core) idClaimed(n int, rev uint64, began time.Duration) {
	c.claim.held, c.claim.number = true, n
	c.log(Info, "worker id claimed", "incarnation", c.inc)
	c.endClaim()
	if c.claim.mine != 0 {
		c.claimLater(c.cfg.HeartbeatInterval)
	}
	c.activate(&c.idKey, rev, began)
	c.joinFleet()
}
