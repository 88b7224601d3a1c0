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
		{Keys: []string{"giant", "a"}, Weight: 1_000}, {Keys: []string{"giant", "b"}, Weight: 900},
		{Keys: []string{"c"}, Weight: 10}, {Keys: []string{"d"}, Weight: 10},
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
