package main

import (
	"testing"
	"time"

	"github.com/arloliu/parti"
)

func TestPauses(t *testing.T) {
	p := newPauses()
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	add := func(part int, worker string, version uint64, sent, stored int) {
		p.add(result{part: part, worker: worker, token: parti.Token{Version: version}, sent: at(sent), stored: at(stored)})
	}
	add(0, "a", 1, 0, 10)
	add(0, "a", 1, 5, 12)    // waited behind the first
	add(0, "a", 1, 100, 101) // nothing waited before
	add(0, "b", 2, 90, 121)  // moved
	add(1, "b", 1, 0, 10)
	p.killed("b")
	add(0, "b", 2, 0, 122) // it had counted that before it was killed
	add(1, "c", 3, 20, 520)
	add(1, "a", 4, 20, 525)
	for name, c := range map[string]struct {
		got  []time.Duration
		want string
	}{
		"others":   {p.others, "1.0 / 1.0 ms"},
		"moved":    {p.moved, "5.0 / 5.0 ms"},
		"orphaned": {p.orphaned, "500.0 / 500.0 ms"},
		"none":     {nil, "-"},
	} {
		if got := spread(c.got); got != c.want {
			t.Errorf("%s: %s of %v, want %s", name, got, c.got, c.want)
		}
	}
	if len(p.others) != 3 || len(p.moved) != 2 || len(p.orphaned) != 1 {
		t.Errorf("%v, %v, %v", p.others, p.moved, p.orphaned)
	}
}
