package core

import (
	"maps"
	"slices"
	"time"
)

// table is who owns each partition now, who is to own it next, and who may
// still be working on it. A partition that moves from A to B is first taken from
// A's payload and listed as draining there; when A says that it has applied that
// commit, or is dead, B is granted it with a new token. In between nobody is.
type table struct {
	list  *List
	owner []int32 // seat that is granted the partition; -1 = nobody
	next  []int32 // seat that is to have it; the owner's own while nothing moves
	token []Token // of the grant
	// holders may still be working on a partition without being granted it.
	holders map[int32][]holding
	// awaited are the different ones among the holders, as releaseHolders saw them
	// last; nil when some were added since.
	awaited map[holding]struct{}
	idle    map[int32]gap // since when a partition has no owner
	// gone are partitions that left the list and are still held.
	gone map[string]goneEntry

	seats  []*seat // nil = free
	byName map[string]int32
	// repaired: the roster is made of the present seats and members.
	repaired bool
	open     bool  // some partition may have a next owner and no owner
	searched int32 // no partition before this one waits for its grant only
	now      time.Duration
}

// holding is one possible holder of a partition that it is no longer granted.
type holding struct {
	worker  string
	inc     string
	release version       // let go once the holder has applied this
	since   time.Duration // on this leader's clock
	stuck   bool          // reported
}

type goneEntry struct {
	weight  int64
	holders []holding
}

// seat is a worker that the head names.
type seat struct {
	worker      string
	inc         string
	part, drain ref
	files       seatFiles // what its payload is made of
	away        bool      // left in good order, and may still come back
	awaySince   time.Duration
	awayFor     time.Duration
	owed        bool // a plan would have given it more, had it not been away
	vacant      bool // has let go of everything
	retired     bool // owns nothing any more; stays until its drain list is empty
	dirty       bool // its payload must be written
	drainDirty  bool // its drain list must be written
	// capacity is what the last plan reckoned with.
	capacity float64
}

func newTable() table {
	return table{list: &List{}, holders: map[int32][]holding{}, idle: map[int32]gap{}, gone: map[string]goneEntry{}, byName: map[string]int32{}}
}

func (t *table) seatOf(w string) *seat {
	if i, ok := t.byName[w]; ok {
		return t.seats[i]
	}
	return nil
}

// dropSeat frees a seat.
func (t *table) dropSeat(i int32) {
	delete(t.byName, t.seats[i].worker)
	t.seats[i], t.repaired = nil, false
}

func (t *table) haveSeats() bool { return len(t.byName) > 0 }

func (t *table) addSeat(w, inc string) int32 {
	i := int32(slices.Index(t.seats, nil))
	if i < 0 {
		i = int32(len(t.seats))
		t.seats = append(t.seats, nil)
	}
	t.seats[i] = &seat{worker: w, inc: inc, dirty: true, capacity: 1}
	t.byName[w] = i
	t.repaired = false
	return i
}

// previous returns the owners of the list's partitions as published: who has a
// partition, or is to have it.
func (t *table) previous(list *List) (workers []string, owner []int32) {
	if !t.haveSeats() {
		return nil, nil
	}
	index := make([]int32, len(t.seats))
	for i, s := range t.seats {
		index[i] = -1
		if s != nil {
			index[i] = int32(len(workers))
			workers = append(workers, s.worker)
		}
	}
	at := func(i int32) int32 {
		if s := t.next[i]; s >= 0 {
			return index[s]
		}
		return -1
	}
	owner = make([]int32, len(list.IDs))
	if list == t.list {
		for i := range owner {
			owner[i] = at(int32(i))
		}
		return workers, owner
	}
	old := t.index()
	for i, id := range list.IDs {
		owner[i] = -1
		if j, ok := old[id]; ok {
			owner[i] = at(j)
		}
	}
	return workers, owner
}

func (t *table) index() map[string]int32 {
	m := make(map[string]int32, len(t.list.IDs))
	for i, id := range t.list.IDs {
		m[id] = int32(i)
	}
	return m
}

