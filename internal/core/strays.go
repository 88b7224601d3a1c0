package core

import (
	"maps"
	"slices"
	"time"
)

// Ids and tickets can be left behind: by a process that died between its claim
// and its first heartbeat, by a write that arrived after its sender had given it
// up, by a deletion that did not arrive. The leader lists them now and then, and
// removes what nobody has renewed since the last time.

// sweepStrays begins a listing.
func (c *Core) sweepStrays() {
	if !c.leading() {
		return
	}
	l := c.lead
	c.timer.set(timerStrays, c.now+2*c.cfg.IDTTL)
	l.strays, l.listed = map[string]listing{}, l.strays
	c.sweepHeld()
	c.unwant(watchStrays) // one that never ended
	c.want(watchStrays)
}

func (c *Core) onStraysWatch(ev Watched) {
	if !c.leading() {
		c.unwant(watchStrays)
		return
	}
	if ev.Key != "" && !ev.Deleted {
		at, again := c.list(ev.Key, ev.Rev)
		if again && c.isStray(ev, c.now-at) {
			c.log(Info, "removing what nobody holds", "key", ev.Key)
			c.kv(KV{Verb: Delete, Bucket: IDs, Key: ev.Key, Rev: ev.Rev}, false, func(Done) {})
		}
	}
	if ev.Synced {
		c.unwant(watchStrays)
	}
}

// listing is a key as it was found, and when it was first found so.
type listing struct {
	rev uint64
	at  time.Duration
}

// list notes a key, and tells whether the listing before had it at the same
// revision, and since when it was found so.
func (c *Core) list(key string, rev uint64) (at time.Duration, again bool) {
	l := c.lead
	old, again := l.listed[key]
	if again = again && old.rev == rev; !again {
		old = listing{rev, c.now}
	}
	l.strays[key] = old
	return old.at, again
}

// isStray tells whether a key that was not renewed between two listings belongs
// to nobody who lives. Should it after all, its owner writes it again.
func (c *Core) isStray(ev Watched, age time.Duration) bool {
	if _, ok := c.tail(ev.Key, "ticket"); ok {
		return true
	}
	rec, err := decode[idRecord](ev.Val)
	n, ok := c.idNumber(ev.Key)
	if err != nil && ok { // perhaps of a later version: it stands until its id is needed
		c.report(FaultForeignValue, "key "+ev.Key+": "+err.Error())
	}
	if err != nil || !ok || age < bounded(rec.TTL, c.cfg.IDTTL) {
		return false
	}
	m := c.lead.members[c.workerName(n)]
	return m == nil || m.dead || nonceOf(m.inc) != nonceOf(rec.Inc)
}

// sweepHeld removes what workers said they hold when they do not say it any more:
// who does, says it again now and then.
func (c *Core) sweepHeld() {
	l := c.lead
	for _, w := range slices.Sorted(maps.Keys(l.rebuild.held)) {
		h := l.rebuild.held[w]
		key := c.heldKeyName(w)
		if _, again := c.list(key, h.rev); again && !l.head.Rebuild {
			c.kv(KV{Verb: Delete, Bucket: Assignments, Key: key, Rev: h.rev}, false, func(Done) {})
		}
	}
}
