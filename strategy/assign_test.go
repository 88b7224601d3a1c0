package strategy_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

func workers(n int) []string {
	w := make([]string, n)
	for i := range w {
		w[i] = fmt.Sprintf("worker-%d", i)
	}
	return w
}

func partitions(n int, weight func(i int) int64) []parti.Partition {
	p := make([]parti.Partition, n)
	for i := range p {
		p[i] = parti.Partition{Keys: []string{fmt.Sprintf("topic%d", i%7), fmt.Sprintf("p%d", i)}, Weight: weight(i)}
	}
	return p
}

func even(int) int64 { return 0 }

// all returns one of each strategy by name.
func all() map[string]interface {
	parti.AssignmentStrategy
	parti.Rebalancer
} {
	return map[string]interface {
		parti.AssignmentStrategy
		parti.Rebalancer
	}{
		"consistent hash": strategy.NewConsistentHash(),
		"plain ring":      strategy.NewConsistentHash(strategy.WithLoadBand(0)),
		"round robin":     strategy.NewRoundRobin(),
		"sticky":          strategy.Sticky(strategy.NewRoundRobin()),
	}
}

func TestAssignPlacesEveryPartitionOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, s := range all() {
		for _, n := range []int{0, 1, 2, 7, 100, 3000} {
			parts := partitions(n, func(int) int64 { return rng.Int64N(1000) - 10 })
			got, err := s.Assign(workers(7), parts)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkComplete(t, name, workers(7), parts, got)
		}
	}
}

func checkComplete(t *testing.T, name string, workers []string, parts []parti.Partition, got map[string][]parti.Partition) {
	t.Helper()
	seen := make(map[string]int64)
	for _, w := range workers {
		for _, p := range got[w] {
			if _, ok := seen[p.ID()]; ok {
				t.Fatalf("%s: %v is assigned twice", name, p)
			}
			seen[p.ID()] = p.Weight
		}
	}
	for _, p := range parts {
		if w, ok := seen[p.ID()]; !ok || w != p.Weight {
			t.Fatalf("%s: %v is lost or has another weight", name, p)
		}
	}
	if len(seen) != len(parts) || len(got) != len(workers) {
		t.Fatalf("%s: %d partitions and %d workers, want %d and %d", name, len(seen), len(got), len(parts), len(workers))
	}
}

func TestShuffledInputGivesTheSameResult(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for name, s := range all() {
		parts := partitions(2000, func(int) int64 { return 1 + rng.Int64N(300) })
		ws := workers(9)
		want, err := s.Assign(ws, parts)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
			rng.Shuffle(len(ws), func(i, j int) { ws[i], ws[j] = ws[j], ws[i] })
			got, err := s.Assign(ws, parts)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s: another order of the input gave another result", name)
			}
		}
	}
}