// adoptList makes list the one that the table is about. Partitions that are no
// longer in it are taken from their owners.
func (t *table) adoptList(list *List, v Token) bool {
	if list == t.list {
		return false
	}
	old := t.index()
	was := *t
	n := len(list.IDs)
	t.list, t.searched = list, 0
	t.owner, t.next, t.token = make([]int32, n), make([]int32, n), make([]Token, n)
	t.holders, t.idle = map[int32][]holding{}, map[int32]gap{}
	moved := make(map[int32]int32, len(old)) // where the partitions of the old list are
	for i, id := range list.IDs {
		i := int32(i)
		t.owner[i], t.next[i] = -1, -1
		if g, ok := t.gone[id]; ok {
			t.holders[i] = g.holders
			delete(t.gone, id)
		}
		j, ok := old[id]
		if !ok {
			continue
		}
		delete(old, id)
		t.owner[i], t.next[i], t.token[i] = was.owner[j], was.next[j], was.token[j]
		if g, ok := was.idle[j]; ok {
			t.idle[i] = g
		}
		if h := was.holders[j]; h != nil {
			t.holders[i] = append(t.holders[i], h...)
		}
		moved[j] = i
		if s := t.owner[i]; s >= 0 && was.list.Weights[j] != list.Weights[i] {
			t.seats[s].dirty = true
			t.seats[s].files.touch(j)
		}
	}
	for id, j := range old {
		g := goneEntry{weight: was.list.Weights[j], holders: was.holders[j]}
		for _, h := range g.holders { // it is to go to nobody any more
			if st := t.seatOf(h.worker); st != nil {
				st.drainDirty = true
			}
		}
		if s := was.owner[j]; s >= 0 {
			t.seats[s].dirty = true
			t.seats[s].files.touch(j)
			if h, held := t.hold(s, v); held {
				g.holders = append(g.holders, h)
			}
		}
		if len(g.holders) > 0 {
			t.gone[id] = g
		}
	}
	for _, s := range t.seats {
		if s != nil {
			s.files.relist(was.list, moved)
		}
	}
	return true
}

// hold returns the entry for a seat that must let go of a partition, unless it
// already has.
func (t *table) hold(s int32, v Token) (holding, bool) {
	st := t.seats[s]
	if st.vacant {
		return holding{}, false
	}
	st.drainDirty = true
	t.awaited = nil
	return holding{worker: st.worker, inc: st.inc, release: version(v)}, true
}

// unassign takes a partition from its owner.
func (t *table) unassign(i int32, v Token) {
	s := t.owner[i]
	if s < 0 {
		return
	}
	t.seats[s].dirty = true
	t.seats[s].files.touch(i)
	t.owner[i] = -1
	t.opens(i)
	t.losesOwner(i, t.now, causeMove)
	if h, held := t.hold(s, v); held {
		t.holders[i] = append(t.holders[i], h)
	}
}

// retarget takes from their owners the partitions that are to go elsewhere. It
// counts those moved and those placed for the first time. No more than limit,
// unless that is 0, are taken from owners that stay; the rest is left for the
// next plan. A worker that is away gets nothing new: what would go there stays with its live owner, or goes to
// the least loaded live worker.
func (l *leader) retarget(owners []int32, workers []string, limit int, v Token) (moves, placed int) {
	seatIdx := make([]int32, len(workers))
	for k, w := range workers {
		seatIdx[k] = l.byName[w]
	}
	l.withheld, l.unfinished = false, false
	taken := 0
	load, doubtful := make([]int64, len(l.seats)), make([]bool, len(l.seats))
	for i, o := range owners {
		load[seatIdx[o]] += l.list.Weights[i]
	}
	for i, s := range l.seats {
		if s != nil {
			doubtful[i], s.owed = l.doubtful(int32(i)), false
		}
	}
	for k := range owners {
		i := int32(k)
		to := seatIdx[owners[k]]
		if doubtful[to] && l.next[i] != to {
			from := to
			if m := l.members[l.seats[to].worker]; m != nil && m.rec.Degraded {
				l.owes = true
			} else {
				l.seats[to].owed = l.seats[to].away
				l.withheld = l.withheld || !l.seats[to].away
			}
			if to = l.next[i]; to < 0 || l.seats[to] == nil || l.seats[to].retired || doubtful[to] {
				to = l.leastLoaded(load, seatIdx, from)
			}
			load[from] -= l.list.Weights[i]
			load[to] += l.list.Weights[i]
		}
		was := l.next[i]
		if was == to && (l.owner[i] == to || l.owner[i] < 0) {
			continue
		}
		if was >= 0 && l.seats[was] != nil && !l.seats[was].retired {
			if limit > 0 && taken == limit {
				l.unfinished = true
				continue
			}
			taken++
		}
		if was < 0 && l.owner[i] < 0 {
			placed++
		} else {
			moves++
		}
		if l.owner[i] != to {
			l.unassign(i, v)
		}
		if len(l.holders[i]) > 0 {
			for _, h := range l.holders[i] { // the drain lists name the next owner
				if s := l.seatOf(h.worker); s != nil {
					s.drainDirty = true
				}
			}
		}
		l.next[i] = to
		l.opens(i)
	}
	return moves, placed
}

