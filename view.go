package parti

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// view is what the accessors of a manager show: never changed once published.
type view struct {
	snap    core.Snapshot
	held    *holding
	settled bool                 // held is the newest assignment that arrived
	runs    bool                 // updater and hook have been told of all that the newest assignment holds
	now     func() time.Duration // the clock of snap.LeaseEnd; nil without a run
}

// assignment answers Manager.CurrentAssignment with a copy for the caller to
// keep. A version that changed nothing for this worker counts as in force.
func (v *view) assignment() Assignment {
	h := v.held
	a := Assignment{Term: h.term, Version: h.version, Lifecycle: Lifecycle(h.lifecycle), Partitions: []Partition{}}
	a.Partitions = append(a.Partitions, h.partitions()...)
	if s := v.snap; v.settled && (Token{h.term, h.version}).Less(Token{s.Term, s.Version}) {
		a.Term, a.Version, a.Lifecycle = s.Term, s.Version, Lifecycle(s.Lifecycle)
	}
	if a.Lifecycle == "" { // nothing has arrived yet
		a.Lifecycle = Lifecycle(v.snap.Lifecycle)
	}
	return a
}

// lapsed tells whether the lease has ended, in a mode in which that matters.
func (v *view) lapsed() bool { return v.snap.LeaseEnd != 0 && v.now() >= v.snap.LeaseEnd }

// leased tells whether a worker in the Exclusive mode has a lease; without a run
// it has none.
func (v *view) leased() bool { return v.snap.LeaseEnd != 0 && !v.lapsed() }

// owns answers Manager.Owns.
func (v *view) owns(p Partition) (Token, bool) {
	if v.lapsed() {
		return Token{}, false
	}
	var room [96]byte
	t, ok := v.held.tokens()[string(appendID(room[:0], p))]
	return Token(t), ok
}

// appendID appends p.ID() without allocating in the common case.
func appendID(b []byte, p Partition) []byte {
	for i, k := range p.Keys {
		if i > 0 {
			b = append(b, '.')
		}
		b = append(b, escapeKey(k)...)
	}
	return b
}

// board holds the view. Two write it: the loop, as the core decides, and the
// applier, as assignments come into force; anybody reads it.
//
// What a worker loses leaves the view as soon as the assignment without it
// arrives, even while an earlier one is still being applied: from then on
// [Manager.Owns] says no. What it gains enters when its turn to be applied has
// come, before the updater is called, because the consumer that the updater
// sets up may handle a message, and ask Owns, before the updater returns. Both
// are safe: the grant was committed before, and nobody else gets what was lost
// until the worker has acknowledged.
type board struct {
	mu      sync.Mutex
	current atomic.Pointer[view]
	newest  *holding // the assignment that arrived last
	done    *holding // the one that updater and hook were told last
}

func newBoard() *board {
	b := &board{}
	b.reset(core.Snapshot{})
	return b
}

func (b *board) load() *view { return b.current.Load() }

// reset shows a worker that holds nothing.
func (b *board) reset(s core.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.newest, b.done = &holding{}, &holding{}
	b.current.Store(&view{snap: s, held: b.newest, settled: true, runs: true})
}

// arrive shows what the core says now. a is the assignment that came with it,
// or nil if none did.
func (b *board) arrive(s core.Snapshot, a *application, now func() time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.current.Load()
	next := view{snap: s, held: v.held, settled: v.settled, runs: v.runs, now: now}
	if a != nil {
		b.newest = a.held
		next.held, next.settled = v.held.within(a.held), false
		next.runs = b.done.covers(b.newest)
	} else if s == v.snap {
		return
	}
	b.current.Store(&next)
}

// apply shows h, but for what newer assignments that arrived took away again.
func (b *board) apply(h *holding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	v := *b.current.Load()
	if v.settled = h == b.newest; !v.settled {
		h = h.within(b.newest)
	}
	v.held = h
	b.current.Store(&v)
}

// applied notes that updater and hook were told h.
func (b *board) applied(h *holding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = h
	v := *b.current.Load()
	v.runs = h.covers(b.newest)
	b.current.Store(&v)
}

