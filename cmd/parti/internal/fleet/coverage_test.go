package fleet

import "testing"

func TestCoverage(t *testing.T) {
	c := NewCoverage(3)
	check := func(when string, full bool, moves int) {
		t.Helper()
		if c.Full() != full || c.Moves != moves {
			t.Errorf("%s: full %v, moves %d; want %v, %d", when, c.Full(), c.Moves, full, moves)
		}
	}
	c.Seen(1)
	c.Seen(2)
	c.Change(1, "w-0", []string{"a", "b"}, nil)
	check("two of three", false, 0)
	c.Change(2, "w-1", []string{"c"}, nil)
	check("all", true, 0)

	c.Change(1, "w-0", nil, []string{"b"})
	check("given up", false, 0)
	c.Change(2, "w-1", []string{"b"}, nil)
	check("handed over", true, 1)

	if _, led := c.Leader(); led || c.Missing() != 0 || c.Idle() != 0 {
		t.Errorf("led %v, %d missing, %d idle", led, c.Missing(), c.Idle())
	}
	c.Is(2, func(w *WorkerState) { w.Leader = true })
	if n, led := c.Leader(); !led || n != 2 {
		t.Errorf("%d leads, %v", n, led)
	}
	c.Gone(2)
	check("killed", false, 1)
	if _, led := c.Leader(); led || c.Missing() != 2 || c.Idle() != 0 {
		t.Errorf("led %v, %d missing, %d idle", led, c.Missing(), c.Idle())
	}
	c.Change(2, "w-1", []string{"b", "c"}, nil)
	check("what a dead one had still to say", false, 1)
	c.Change(1, "w-0", []string{"b"}, nil)
	check("one taken over", false, 2)

	c.Seen(3)
	c.Change(3, "w-1", []string{"c"}, nil)
	check("back under the same id is no move", true, 2)

	c.Change(3, "w-1", []string{"a"}, nil)
	check("heard before the former owner", true, 3)
	c.Change(1, "w-0", nil, []string{"a"})
	check("the former owner", true, 3)
}

func TestVictim(t *testing.T) {
	c := NewCoverage(4)
	if _, ok := c.Victim(false); ok {
		t.Error("a victim of nobody")
	}
	c.Seen(1)
	if _, ok := c.Victim(false); ok {
		t.Error("a victim that has not started")
	}
	ready := func(leader bool) func(*WorkerState) {
		return func(w *WorkerState) { w.Ready, w.Leader = true, leader }
	}
	c.Is(1, ready(true))
	if n, ok := c.Victim(false); !ok || n != 1 {
		t.Errorf("victim %d, %v: the leader when it is alone", n, ok)
	}
	for n := 2; n <= 4; n++ {
		c.Seen(n)
		c.Is(n, ready(false))
	}
	c.Is(9, ready(false)) // not alive
	c.Change(1, "a", []string{"p", "q"}, nil)
	c.Change(3, "c", []string{"r"}, nil)
	if n, ok := c.Victim(false); !ok || n != 3 {
		t.Errorf("victim %d, %v: the follower that owns most", n, ok)
	}
	if n, ok := c.Victim(true); !ok || n != 1 {
		t.Errorf("victim %d, %v: the leader when it is wanted", n, ok)
	}
	if c.Ready() != 4 || c.Owned(1) != 2 {
		t.Errorf("ready %d, owned %d", c.Ready(), c.Owned(1))
	}
}
