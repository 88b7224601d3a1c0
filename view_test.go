package parti

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

func holdingOf(version uint64, ids ...string) *holding {
	h, _ := newHolding(&holding{}, core.Apply{Version: version, Owned: owned(ids...)})
	return h
}

func TestOwnsEndsWithTheLease(t *testing.T) {
	now := time.Second
	v := view{held: holdingOf(1, "a.1%2E"), now: func() time.Duration { return now }}
	v.snap.LeaseEnd = 2 * time.Second
	p := Partition{Keys: []string{"a", "1."}}
	if tok, ok := v.owns(p); !ok || tok != (Token{1, 1}) {
		t.Errorf("%v %v", tok, ok)
	}
	now = 2 * time.Second
	if tok, ok := v.owns(p); ok || !tok.IsZero() {
		t.Error("owns at the end of the lease")
	}
	v.snap.LeaseEnd = 0
	if _, ok := v.owns(p); !ok {
		t.Error("without a limit")
	}
	if _, ok := v.owns(Partition{Keys: []string{"a"}}); ok {
		t.Error("owns another one")
	}
}

func TestHoldingsCompare(t *testing.T) {
	h, prev := holdingOf(2, "a", "c", "d"), holdingOf(1, "b", "c")
	added, removed := h.diff(prev)
	if !slices.Equal(idsOf(added), []string{"a", "d"}) || !slices.Equal(idsOf(removed), []string{"b"}) {
		t.Errorf("+%v -%v", added, removed)
	}
	newer := holdingOf(3, "c", "e")
	newer.owned[0].Token = core.Token{Term: 9}
	w := h.within(newer)
	if w.version != 2 || !slices.Equal(idsOf(w.partitions()), []string{"c"}) || w.tokens()["c"].Term != 9 {
		t.Errorf("within: %+v", w)
	}
}

// TestHoldingMakesItsListWhenAskedFor: most workers of a large fleet are never
// asked, and the list takes more memory than what it is made of.
func TestHoldingMakesItsListWhenAskedFor(t *testing.T) {
	h, _ := newHolding(holdingOf(1, "a.x", "b.x"), core.Apply{Owned: owned("b.x", "c.x")})
	if h.list != nil || h.index != nil {
		t.Error("made unasked")
	}
	if got := h.partitions(); !slices.Equal(idsOf(got), []string{"b.x", "c.x"}) || &got[0] != &h.partitions()[0] {
		t.Errorf("list of %v, or made twice", idsOf(got))
	}
}

func TestCurrentAssignmentIsACopy(t *testing.T) {
	v := view{held: holdingOf(1, "a"), settled: true}
	v.assignment().Partitions[0] = Partition{Keys: []string{"changed"}}
	if got := v.assignment().Partitions[0].ID(); got != "a" {
		t.Errorf("got %s", got)
	}
	// A version that did not change this worker's share needs no application.
	v.snap.Version, v.snap.Lifecycle = 5, string(LifecycleStable)
	if a := v.assignment(); a.Version != 5 || a.Lifecycle != LifecycleStable {
		t.Errorf("%+v", a)
	}
	if v.settled = false; v.assignment().Version != 1 {
		t.Error("a version counts while its application waits")
	}
}

// TestALateApplicationTakesNothingBack: a newer assignment came between an
// application's turn and its start.
func TestALateApplicationTakesNothingBack(t *testing.T) {
	b := newBoard()
	older, newer := holdingOf(1, "a", "b"), holdingOf(2, "b", "c")
	b.arrive(core.Snapshot{}, &application{held: older}, nil)
	b.arrive(core.Snapshot{}, &application{held: newer}, nil)
	b.apply(older)
	if got := idsOf(b.load().held.partitions()); !slices.Equal(got, []string{"b"}) || b.load().settled {
		t.Errorf("shown: %v", got)
	}
	b.apply(newer)
	if got := idsOf(b.load().held.partitions()); !slices.Equal(got, []string{"b", "c"}) || !b.load().settled {
		t.Errorf("shown: %v", got)
	}
}

func TestOwnsDoesNotAllocate(t *testing.T) {
	var ids []string
	for i := range 1000 {
		ids = append(ids, fmt.Sprintf("topic.%04d", i))
	}
	b := newBoard()
	b.apply(holdingOf(1, ids...))
	p := Partition{Keys: []string{"topic", "0007"}}
	if n := testing.AllocsPerRun(100, func() { b.load().owns(p) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOwns(b *testing.B) {
	for _, lease := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprintf("lease=%v", lease), func(b *testing.B) {
			v := view{held: holdingOf(1, "topic.0007"), now: newClock(machineClocks()).now}
			v.snap.LeaseEnd = lease
			p := Partition{Keys: []string{"topic", "0007"}}
			b.ReportAllocs()
			for b.Loop() {
				v.owns(p)
			}
		})
	}
}
