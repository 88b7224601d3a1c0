package strategy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arloliu/parti"
)

// What is fast is compared with a twin that is obvious.

func TestSortHashedTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for n := 0; n < 300; n += 3 {
		for _, mask := range []uint64{1<<64 - 1, 0xff00ffff, 0} { // spread, crowded, all alike
			list := make([]hashed, n*n/20)
			for i := range list {
				list[i] = newHashed(uint32(rng.Uint64()&mask), rng.IntN(1<<31))
			}
			want := slices.Clone(list)
			slices.Sort(want)
			if got := sortHashed(list); !slices.Equal(got, want) {
				t.Fatalf("%d hashes are not in order", len(list))
			}
		}
	}
}

func TestRingTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var list []parti.Partition
	for i := range 500 {
		list = append(list, parti.Partition{Keys: []string{fmt.Sprint(rng.Uint64()), fmt.Sprint(i)}})
	}
	l, err := (&lister{}).list(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, nodes := range []int{1, 2, 150} {
		r := newRing([]string{"a", "b", "c"}, nil, nodes, 7)
		for n, home := range r.homes(l) {
			want := slices.Min(r) // the first point, when the hash lies beyond the last
			for _, p := range slices.Backward(r) {
				if p.hash() >= l.order[n].hash() {
					want = p
				}
			}
			if home != want.number() {
				t.Fatalf("%d nodes: hash %x has home %d, want %d", nodes, l.order[n].hash(), home, want.number())
			}
		}
	}
}

func TestRingFollowsCapacity(t *testing.T) {
	count := make(map[int32]int)
	for _, p := range newRing([]string{"a", "b", "c"}, []float64{1, 4, 1e-9}, 100, 0) {
		count[p.number()]++
	}
	if count[0] != 60 || count[1] != 240 || count[2] != 1 {
		t.Errorf("points per worker %v, want 60, 240 and 1", count)
	}
}

func TestTopHeapTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 100 {
		keys := make([]int64, 1+rng.IntN(20))
		for i := range keys {
			keys[i] = rng.Int64N(10) - 5
		}
		var h topHeap
		h.init(keys)
		for range 100 {
			if want := int32(slices.Index(keys, slices.Max(keys))); h.top() != want {
				t.Fatalf("top of %v is %d, want %d", keys, h.top(), want)
			}
			key := rng.Int64N(10) - 5
			if rng.IntN(10) == 0 {
				key = -1 << 63
			}
			h.set(int32(rng.IntN(len(keys))), key)
		}
	}
}

func TestListingOrdersEqualHashesByKeys(t *testing.T) {
	list := []parti.Partition{{Keys: []string{"c"}}, {Keys: []string{"a"}}, {Keys: []string{"b"}, Weight: 3}}
	l := &listing{order: []hashed{newHashed(5, 0), newHashed(5, 1), newHashed(5, 2)}}
	if err := l.settle(list); err != nil {
		t.Fatal(err)
	}
	if want := []hashed{newHashed(5, 1), newHashed(5, 2), newHashed(5, 0)}; !slices.Equal(l.order, want) {
		t.Errorf("order %x, want %x", l.order, want)
	}
	list[0].Keys = []string{"b"}
	if err := l.settle(list); err == nil {
		t.Error("equal keys were not noticed")
	}
}

func TestHashKeysTellsKeysApart(t *testing.T) {
	seen := make(map[uint32][]string)
	for _, keys := range [][]string{{"a"}, {"b"}, {"ab"}, {"a", "b"}, {"b", "a"}, {"a", "b", ""}, {"", "a", "b"}, {"a", "bc"}, {"ab", "c"}, {"abc"}} {
		h := hashKeys(0, keys)
		if other, ok := seen[h]; ok {
			t.Errorf("%q and %q have the same hash", keys, other)
		}
		seen[h] = keys
		if hashKeys(1, keys) == h {
			t.Errorf("the seed does not change the hash of %q", keys)
		}
	}
}

func TestQuotasByBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 500 {
		w := 1 + rng.IntN(6)
		held := make([]int, w)
		capacities := make([]float64, w)
		n := rng.IntN(40)
		sum := 0.0
		for i := range held {
			held[i] = rng.IntN(15)
			capacities[i] = float64(1 + rng.IntN(4))
			sum += capacities[i]
		}
		total := 0
		for i, q := range quotas(n, w, capacities, held) {
			if share := capacities[i] / sum * float64(n); float64(q) <= share-1 || float64(q) >= share+1 {
				t.Fatalf("worker %d of %v gets %d of %d", i, capacities, q, n)
			}
			total += q
		}
		if total != n {
			t.Fatalf("the quotas of %v add up to %d, want %d", capacities, total, n)
		}
	}
}

func TestInParallelCoversEverythingOnce(t *testing.T) {
	for _, n := range []int{0, 1, grain, 3*grain + 7} {
		seen := make([]int8, n)
		inParallel(n, func(from, to int) {
			for i := from; i < to; i++ {
				seen[i]++
			}
		})
		if slices.ContainsFunc(seen, func(s int8) bool { return s != 1 }) {
			t.Errorf("%d: something was left out or done twice", n)
		}
	}
}
