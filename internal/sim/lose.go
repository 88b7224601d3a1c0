package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/kvtest"
)

// What a store can lose: a bucket that is deleted and made anew, or the last
// writes, as when servers lose power. Revisions go back then, and repeat.

// created are the creation times of the buckets.
func (w *World) created() (created [core.NumBuckets]string) {
	for b := range created {
		created[b] = w.kv.Created(b)
	}
	return created
}

// Wipe deletes buckets and makes them anew.
func (w *World) Wipe(buckets ...core.Bucket) {
	w.check.lostRev = max(w.check.lostRev, w.kv.Last(int(core.Assignments)))
	for _, b := range buckets {
		w.trace.add(w.now, "world", "bucket %d is wiped", b)
		w.past[b] = nil
		w.kv.Wipe(int(b))
	}
	w.lost(buckets...)
}

// Rollback brings back the store as it was.
func (w *World) Rollback(s kvtest.Snapshot) {
	w.trace.add(w.now, "world", "the store is rolled back")
	w.check.lostRev = max(w.check.lostRev, w.kv.Last(int(core.Assignments)))
	w.kv.Rollback(s)
	w.past = [core.NumBuckets]history{} // a replica that is behind has the same
	w.lost(core.IDs, core.Election, core.Heartbeats, core.Assignments)
}

// lost has watches end and the checks begin anew from what is in the store.
func (w *World) lost(buckets ...core.Bucket) {
	for _, p := range w.Live() { // an id is missed when it is renewed
		p.disturb(w.cfg.IDTTL / 3)
		w.lossShows = p.disturbed
	}
	for _, b := range buckets {
		// A server says nothing; the client misses its signs of life, or is
		// told otherwise.
		for _, wt := range slices.Clone(w.watches[b]) {
			w.after(w.between(0, 2*w.cfg.HeartbeatInterval), wt.lose)
		}
	}
	w.check.lost(buckets)
}

// lost forgets what the store does not know any more.
func (c *checker) lost(buckets []core.Bucket) {
	for _, b := range buckets {
		switch b {
		case core.IDs:
			c.holders = map[string]hold{}
			for _, key := range c.w.kv.Keys(int(core.IDs)) {
				c.holderOf(key)
			}
		case core.Assignments:
			c.assignmentsLost()
		default:
		}
	}
}

func (c *checker) holderOf(key string) {
	e, err := c.w.kv.Get(int(core.IDs), key)
	var id string
	if n, _ := fmt.Sscanf(key, c.w.cfg.Group+".id.%s", &id); err != nil || n != 1 {
		return
	}
	if rec, err := parse[holderValue](e.Val); err == nil {
		c.holders[id] = hold{nonceOf(rec.Inc), c.w.now}
	}
}

// assignmentsLost goes on from the head that stands now. What was last published
// remains the measure of what may be given up, until a head is rebuilt.
func (c *checker) assignmentsLost() {
	c.stored = headValue{}
	c.writers, c.created = map[uint64]*Worker{}, map[string]string{}
	torn := c.lostAt > 0 // payloads may have been lost before the head was written
	c.lostAt = c.w.now
	c.tokens = map[string]grant{}
	c.rebuilding = true
	e, err := c.w.kv.Get(int(core.Assignments), c.w.cfg.Group+".head")
	if err != nil {
		return
	}
	cur, err := c.w.publish(e.Val)
	if err != nil {
		if !torn {
			c.fail("the head that was rolled back to: %v", err)
		}
		c.stored = cur.head
		return
	}
	c.stored = cur.head
	maps.Copy(c.tokens, cur.grants)
	if cur.head.Term > c.last.head.Term { // from a line that nobody could know of
		c.last = cur
	}
	if same(cur.head, c.last.head) { // nothing of it was lost
		c.rebuilding = false
	}
}

func same(a, b headValue) bool {
	return a.Term == b.Term && a.Version == b.Version && a.Leader == b.Leader && slices.Equal(a.Seats, b.Seats)
}

// rebuilt checks a head that ends a loss: it is later than all that anybody has
// seen who is there, and nobody who works on a partition is left out or gets an
// older token.
func (c *checker) rebuilt(p *Worker, cur published) {
	for _, o := range c.w.Live() {
		if c.w.now < o.disturbed || o.stopped || o.snap.Worker == "" {
			continue
		}
		if o.snap.Term > cur.head.Term {
			c.fail("I2: %s rebuilds the head under term %d, %s has seen %d", p.name, cur.head.Term, o.name, o.snap.Term)
		}
		if o.snap.Version > cur.head.Version {
			c.fail("I2: %s rebuilds the head as version %d, %s has seen %d", p.name, cur.head.Version, o.name, o.snap.Version)
		}
		for _, id := range slices.Sorted(maps.Keys(o.running)) {
			t := o.running[id]
			if g, ok := cur.grants[id]; ok && g.token.Less(t) {
				c.fail("I2: %s rebuilds partition %s with token %v, %s works on it under %v", p.name, id, g.token, o.name, t)
			}
		}
	}
}

// config is what the next process is configured with.
func (w *World) config() core.Config {
	c := w.cfg
	if !w.mixed {
		return c
	}
	w.hit("mixed configuration")
	scale := func(d time.Duration) time.Duration {
		return time.Duration(float64(d) * (0.5 + 1.5*w.rng.Float64())).Round(time.Millisecond)
	}
	c.HeartbeatInterval = scale(c.HeartbeatInterval)
	c.HeartbeatTTL = max(scale(c.HeartbeatTTL), 2*c.HeartbeatInterval+c.HeartbeatInterval/2)
	c.IDTTL = max(scale(c.IDTTL), 2*c.HeartbeatTTL)
	c.EmergencyGracePeriod = scale(c.EmergencyGracePeriod)
	c.ColdStartWindow, c.ColdStartSettle, c.PlannedScaleWindow = scale(c.ColdStartWindow), scale(c.ColdStartSettle), scale(c.PlannedScaleWindow)
	c.MinRebalanceInterval, c.RecoveryGracePeriod = scale(c.MinRebalanceInterval), scale(c.RecoveryGracePeriod)
	c.EnterThreshold, c.ExitThreshold = scale(c.EnterThreshold), scale(c.ExitThreshold)
	return c
}

// remembered tells whether anybody has seen more than what stands in the store.
func (w *World) remembered() bool {
	h := w.check.stored
	for _, p := range w.Live() {
		if s := p.snap; s.Term > h.Term || s.Term == h.Term && s.Version > h.Version {
			return true
		}
	}
	return h.Rebuild
}
