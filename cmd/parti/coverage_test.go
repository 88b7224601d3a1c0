package main

import "testing"

func TestCoverage(t *testing.T) {
	c := newCoverage(3)
	check := func(when string, full bool, moves int) {
		t.Helper()
		if c.full() != full || c.moves != moves {
			t.Errorf("%s: full %v, moves %d; want %v, %d", when, c.full(), c.moves, full, moves)
		}
	}
	c.seen(1)
	c.seen(2)
	c.change(1, "w-0", []string{"a", "b"}, nil)
	check("two of three", false, 0)
	c.change(2, "w-1", []string{"c"}, nil)
	check("all", true, 0)

	c.change(1, "w-0", nil, []string{"b"})
	check("given up", false, 0)
	c.change(2, "w-1", []string{"b"}, nil)
	check("handed over", true, 1)

	c.gone(2)
	check("killed", false, 1)
	c.change(2, "w-1", []string{"b", "c"}, nil)
	check("what a dead one had still to say", false, 1)
	c.change(1, "w-0", []string{"b"}, nil)
	check("one taken over", false, 2)

	c.seen(3)
	c.change(3, "w-1", []string{"c"}, nil)
	check("back under the same id is no move", true, 2)

	c.change(3, "w-1", []string{"a"}, nil)
	check("heard before the former owner", true, 3)
	c.change(1, "w-0", nil, []string{"a"})
	check("the former owner", true, 3)
}

func TestVictim(t *testing.T) {
	c := newCoverage(4)
	if _, ok := c.victim(false); ok {
		t.Error("a victim of nobody")
	}
	c.seen(1)
	if _, ok := c.victim(false); ok {
		t.Error("a victim that has not started")
	}
	ready := func(leader bool) func(*workerState) {
		return func(w *workerState) { w.ready, w.leader = true, leader }
	}
	c.is(1, ready(true))
	if n, ok := c.victim(false); !ok || n != 1 {
		t.Errorf("victim %d, %v: the leader when it is alone", n, ok)
	}
	for n := 2; n <= 4; n++ {
		c.seen(n)
		c.is(n, ready(false))
	}
	c.is(9, ready(false)) // not alive
	c.change(1, "a", []string{"p", "q"}, nil)
	c.change(3, "c", []string{"r"}, nil)
	if n, ok := c.victim(false); !ok || n != 3 {
		t.Errorf("victim %d, %v: the follower that owns most", n, ok)
	}
	if n, ok := c.victim(true); !ok || n != 1 {
		t.Errorf("victim %d, %v: the leader when it is wanted", n, ok)
	}
	if c.ready() != 4 || c.owned(1) != 2 {
		t.Errorf("ready %d, owned %d", c.ready(), c.owned(1))
	}
}
