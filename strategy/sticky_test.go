package strategy_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

type strategyFunc func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error)

func (f strategyFunc) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	return f(workers, partitions)
}

// modulo is the custom strategy of the guide.
var modulo = strategyFunc(func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	out := make(map[string][]parti.Partition)
	for i, p := range partitions {
		id := workers[i%len(workers)]
		out[id] = append(out[id], p)
	}
	return out, nil
})

func TestStickyMakesAnyStrategyMoveLittle(t *testing.T) {
	tr := newTrial(t, strategy.Sticky(modulo), 91, 6_000, 10, uniform)
	share := float64(tr.total()) / 11
	if moved := float64(tr.join()); moved > share {
		t.Errorf("a join moved %.3f of the newcomer's share, want at most 1", moved/share)
	}
	moved, had := tr.leave(3)
	if float64(moved) > 1.005*float64(had) {
		t.Errorf("a leave moved %.3f of the leaver's load, want at most 1.005", float64(moved)/float64(had))
	}
	if b := tr.busiest(); b > 1.0201 {
		t.Errorf("the busiest worker has %.4f of the level", b)
	}
}

// What the inner strategy calls home is where partitions go when there is room.
func TestStickyUsesTheInnerStrategyAsHome(t *testing.T) {
	tr := newTrial(t, strategy.Sticky(modulo), 92, 1_000, 10, equal)
	inner := tr.owners
	plainly, err := modulo(tr.workers, tr.parts)
	if err != nil {
		t.Fatal(err)
	}
	if len(plainly["worker-0"]) != 100 || plan.Imbalance(plan.Loads(inner, tr.weights, 10), nil) != 0 {
		t.Errorf("an even home was not kept: %v", plan.Loads(inner, tr.weights, 10))
	}
	lopsided := strategyFunc(func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
		return map[string][]parti.Partition{workers[1]: partitions}, nil
	})
	tr = newTrial(t, strategy.Sticky(lopsided), 92, 1_000, 2, equal)
	if l := plan.Loads(tr.owners, tr.weights, 2); l[1] <= l[0] {
		t.Errorf("loads %v: want the home to keep as much as it may", l)
	}
}

func TestStickyKeepsTheUpgrade(t *testing.T) {
	var s parti.AssignmentStrategy = strategy.Sticky(strategy.Sticky(strategy.NewConsistentHash()))
	if _, ok := s.(parti.Rebalancer); !ok {
		t.Error("a wrapper of a wrapper is no Rebalancer")
	}
}

func TestStickyGivesTheInnerStrategyItsOwnLists(t *testing.T) {
	vandal := strategyFunc(func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
		out := map[string][]parti.Partition{workers[0]: slices.Clone(partitions)}
		clear(workers)
		clear(partitions)
		return out, nil
	})
	list := partitions(100, even)
	checkComplete(t, "sticky", workers(3), list, assign(t, strategy.Sticky(vandal), workers(3), list))
}

func TestStickyRefusesABadInnerStrategy(t *testing.T) {
	boom := errors.New("boom")
	answer := func(change func(map[string][]parti.Partition)) strategyFunc {
		return func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			out := map[string][]parti.Partition{workers[0]: slices.Clone(partitions)}
			change(out)
			return out, nil
		}
	}
	list := []parti.Partition{{Keys: []string{"a"}}}
	for _, c := range []struct {
		name  string
		inner parti.AssignmentStrategy
		want  string
	}{
		{"none", nil, "no strategy"},
		{"error", strategyFunc(func([]string, []parti.Partition) (map[string][]parti.Partition, error) { return nil, boom }), "boom"},
		{"lost", answer(func(m map[string][]parti.Partition) { m["worker-0"] = nil }), `lost partition "a"`},
		{"invented", answer(func(m map[string][]parti.Partition) {
			m["worker-0"] = append(m["worker-0"], parti.Partition{Keys: []string{"z"}})
		}), `invented partition "z"`},
		{"doubled", answer(func(m map[string][]parti.Partition) { m["worker-1"] = m["worker-0"] }), `partition "a" twice`},
		{"unknown worker", answer(func(m map[string][]parti.Partition) { m["y"], m["x"] = nil, nil }), `unknown worker "x"`},
	} {
		got, err := strategy.Sticky(c.inner).Assign(workers(2), list)
		if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
			t.Errorf("%s: got %v, %v; want an error with %s", c.name, got, err, c.want)
		}
		if c.name == "error" && !errors.Is(err, boom) {
			t.Errorf("the inner error cannot be matched: %v", err)
		}
	}
}
