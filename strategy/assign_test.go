package strategy_test

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

func TestAssignPlacesEveryPartitionOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, s := range all() {
		for _, n := range []int{0, 1, 2, 7, 100, 3000} {
			parts := partitions(n, func(int) int64 { return max(0, rng.Int64N(1000)-10) })
			got, err := s.Assign(workers(7), parts)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkComplete(t, name, workers(7), parts, got)
		}
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
