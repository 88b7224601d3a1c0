package core

import "time"

// A head that was lost, with its bucket or by a foreign hand, says no more who
// holds what. The leader that finds none writes one that is marked as being
// rebuilt, and workers keep what they hold. When everybody who is cut off must
// have lost its lease, it makes a plan as at a cold start, and grants nothing
// before every worker that may hold something has applied it, and so let go.

// somethingHeld tells whether any worker was ever granted anything, as far as
// the leader can see.
func (c *Core) somethingHeld() bool {
	if c.adopt.named {
		return true
	}
	for _, m := range c.lead.members {
		if !m.dead && m.rec.Applied.Version > 0 {
			return true
		}
	}
	return false
}

// longestTTL is the longest lease that any worker has.
func (c *Core) longestTTL() time.Duration {
	ttl := c.cfg.HeartbeatTTL
	for _, m := range c.lead.members {
		ttl = max(ttl, c.memberTTL(m))
	}
	return ttl
}

// clearSeats notes that every worker that has applied anything may hold
// anything, until it has applied the commit that follows.
func (c *Core) clearSeats(by version) {
	for _, s := range c.lead.seats {
		if s == nil {
			continue
		}
		if m := c.lead.members[s.worker]; m != nil && m.rec.Applied.Version > 0 {
			s.clear = by
		}
	}
}
