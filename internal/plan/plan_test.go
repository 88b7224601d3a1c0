package plan_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arloliu/parti/internal/plan"
)

func TestDiffAndMoved(t *testing.T) {
	prev := []int32{0, 1, plan.None, 2, 1}
	next := []int32{0, 2, 1, plan.None, 1}
	want := []plan.Move{{Partition: 1, From: 1, To: 2}, {Partition: 2, From: plan.None, To: 1}, {Partition: 3, From: 2, To: plan.None}}
	if got := plan.Diff(prev, next); !slices.Equal(got, want) {
		t.Errorf("Diff: %v, want %v", got, want)
	}
	if got := plan.Diff(prev, prev); got != nil {
		t.Errorf("Diff of the same: %v", got)
	}
	count, weight := plan.Moved(prev, next, []int64{1, 10, 100, 1000, 10000})
	if count != 2 || weight != 1010 {
		t.Errorf("Moved: %d with weight %d, want 2 with 1010: a first owner is no move", count, weight)
	}
}

func TestTranslate(t *testing.T) {
	got := plan.Translate([]int32{0, 1, 2, plan.None}, []string{"a", "gone", "c"}, []string{"c", "b", "a"})
	if want := []int32{2, plan.None, 0, plan.None}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestLoads(t *testing.T) {
	got := plan.Loads([]int32{1, plan.None, 1, 0}, []int64{1, 2, 4, 8}, 3)
	if want := []int64{8, 5, 0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestCheck(t *testing.T) {
	if err := plan.Check([]int32{0, 1, 0}, 2); err != nil {
		t.Errorf("good owners: %v", err)
	}
	for _, bad := range [][]int32{{0, plan.None}, {0, 2}, {0, -7}} {
		if err := plan.Check(bad, 2); err == nil {
			t.Errorf("%v passes with 2 workers", bad)
		}
	}
}

func TestImbalance(t *testing.T) {
	for _, c := range []struct {
		loads      []int64
		capacities []float64
		want       float64
	}{
		{nil, nil, 0},
		{[]int64{0, 0}, nil, 0},
		{[]int64{100, 100}, nil, 0},
		{[]int64{150, 50}, nil, 0.5},
		{[]int64{110, 110, 80}, nil, 0.2},
		{[]int64{100, 200}, []float64{1, 2}, 0},
		{[]int64{200, 100}, []float64{1, 2}, 1},
		{[]int64{100, 0}, []float64{1, 0}, 0},
		{[]int64{100, 1}, []float64{1, 0}, math.Inf(1)},
		{[]int64{1}, []float64{0}, math.Inf(1)},
	} {
		if got := plan.Imbalance(c.loads, c.capacities); math.Abs(got-c.want) > 1e-9 && got != c.want {
			t.Errorf("loads %v, capacities %v: %v, want %v", c.loads, c.capacities, got, c.want)
		}
	}
}

func TestBand(t *testing.T) {
	low, high := plan.Band(1000, 3, nil, 0.1)
	if !slices.Equal(low, []int64{300, 300, 300}) || !slices.Equal(high, []int64{366, 366, 366}) {
		t.Errorf("band %v to %v, want 300 to 366", low, high)
	}
	low, high = plan.Band(1000, 3, []float64{1, 0, 3}, 0.1)
	if !slices.Equal(low, []int64{225, 0, 675}) || !slices.Equal(high, []int64{275, 0, 825}) {
		t.Errorf("band %v to %v, want 225 to 275, 0, and 675 to 825", low, high)
	}
}

// No plan that reaches the band moves less than the lower bound, and for single
// units of weight some plan moves just that.
func TestLowerBoundByTryingEverything(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		workers, n := 2+rng.IntN(2), 1+rng.IntN(6)
		weights, prev := make([]int64, n), make([]int32, n)
		single := rng.IntN(2) == 0
		var total, orphans, fresh int64
		for i := range n {
			weights[i] = 1
			if !single {
				weights[i] = 1 + rng.Int64N(5)
			}
			total += weights[i]
			prev[i] = int32(rng.IntN(workers + 2))
			switch prev[i] {
			case int32(workers): // its owner is gone
				orphans += weights[i]
			case int32(workers) + 1:
				prev[i] = plan.None
				fresh += weights[i]
			}
		}
		low, high := plan.Band(total, workers, nil, 0.4)
		bound := plan.LowerBound(plan.Loads(prev, weights, workers+1)[:workers], low, high, orphans, fresh)

		least := int64(math.MaxInt64)
		next := make([]int32, n)
		var try func(i int)
		try = func(i int) {
			if i == n {
				for w, l := range plan.Loads(next, weights, workers) {
					if l < low[w] || l > high[w] {
						return
					}
				}
				_, moved := plan.Moved(prev, next, weights)
				least = min(least, moved)
				return
			}
			for w := range int32(workers) {
				next[i] = w
				try(i + 1)
			}
		}
		try(0)
		if least < bound {
			t.Fatalf("weights %v, owners %v: %d suffices, below the bound %d", weights, prev, least, bound)
		}
		if single && least != math.MaxInt64 && least != bound {
			t.Fatalf("owners %v: %d is least, the bound only %d", prev, least, bound)
		}
	}
}

func TestIndexTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 200 {
		n := rng.IntN(60)
		names, hashes := make([]int, n), make([]uint64, n)
		first := make(map[int]int32)
		twice := plan.None
		for i := range names {
			names[i] = rng.IntN(1000)
			hashes[i] = uint64(names[i]%7) << 60 // many collide
			if _, ok := first[names[i]]; ok && twice == plan.None {
				twice = int32(i)
			} else if !ok {
				first[names[i]] = int32(i)
			}
		}
		x, got := plan.NewIndex(hashes, func(i, j int32) bool { return names[i] == names[j] })
		if got != twice {
			t.Fatalf("%v: the first that repeats is %d, want %d", names, got, twice)
		}
		if twice != plan.None {
			continue
		}
		for name := range 1000 {
			want, ok := first[name]
			if !ok {
				want = plan.None
			}
			if got := x.Find(uint64(name%7)<<60, func(i int32) bool { return names[i] == name }); got != want {
				t.Fatalf("Find(%d) = %d, want %d", name, got, want)
			}
		}
	}
}
