package strategy_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/internal/race"
	"github.com/arloliu/parti/strategy"
)

var draws = []struct {
	name string
	draw drawer
}{{"equal", equal}, {"uniform", uniform}, {"lognormal", lognormal}, {"zipf", zipf}}

// randomInput has previous owners, some of them gone, cordoned workers, and
// workers with unequal capacities.
func randomInput(rng *rand.Rand, draw drawer) parti.RebalanceInput {
	in := parti.RebalanceInput{Partitions: partitions(rng.IntN(300), func(int) int64 { return draw(rng) })}
	ids := workers(2 + rng.IntN(12))
	in.PrevWorkers = ids[:1+rng.IntN(len(ids))]
	for _, id := range ids[rng.IntN(len(ids)-1):] {
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: float64(rng.IntN(4)) / 2})
	}
	in.Workers[0].Capacity = 1
	in.PrevOwner = make([]int32, len(in.Partitions))
	for i := range in.PrevOwner {
		in.PrevOwner[i] = int32(rng.IntN(len(in.PrevWorkers)+1)) - 1
	}
	return in
}

// shuffled returns the same input in another order.
func shuffled(rng *rand.Rand, in parti.RebalanceInput) parti.RebalanceInput {
	out := parti.RebalanceInput{Workers: slices.Clone(in.Workers)}
	rng.Shuffle(len(out.Workers), func(i, j int) { out.Workers[i], out.Workers[j] = out.Workers[j], out.Workers[i] })
	rank := rng.Perm(len(in.PrevWorkers))
	out.PrevWorkers = make([]string, len(rank))
	for i, r := range rank {
		out.PrevWorkers[r] = in.PrevWorkers[i]
	}
	for _, i := range rng.Perm(len(in.Partitions)) {
		out.Partitions = append(out.Partitions, in.Partitions[i])
		o := in.PrevOwner[i]
		if o != plan.None {
			o = int32(rank[o])
		}
		out.PrevOwner = append(out.PrevOwner, o)
	}
	return out
}

func TestRebalanceOfRandomInput(t *testing.T) {
	for name, s := range all() {
		rng := rand.New(rand.NewPCG(51, 52))
		for range 200 {
			for _, d := range draws {
				in := randomInput(rng, d.draw)
				got, err := s.Rebalance(in)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				var ids []string
				for _, w := range in.Workers {
					ids = append(ids, w.ID)
					if w.Capacity == 0 && len(got[w.ID]) > 0 {
						t.Fatalf("%s: %s has capacity 0 and owns %v", name, w.ID, got[w.ID])
					}
				}
				checkComplete(t, name, ids, in.Partitions, got)
				again, err := s.Rebalance(shuffled(rng, in))
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !reflect.DeepEqual(got, again) {
					t.Fatalf("%s: another order of the input gave another result", name)
				}
			}
		}
	}
}

func TestProcessorsDoNotMatter(t *testing.T) {
	list := partitions(200_000, func(i int) int64 { return int64(i%451 + 50) })
	assign := func(processors int) map[string][]parti.Partition {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		got, err := strategy.NewConsistentHash().Assign(workers(50), list)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if one, many := assign(1), assign(7); !reflect.DeepEqual(one, many) {
		t.Error("another number of processors gave another result")
	}
}

func TestColdRebalanceEqualsAssign(t *testing.T) {
	rng := rand.New(rand.NewPCG(53, 54))
	for name, s := range all() {
		for range 50 {
			in := randomInput(rng, lognormal)
			in.PrevOwner = nil
			var ids []string
			for i := range in.Workers {
				in.Workers[i].Capacity = 3
				ids = append(ids, in.Workers[i].ID)
			}
			cold, err := s.Rebalance(in)
			if err != nil {
				t.Fatal(err)
			}
			assigned, err := s.Assign(ids, in.Partitions)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(cold, assigned) {
				t.Fatalf("%s: Rebalance without previous owners and Assign differ", name)
			}
		}
	}
}

func TestResultIsAFixedPoint(t *testing.T) {
	inputs := 300
	if race.Enabled {
		inputs = 50
	}
	for name, s := range all() {
		rng := rand.New(rand.NewPCG(55, 56))
		for range inputs {
			for _, d := range draws {
				checkFixedPoint(t, name+", "+d.name, s, randomInput(rng, d.draw))
			}
		}
	}
	// Cold starts with few heavy partitions that cannot be spread evenly, found
	// among many by their failing once.
	for seed, draw := range map[uint64]drawer{7488: zipf, 21697: zipf, 24592: zipf} {
		rng := rand.New(rand.NewPCG(seed, 56))
		checkFixedPoint(t, "sticky", strategy.Sticky(strategy.NewRoundRobin()), randomInput(rng, draw))
	}
}

func checkFixedPoint(t *testing.T, name string, s parti.Rebalancer, in parti.RebalanceInput) {
	t.Helper()
	got, err := s.Rebalance(in)
	if err != nil {
		t.Fatal(err)
	}
	in.PrevWorkers, in.PrevOwner = ownersIn(got, in.Partitions)
	again, err := s.Rebalance(in)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, again) {
		t.Fatalf("%s: a plan of its own result moves something", name)
	}
}