// holding is an assignment of this worker, never changed.
type holding struct {
	term, version uint64
	lifecycle     string
	owned         []core.Owned // ascending ids

	// What only some users ask for is made when it is first asked for, since it
	// takes more memory than all the rest.
	listOnce  sync.Once
	list      []Partition
	indexOnce sync.Once
	index     map[string]core.Token
}

// newHolding builds the holding of an assignment, and returns the ids that
// cannot be read, which it leaves out. What the core holds is shared, since it
// never changes that.
func newHolding(prev *holding, a core.Apply) (h *holding, bad []string) {
	h = &holding{term: a.Term, version: a.Version, lifecycle: a.Lifecycle, owned: a.Owned}
	at := 0 // both are sorted
	for _, o := range a.Owned {
		if at = prev.from(at, o.ID); prev.is(at, o.ID) {
			continue
		}
		if _, err := partitionFromID(o.ID, o.Weight); err != nil {
			bad = append(bad, o.ID)
		}
	}
	if len(bad) > 0 {
		h.owned = slices.DeleteFunc(slices.Clone(a.Owned), func(o core.Owned) bool { return slices.Contains(bad, o.ID) })
	}
	return h, bad
}

// partitionOf is a partition of a holding as users see it.
func partitionOf(o core.Owned) Partition {
	p, _ := partitionFromID(o.ID, o.Weight) // newHolding has read it before
	return p
}

// partitions returns all, as users see them, not to be changed.
func (h *holding) partitions() []Partition {
	h.listOnce.Do(func() {
		h.list = make([]Partition, len(h.owned))
		for i, o := range h.owned {
			h.list[i] = partitionOf(o)
		}
	})
	return h.list
}

// find returns the place of an id.
func (h *holding) find(id string) (int, bool) {
	return slices.BinarySearchFunc(h.owned, id, func(o core.Owned, id string) int { return cmp.Compare(o.ID, id) })
}

// from returns the first place, not before at, of an id that is not less than id.
func (h *holding) from(at int, id string) int {
	for at < len(h.owned) && h.owned[at].ID < id {
		at++
	}
	return at
}

// is tells whether an id has a place.
func (h *holding) is(at int, id string) bool { return at < len(h.owned) && h.owned[at].ID == id }

// within returns h without what newer does not hold. What both hold is taken
// from newer, whose tokens count; the version stays, since newer is not in
// force yet.
func (h *holding) within(newer *holding) *holding {
	r := &holding{term: h.term, version: h.version, lifecycle: h.lifecycle}
	at := 0
	for _, o := range newer.owned {
		if at = h.from(at, o.ID); h.is(at, o.ID) {
			r.owned = append(r.owned, o)
		}
	}
	return r
}

// covers tells whether h has every partition of other.
func (h *holding) covers(other *holding) bool {
	at := 0
	for _, o := range other.owned {
		if at = h.from(at, o.ID); !h.is(at, o.ID) {
			return false
		}
	}
	return true
}

// weight is that of all partitions.
func (h *holding) weight() int64 {
	var w int64
	for _, o := range h.owned {
		w += o.Weight
	}
	return w
}

// tokens returns the token of each id.
func (h *holding) tokens() map[string]core.Token {
	h.indexOnce.Do(func() {
		h.index = make(map[string]core.Token, len(h.owned))
		for _, o := range h.owned {
			h.index[o.ID] = o.Token
		}
	})
	return h.index
}

// diff returns what h has and prev has not, and the other way round, each in
// ascending order of ids. Weights and tokens do not count.
func (h *holding) diff(prev *holding) (added, removed []Partition) {
	return h.minus(prev), prev.minus(h)
}

func (h *holding) minus(other *holding) []Partition {
	var ps []Partition
	at := 0
	for _, o := range h.owned {
		if at = other.from(at, o.ID); !other.is(at, o.ID) {
			ps = append(ps, partitionOf(o))
		}
	}
	return ps
}
