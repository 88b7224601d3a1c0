package fleet

import (
	"maps"
	"slices"
)

// Coverage follows who owns what, as the workers report it. Workers are told
// apart by process: a new process may have the id of one that is gone.
type Coverage struct {
	Alive map[int]WorkerState // process -> what is known of it
	// Moves counts partitions that came to a worker of another id than before.
	Moves int

	total  int
	owners map[string]int    // partition -> process that owns it now
	lastID map[string]string // partition -> worker id that owned it last
}

// WorkerState is what is known of a process that lives.
type WorkerState struct {
	ID     string
	Leader bool
	Ready  bool // Start has returned
}

// NewCoverage returns one of total partitions that nobody owns.
func NewCoverage(total int) *Coverage {
	return &Coverage{
		total:  total,
		owners: make(map[string]int),
		lastID: make(map[string]string),
		Alive:  make(map[int]WorkerState),
	}
}

// Seen notes a live process.
func (c *Coverage) Seen(proc int) { c.Alive[proc] = WorkerState{} }

// Is notes what a live process says of itself.
func (c *Coverage) Is(proc int, set func(*WorkerState)) {
	if w, ok := c.Alive[proc]; ok {
		set(&w)
		c.Alive[proc] = w
	}
}

// Change notes that a process took over and gave up partitions. What a process
// that is gone had still to say is ignored. The reports of two processes may
// come in any order: who takes over may be heard before who gave up.
func (c *Coverage) Change(proc int, id string, added, removed []string) {
	if _, ok := c.Alive[proc]; !ok {
		return
	}
	for _, p := range removed {
		if owner, ok := c.owners[p]; ok && owner == proc {
			delete(c.owners, p)
		}
	}
	for _, p := range added {
		if last, ok := c.lastID[p]; ok && last != id {
			c.Moves++
		}
		c.owners[p], c.lastID[p] = proc, id
	}
}

// Gone notes the end of a process; what it owned is nobody's.
func (c *Coverage) Gone(proc int) {
	delete(c.Alive, proc)
	maps.DeleteFunc(c.owners, func(_ string, owner int) bool { return owner == proc })
}

// Full reports whether every partition has a live owner.
func (c *Coverage) Full() bool { return len(c.owners) == c.total }

// Owned is how many partitions a process owns.
func (c *Coverage) Owned(proc int) int {
	n := 0
	for _, owner := range c.owners {
		if owner == proc {
			n++
		}
	}
	return n
}

// Ready is how many processes have started.
func (c *Coverage) Ready() int {
	n := 0
	for _, w := range c.Alive {
		if w.Ready {
			n++
		}
	}
	return n
}

// Victim returns the follower that owns most, or the leader when that is wanted
// or it is alone.
func (c *Coverage) Victim(leader bool) (proc int, ok bool) {
	best := -1
	for _, p := range slices.Sorted(maps.Keys(c.Alive)) {
		switch w := c.Alive[p]; {
		case !w.Ready:
		case best < 0,
			c.Alive[best].Leader != w.Leader && w.Leader == leader,
			c.Alive[best].Leader == w.Leader && c.Owned(p) > c.Owned(best):
			best = p
		}
	}
	return best, best >= 0
}

// Leader returns the process that leads, if one does.
func (c *Coverage) Leader() (proc int, ok bool) {
	for n, w := range c.Alive {
		if w.Leader {
			return n, true
		}
	}
	return 0, false
}

// Missing is how many partitions have no live owner.
func (c *Coverage) Missing() int { return c.total - len(c.owners) }

// Idle is how many live processes own nothing.
func (c *Coverage) Idle() int {
	busy := make(map[int]bool, len(c.Alive))
	for _, proc := range c.owners {
		busy[proc] = true
	}
	return len(c.Alive) - len(busy)
}