// ownersIn reads previous owners from a result.
func ownersIn(result map[string][]parti.Partition, parts []parti.Partition) (workers []string, owners []int32) {
	index := make(map[string]int32, len(parts))
	for i, p := range parts {
		index[p.ID()] = int32(i)
	}
	owners = make([]int32, len(parts))
	for id, mine := range result {
		for _, p := range mine {
			owners[index[p.ID()]] = int32(len(workers))
		}
		workers = append(workers, id)
	}
	return workers, owners
}

// Whatever the previous owners: no plan moves less than the lower bound, and the
// band-sticky ones move little more when no partition is wider than the band.
func TestMovesAndTheLowerBound(t *testing.T) {
	rng := rand.New(rand.NewPCG(57, 58))
	var moved, least int64
	for range 100 {
		n, w := 2_000+rng.IntN(2_000), 2+rng.IntN(9)
		tr := newTrial(t, strategy.NewConsistentHash(), rng.Uint64(), n, w, uniform)
		prev := tr.owners
		for i := range prev {
			switch r := rng.IntN(100); {
			case r < 5:
				prev[i] = plan.None
			case r < 15:
				prev[i] = int32(rng.IntN(w))
			}
		}
		low, high := plan.Band(tr.total(), w, nil, 0.02)
		var orphans int64 // nobody is gone here: those without an owner are new
		var fresh int64
		for i, o := range prev {
			if o == plan.None {
				fresh += tr.weights[i]
			}
		}
		bound := plan.LowerBound(plan.Loads(prev, tr.weights, w), low, high, orphans, fresh)
		m := tr.plan(tr.workers, prev)
		if m < bound {
			t.Fatalf("moved %d, less than the lower bound %d", m, bound)
		}
		moved += m
		least += bound
	}
	t.Logf("moved %.4f of the lower bound", float64(moved)/float64(least))
	if float64(moved) > 1.1*float64(least) {
		t.Errorf("moved %.4f of the lower bound, want at most 1.1", float64(moved)/float64(least))
	}
}

func TestSharesFollowCapacity(t *testing.T) {
	capacities := []float64{1, 2, 0.5, 4, 0}
	for _, d := range draws {
		rng := rand.New(rand.NewPCG(59, 60))
		in := parti.RebalanceInput{Partitions: partitions(40_000, func(int) int64 { return d.draw(rng) })}
		for i, id := range workers(len(capacities)) {
			in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: capacities[i]})
		}
		for name, s := range all() {
			if name == "plain ring" {
				continue
			}
			got, err := s.Rebalance(in)
			if err != nil {
				t.Fatal(err)
			}
			loads := make([]int64, len(capacities))
			for i, w := range in.Workers {
				for _, p := range got[w.ID] {
					if name == "round robin" {
						loads[i]++
					} else {
						loads[i] += p.Weight
					}
				}
			}
			if off := plan.Imbalance(loads, capacities); off > 0.0201 {
				t.Errorf("%s, %s weights: loads %v are up to %.3f away from capacities %v", name, d.name, loads, off, capacities)
			}
		}
	}
}

func TestCordonedWorkersPartitionsMoveAlone(t *testing.T) {
	tr := newTrial(t, strategy.NewConsistentHash(), 61, 5_000, 10, uniform)
	in := parti.RebalanceInput{Partitions: tr.parts, PrevWorkers: tr.workers, PrevOwner: tr.owners}
	for i, id := range tr.workers {
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: math.Min(1, float64(i))})
	}
	got, err := strategy.NewConsistentHash().Rebalance(in)
	if err != nil {
		t.Fatal(err)
	}
	names, owners := ownersIn(got, tr.parts)
	for i, o := range owners {
		if was := tr.workers[tr.owners[i]]; was != tr.workers[0] && names[o] != was {
			t.Fatalf("%v moved from %s to %s, though only %s was cordoned", tr.parts[i], was, names[o], tr.workers[0])
		}
	}
}
