package core

// waited are the ids that partitions wait for: those that the head names. One of
// them that is free was left in good order, a moment ago, and a process that
// starts now is most likely who returns.
type waited struct {
	read bool
	ids  map[int]bool
}

// readWaited reads the head once, before a free id is chosen, and reports whether
// it does. There is something to choose when an id was released, or the lowest free
// one is lower than one that is held; while a whole fleet assembles that is so for
// moments only, and the message is spared.
func (c *Core) readWaited(queueing bool, lowest int) bool {
	cl := &c.claim
	choice := len(cl.freed) > 0
	for n := range cl.ids {
		choice = choice || n > lowest && !queueing && cl.mine == 0
	}
	if cl.waited.read || !choice {
		return false
	}
	cl.waited.read, cl.busy = true, true
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName(), Timeout: c.renewTimeout()}, false, func(d Done) {
		if c.claimOver() {
			return
		}
		if d.Err == Down { // asked again when the connection is back
			cl.waited.read = false
			c.claimFailed()
			return
		}
		// Without an answer it is a guess, as it is without a head.
		if head, err := decode[headRecord](d.Val); d.Err == OK && err == nil {
			cl.waited.ids = map[int]bool{}
			for _, s := range head.Seats {
				if n, ok := c.workerNumber(s.Worker); ok {
					cl.waited.ids[n] = true
				}
			}
		}
		c.tryClaim()
	})
	return true
}

// freeIDs returns the first n free ids, or fewer: those that are waited for, then
// the others, each from the lowest on.
func (c *Core) freeIDs(n int) []int {
	var first, then []int
	for i := c.cfg.IDMin; i <= c.cfg.IDMax && len(first) < n; i++ {
		_, taken := c.claim.ids[i]
		switch {
		case taken || c.claim.spoken[i] != "":
		case c.claim.waited.ids[i]:
			first = append(first, i)
		case len(then) < n:
			then = append(then, i)
		}
	}
	return append(first, then[:min(len(then), n-len(first))]...)
}
