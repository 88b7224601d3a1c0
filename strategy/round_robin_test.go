package strategy_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

func TestRoundRobinDealsInOrderOfKeys(t *testing.T) {
	var list []parti.Partition
	for _, k := range []string{"d", "b", "e", "a", "c"} {
		list = append(list, parti.Partition{Keys: []string{k}})
	}
	got := assign(t, strategy.NewRoundRobin(), []string{"w1", "w0"}, list)
	if s := fmt.Sprint(got); s != "map[w0:[a c e] w1:[b d]]" {
		t.Errorf("got %s, want w0 to have a, c and e", s)
	}
}

// The numbers differ by one at most, and no plan with that property moves fewer.
func TestRoundRobinIsEvenWithTheFewestMoves(t *testing.T) {
	rng := rand.New(rand.NewPCG(81, 82))
	for range 500 {
		w := 1 + rng.IntN(9)
		tr := newTrial(t, strategy.NewRoundRobin(), rng.Uint64(), rng.IntN(200), w, func(*rand.Rand) int64 { return 1 })
		prev := tr.owners
		for i := range prev {
			prev[i] = int32(rng.IntN(w+1)) - 1
		}
		held := plan.Loads(prev, tr.weights, w)
		moved := tr.plan(tr.workers, prev)
		now := plan.Loads(tr.owners, tr.weights, w)
		n := int64(len(prev))
		floor, extra := n/int64(w), n%int64(w)
		// Every worker can keep floor, and extra of them one more.
		var least int64
		for i, l := range now {
			if l != floor && l != floor+1 {
				t.Fatalf("%v: want %d or %d each", now, floor, floor+1)
			}
			keep := min(held[i], floor)
			if held[i] > floor && extra > 0 {
				keep++
				extra--
			}
			least += held[i] - keep
		}
		if moved != least {
			t.Fatalf("%d partitions moved from %v to %v, want %d", moved, held, now, least)
		}
	}
}

func TestRoundRobinOneMoreWorker(t *testing.T) {
	tr := newTrial(t, strategy.NewRoundRobin(), 83, 600, 5, func(*rand.Rand) int64 { return 1 })
	if moved := tr.join(); moved != 100 {
		t.Errorf("a sixth worker moved %d of 600 partitions, want 100", moved)
	}
}