// leastLoaded returns the live seat with the least weight for its capacity; the
// lowest name wins a tie. Without any it returns def.
func (l *leader) leastLoaded(load []int64, among []int32, def int32) int32 {
	best := int32(-1)
	for _, s := range among {
		if l.doubtful(s) || l.seats[s].capacity <= 0 {
			continue
		}
		if best < 0 || float64(load[s])*l.seats[best].capacity < float64(load[best])*l.seats[s].capacity {
			best = s
		}
	}
	if best < 0 {
		return def
	}
	return best
}

// retire ends a seat: what it owned is taken from it. A dead worker lets go of
// everything by its death.
func (l *leader) retire(s *seat, v Token) bool {
	if m := l.members[s.worker]; m == nil || m.dead || m.inc != s.inc {
		s.vacant = true
	}
	was, lost := s.retired, l.takenFrom(s)
	s.retired, s.away = true, false
	i := l.byName[s.worker]
	for p := range l.owner {
		if l.owner[p] == i {
			l.losesOwner(int32(p), lost.since, lost.cause)
			l.unassign(int32(p), v)
		}
	}
	return !was
}

// draining tells whether any partition is still waited for.
func (t *table) draining() bool { return len(t.holders) > 0 }

// opens notes that a partition may have a next owner and no owner.
func (t *table) opens(i int32) { t.open, t.searched = true, min(t.searched, i) }

func (t *table) anyReady() bool {
	if !t.open {
		return false
	}
	for n := int32(len(t.owner)); t.searched < n; t.searched++ {
		if i := t.searched; t.owner[i] < 0 && t.next[i] >= 0 && t.holders[i] == nil {
			return true
		}
	}
	return false
}

// grantReady gives what waits for nobody to its next owner, and returns since when
// each of these had none.
func (t *table) grantReady(v Token) (got []gap) {
	t.open, t.searched = false, 0
	for k := range t.owner {
		i := int32(k)
		to := t.next[i]
		if t.owner[i] >= 0 || to < 0 {
			continue
		}
		if s := t.seats[to]; t.holders[i] != nil || s == nil || s.retired {
			t.open = true
			continue
		}
		t.owner[i], t.token[i] = to, v
		t.seats[to].dirty = true
		if g, ok := t.idle[i]; ok {
			got = append(got, g)
			delete(t.idle, i)
		}
		t.seats[to].files.touch(i)
	}
	if len(t.idle) == 0 {
		t.idle = map[int32]gap{} // a large one gives back its memory
	}
	return got
}

// drainList builds the list of what a seat may still hold.
func (t *table) drainList(w string) drainRecord {
	rec := drainRecord{formatted: ours}
	add := func(id string, weight int64, next int32, hs []holding) {
		for _, h := range hs {
			if h.worker == w {
				e := drainEntry{ID: id, Weight: weight, Inc: h.inc, Release: h.release}
				if next >= 0 && t.seats[next] != nil {
					e.Next = t.seats[next].worker
				}
				rec.Items = append(rec.Items, e)
			}
		}
	}
	for _, i := range slices.Sorted(maps.Keys(t.holders)) {
		next := t.next[i]
		if t.owner[i] >= 0 { // it was held twice, and is where it stays
			next = -1
		}
		add(t.list.IDs[i], t.list.Weights[i], next, t.holders[i])
	}
	for _, id := range slices.Sorted(maps.Keys(t.gone)) {
		add(id, t.gone[id].weight, -1, t.gone[id].holders)
	}
	return rec
}
