package strategy_test

import (
	"reflect"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

// A partition too heavy for the band sits alone, at home if it may, and the
// others share the rest evenly.
func TestGiantSitsAlone(t *testing.T) {
	list := partitions(1_000, func(i int) int64 {
		if i == 77 {
			return 100_000
		}
		return int64(5 + i%10)
	})
	ring := assign(t, strategy.NewConsistentHash(strategy.WithLoadBand(0)), workers(10), list)
	got := assign(t, strategy.NewConsistentHash(), workers(10), list)
	var rest []int64
	for _, id := range workers(10) {
		var load int64
		for _, p := range got[id] {
			if load += p.Weight; p.Weight != 100_000 {
				continue
			}
			if len(got[id]) != 1 {
				t.Errorf("%s has %d partitions beside the giant", id, len(got[id])-1)
			}
			home := false
			for _, q := range ring[id] {
				home = home || q.Weight == p.Weight
			}
			if !home {
				t.Errorf("the giant is at %s, which is not its home", id)
			}
		}
		if load < 100_000 {
			rest = append(rest, load)
		}
	}
	if off := plan.Imbalance(rest, nil); len(rest) != 9 || off > 0.0201 {
		t.Errorf("the others have %v: imbalance %.4f", rest, off)
	}
}

// Two giants of one worker part, and the heavier stays.
func TestTheHeavierGiantStays(t *testing.T) {
	list := []parti.Partition{
		{Keys: []string{"giant", "a"}, Weight: 1_000},
		{Keys: []string{"giant", "b"}, Weight: 900},
		{Keys: []string{"c"}, Weight: 10},
		{Keys: []string{"d"}, Weight: 10},
	}
	in := parti.RebalanceInput{
		Workers:    []parti.WorkerInfo{{ID: "w0", Capacity: 1}, {ID: "w1", Capacity: 1}, {ID: "w2", Capacity: 1}},
		Partitions: list, PrevWorkers: []string{"w1"}, PrevOwner: []int32{0, 0, 0, 0},
	}
	got, err := strategy.NewConsistentHash().Rebalance(in)
	if err != nil {
		t.Fatal(err)
	}
	if len(got["w1"]) != 1 || got["w1"][0].Weight != 1_000 {
		t.Errorf("w1 has %v, want the heavier giant alone", got["w1"])
	}
}

func TestNobodyLeftIsAColdStart(t *testing.T) {
	list := partitions(500, even)
	in := parti.RebalanceInput{Partitions: list, PrevWorkers: []string{"gone"}, PrevOwner: make([]int32, len(list))}
	for _, id := range workers(5) {
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: 1})
	}
	for name, s := range all() {
		got, err := s.Rebalance(in)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, assign(t, s, workers(5), list)) {
			t.Errorf("%s: when all previous owners are gone, the plan is not that of a cold start", name)
		}
	}
}

// A giant whose owner is gone goes home.
func TestGiantWithoutOwnerGoesHome(t *testing.T) {
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		giant := parti.Partition{Keys: []string{key}, Weight: 1_000}
		in := parti.RebalanceInput{
			Partitions:  []parti.Partition{giant, {Keys: []string{"light"}, Weight: 10}},
			PrevWorkers: []string{"worker-0"}, PrevOwner: []int32{plan.None, 0},
		}
		for _, id := range workers(3) {
			in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: 1})
		}
		got, err := strategy.NewConsistentHash().Rebalance(in)
		if err != nil {
			t.Fatal(err)
		}
		ring := assign(t, strategy.NewConsistentHash(strategy.WithLoadBand(0)), workers(3), in.Partitions[:1])
		for id, mine := range ring {
			if len(mine) == 1 && (len(got[id]) == 0 || got[id][0].Weight != 1_000) {
				t.Errorf("giant %q is not at its home %s: %v", key, id, got)
			}
		}
	}
}

// Heavy partitions among many light ones: what is light makes room for what is
// heavy.
func TestHeavyAmongManyLight(t *testing.T) {
	for seed := range uint64(12) {
		tr := newTrial(t, strategy.NewConsistentHash(), 500+seed, 1_000, 10, zipf)
		tr.leave(1)
		tr.join()
		tr.join()
		if b := tr.busiest(); b > 1.0201 {
			t.Errorf("seed %d: the busiest worker has %.4f of the level", seed, b)
		}
	}
}

// A join moves hardly more than the lower bound, even in a small fleet with
// uneven weights.
func TestJoinMovesTheLowerBound(t *testing.T) {
	var moved, least int64
	for seed := range uint64(10) {
		tr := newTrial(t, strategy.NewConsistentHash(), goalSeed+seed, 6_400, 64, lognormal)
		low, high := plan.Band(tr.total(), 65, nil, 0.02)
		loads := append(plan.Loads(tr.owners, tr.weights, 64), 0)
		least += plan.LowerBound(loads, low, high, 0, 0)
		moved += tr.join()
	}
	t.Logf("moved %.4f of the lower bound", float64(moved)/float64(least))
	if float64(moved) > 1.005*float64(least) {
		t.Errorf("moved %.4f of the lower bound, want at most 1.005", float64(moved)/float64(least))
	}
}
