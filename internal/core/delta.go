package core

import (
	"maps"
	"math"
	"slices"
)

// seatFiles is what the payload of a seat is made of: a base, and what was
// touched since. A delta says how everything touched since the base stands now,
// so that a reader needs the base and the latest delta only. When the deltas
// written on a base outweigh it, a new base is due: thus a payload costs at most
// about twice the bytes of its changes and its base together, however the
// changes come.
type seatFiles struct {
	base   ref
	size   int // bytes of the base
	deltas int // bytes of the deltas written on it
	// touched are partitions, by their place in the list, that were granted or
	// taken since the base; left are such as are not in the list any more.
	touched map[int32]struct{}
	left    []string
}

// outdate makes a new base due.
func (f *seatFiles) outdate() { f.deltas = math.MaxInt }

// due is how many bytes of deltas a base bears: about its own, and not the same for
// all, since a plan of a small fleet changes everybody, and all would be due at once.
func (f *seatFiles) due(s int32) int { return f.size + f.size*spreads[int(s)%len(spreads)]/8 }

var spreads = [...]int{0, 1, -3, 3, -1, 2, -2}

// touch notes that a partition of this seat is not as its base says.
func (f *seatFiles) touch(i int32) {
	if f.base.none() {
		return
	}
	if f.touched == nil {
		f.touched = map[int32]struct{}{}
	}
	f.touched[i] = struct{}{}
}

// relist follows a change of the list; moved has the new places of what stayed.
func (f *seatFiles) relist(old *List, moved map[int32]int32) {
	if len(f.touched) == 0 {
		return
	}
	was := f.touched
	f.touched = make(map[int32]struct{}, len(was))
	for _, j := range slices.Sorted(maps.Keys(was)) {
		if i, ok := moved[j]; ok {
			f.touched[i] = struct{}{}
		} else {
			f.left = append(f.left, old.IDs[j])
		}
	}
}

// loaded takes over what an earlier leader wrote.
func (f *seatFiles) loaded(g partRead, index map[string]int32) {
	*f = seatFiles{base: g.base.ref, size: g.base.size, deltas: g.deltaSize}
	touched := func(id string) {
		if i, ok := index[id]; ok {
			f.touch(i)
		} else {
			f.left = append(f.left, id)
		}
	}
	for _, id := range g.delta.Removed {
		touched(id)
	}
	for _, grants := range g.delta.Grants {
		for _, id := range grants.IDs {
			touched(id)
		}
	}
}

// delta returns how what was touched since the base of a seat stands now, unless
// a new base is due.
func (t *table) delta(s int32) (partRecord, bool) {
	f := &t.seats[s].files
	if f.base.none() || f.deltas > f.due(s) {
		return partRecord{}, false
	}
	rec := partRecord{formatted: ours, Inc: t.seats[s].inc, Base: f.base}
	g := grants{at: map[Token]int{}}
	for _, i := range slices.Sorted(maps.Keys(f.touched)) {
		if t.owner[i] == s {
			g.add(t, i)
		} else {
			rec.Removed = append(rec.Removed, t.list.IDs[i])
		}
	}
	rec.Removed = append(rec.Removed, f.left...)
	rec.Grants = g.lists
	return rec, true
}

// grants collects partitions by their tokens.
type grants struct {
	lists []grantList
	at    map[Token]int
}

func (g *grants) add(t *table, i int32) {
	k, ok := g.at[t.token[i]]
	if !ok {
		k = len(g.lists)
		g.at[t.token[i]] = k
		g.lists = append(g.lists, grantList{Term: t.token[i].Term, Version: t.token[i].Version})
	}
	l := &g.lists[k]
	l.IDs = append(l.IDs, t.list.IDs[i])
	l.Weights = append(l.Weights, t.list.Weights[i])
}

// shares are the partitions by the seats that own them.
type shares struct{ first, of []int32 } // those of seat s are of[first[s]:first[s+1]]

func (sh *shares) seat(s int32) []int32 { return sh.of[sh.first[s]:sh.first[s+1]] }

// base builds what a seat is granted, whole.
func (t *table) base(s int32, owned []int32) partRecord {
	rec := partRecord{formatted: ours, Inc: t.seats[s].inc}
	g := grants{at: map[Token]int{}}
	for _, i := range owned {
		g.add(t, i)
	}
	rec.Grants = g.lists
	return rec
}

func (t *table) bySeat() *shares {
	first := make([]int32, len(t.seats)+1)
	for _, s := range t.owner {
		if s >= 0 {
			first[s+1]++
		}
	}
	for s := range t.seats {
		first[s+1] += first[s]
	}
	at := slices.Clone(first)
	of := make([]int32, first[len(t.seats)])
	for i, s := range t.owner {
		if s >= 0 {
			of[at[s]] = int32(i)
			at[s]++
		}
	}
	return &shares{first, of}
}
