package main

import (
	"maps"
	"slices"
)

// coverage follows who owns what, as the workers report it. Workers are told
// apart by process: a new process may have the id of one that is gone.
type coverage struct {
	total  int
	owners map[string]int      // partition -> process that owns it now
	lastID map[string]string   // partition -> worker id that owned it last
	alive  map[int]workerState // process -> what is known of it
	// moves counts partitions that came to a worker of another id than before.
	moves int
}

type workerState struct {
	id     string
	leader bool
	ready  bool // Start has returned
}

func newCoverage(total int) *coverage {
	return &coverage{
		total:  total,
		owners: make(map[string]int),
		lastID: make(map[string]string),
		alive:  make(map[int]workerState),
	}
}

// seen notes a live process.
func (c *coverage) seen(proc int) { c.alive[proc] = workerState{} }

// is notes what a live process says of itself.
func (c *coverage) is(proc int, set func(*workerState)) {
	if w, ok := c.alive[proc]; ok {
		set(&w)
		c.alive[proc] = w
	}
}

// change notes that a process took over and gave up partitions. What a process
// that is gone had still to say is ignored. The reports of two processes may
// come in any order: who takes over may be heard before who gave up.
func (c *coverage) change(proc int, id string, added, removed []string) {
	if _, ok := c.alive[proc]; !ok {
		return
	}
	for _, p := range removed {
		if owner, ok := c.owners[p]; ok && owner == proc {
			delete(c.owners, p)
		}
	}
	for _, p := range added {
		if last, ok := c.lastID[p]; ok && last != id {
			c.moves++
		}
		c.owners[p], c.lastID[p] = proc, id
	}
}

// gone notes the end of a process; what it owned is nobody's.
func (c *coverage) gone(proc int) {
	delete(c.alive, proc)
	maps.DeleteFunc(c.owners, func(_ string, owner int) bool { return owner == proc })
}

// full reports whether every partition has a live owner.
func (c *coverage) full() bool { return len(c.owners) == c.total }

// owned is how many partitions a process owns.
func (c *coverage) owned(proc int) int {
	n := 0
	for _, owner := range c.owners {
		if owner == proc {
			n++
		}
	}
	return n
}

// ready is how many processes have started.
func (c *coverage) ready() int {
	n := 0
	for _, w := range c.alive {
		if w.ready {
			n++
		}
	}
	return n
}

// victim returns the follower that owns most, or the leader when that is wanted
// or it is alone.
func (c *coverage) victim(leader bool) (proc int, ok bool) {
	best := -1
	for _, p := range slices.Sorted(maps.Keys(c.alive)) {
		switch w := c.alive[p]; {
		case !w.ready:
		case best < 0,
			c.alive[best].leader != w.leader && w.leader == leader,
			c.alive[best].leader == w.leader && c.owned(p) > c.owned(best):
			best = p
		}
	}
	return best, best >= 0
}
