package core

import (
	"maps"
	"slices"
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
	l.strays, l.listed = map[string]uint64{}, l.strays
	c.sweepHeld()
	c.unwant(watchStrays) // one that never ended
	c.want(watchStrays)
}

func (c *Core) onStraysWatch(ev Watched) {
	if !c.leading() {
		c.unwant(watchStrays)
		return
	}
	l := c.lead
	if ev.Key != "" && !ev.Deleted {
		l.strays[ev.Key] = ev.Rev
		if l.listed[ev.Key] == ev.Rev && c.isStray(ev) {
			c.log(Info, "removing what nobody holds", "key", ev.Key)
			c.kv(KV{Verb: Delete, Bucket: IDs, Key: ev.Key, Rev: ev.Rev}, false, func(Done) {})
		}
	}
	if ev.Synced {
		c.unwant(watchStrays)
	}
}

// isStray tells whether a key that was not renewed between two listings belongs
// to nobody who lives. Should it after all, its owner writes it again.
func (c *Core) isStray(ev Watched) bool {
	if _, ok := c.tail(ev.Key, "ticket"); ok {
		return true
	}
	rec, err := decode[idRecord](ev.Val)
	n, ok := c.idNumber(ev.Key)
	if err != nil || !ok || rec.TTL.duration() > 2*c.cfg.IDTTL {
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
		if key := c.heldKeyName(w); l.listed[key] == h.rev && !l.head.Rebuild {
			c.kv(KV{Verb: Delete, Bucket: Assignments, Key: key, Rev: h.rev}, false, func(Done) {})
		} else {
			l.strays[key] = h.rev
		}
	}
}
