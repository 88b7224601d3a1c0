package strategy_test

import (
	"math"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
	"github.com/arloliu/parti/strategy"
)

func assign(t *testing.T, s parti.AssignmentStrategy, workers []string, parts []parti.Partition) map[string][]parti.Partition {
	t.Helper()
	got, err := s.Assign(workers, parts)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWithVirtualNodes(t *testing.T) {
	list := partitions(20_000, even)
	spread := func(nodes int) float64 {
		got := assign(t, strategy.NewConsistentHash(strategy.WithVirtualNodes(nodes), strategy.WithLoadBand(0)), workers(8), list)
		var loads []int64
		for _, id := range workers(8) {
			loads = append(loads, int64(len(got[id])))
		}
		return plan.Imbalance(loads, nil)
	}
	if few, many := spread(1), spread(2000); few < 3*many {
		t.Errorf("imbalance %.3f with 1 virtual node, %.3f with 2000: want much less with more", few, many)
	}
	if reflect.DeepEqual(assign(t, strategy.NewConsistentHash(), workers(8), list), assign(t, strategy.NewConsistentHash(strategy.WithVirtualNodes(151)), workers(8), list)) {
		t.Error("the number of virtual nodes makes no difference")
	}
	if !reflect.DeepEqual(assign(t, strategy.NewConsistentHash(), workers(8), list), assign(t, strategy.NewConsistentHash(strategy.WithVirtualNodes(150)), workers(8), list)) {
		t.Error("the default is not 150")
	}
}

// TestFewerVirtualNodesTakeLessMemory: what troubleshooting advises for large fleets.
func TestFewerVirtualNodesTakeLessMemory(t *testing.T) {
	list, ids := partitions(1000, even), workers(200)
	size := func(nodes int) uint64 {
		least := uint64(math.MaxUint64)
		for range 3 { // whatever else allocates now and then only adds
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			assign(t, strategy.NewConsistentHash(strategy.WithVirtualNodes(nodes)), ids, list)
			runtime.ReadMemStats(&after)
			least = min(least, after.TotalAlloc-before.TotalAlloc)
		}
		return least
	}
	if few, many := size(100), size(150); few > many*9/10 {
		t.Errorf("%d bytes with 100 virtual nodes, %d with 150", few, many)
	}
}

func TestWithHashSeed(t *testing.T) {
	list := partitions(1_000, even)
	zero := assign(t, strategy.NewConsistentHash(), workers(8), list)
	if !reflect.DeepEqual(zero, assign(t, strategy.NewConsistentHash(strategy.WithHashSeed(0)), workers(8), list)) {
		t.Error("the default is not 0")
	}
	if reflect.DeepEqual(zero, assign(t, strategy.NewConsistentHash(strategy.WithHashSeed(1)), workers(8), list)) {
		t.Error("the seed makes no difference")
	}
}

func TestWithLoadBand(t *testing.T) {
	imbalance := func(width float64) float64 {
		tr := newTrial(t, strategy.NewConsistentHash(strategy.WithLoadBand(width)), 71, 20_000, 8, uniform)
		tr.join()
		return plan.Imbalance(plan.Loads(tr.owners, tr.weights, len(tr.workers)), nil)
	}
	if got := imbalance(0.001); got > 0.001 {
		t.Errorf("imbalance %.4f in a band of 0.001", got)
	}
	if got := imbalance(0.1); got < 0.03 || got > 0.1 {
		t.Errorf("imbalance %.4f in a band of 0.1, want it used", got)
	}
}

// A band of 0 is the plain ring: nobody's previous owner matters, and a join
// moves nothing but what the newcomer takes.
func TestPlainRing(t *testing.T) {
	tr := newTrial(t, strategy.NewConsistentHash(strategy.WithLoadBand(0)), 72, 10_000, 8, uniform)
	want := slices.Clone(tr.owners)
	for i := range tr.owners {
		tr.owners[i] = 0
	}
	tr.plan(tr.workers, tr.owners)
	if !slices.Equal(want, tr.owners) {
		t.Error("previous owners changed the plain ring")
	}
	tr.join()
	for i, o := range tr.owners {
		if o != want[i] && int(o) != len(tr.workers)-1 {
			t.Fatalf("partition %d moved from %d to %d, which is not the newcomer", i, want[i], o)
		}
	}
}

// A list that changes in place is noticed.
func TestChangedListIsReadAgain(t *testing.T) {
	for name, change := range map[string]func(list []parti.Partition){
		"keys":   func(list []parti.Partition) { list[3].Keys = []string{"another"} },
		"weight": func(list []parti.Partition) { list[4].Weight = 7_000 },
		"order":  func(list []parti.Partition) { slices.Reverse(list) },
	} {
		s := strategy.NewConsistentHash()
		list := partitions(500, even)
		assign(t, s, workers(4), list)
		change(list)
		if got, want := assign(t, s, workers(4), list), assign(t, strategy.NewConsistentHash(), workers(4), list); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: a changed list was taken for the old one", name)
		}
	}
	s := strategy.NewConsistentHash()
	list := partitions(500, even)
	assign(t, s, workers(4), list)
	for i := range list {
		list[i].Keys = list[i].Keys[:1]
	}
	if _, err := s.Assign(workers(4), list); err == nil {
		t.Error("shortened keys, all alike, were taken for the old ones")
	}
	list[9].Keys = nil
	if _, err := s.Assign(workers(4), list); err == nil {
		t.Error("a partition without keys was taken for the old one")
	}
}

func TestResultBelongsToTheCaller(t *testing.T) {
	s := strategy.NewConsistentHash()
	list := partitions(100, even)
	first := assign(t, s, workers(2), list)
	want := assign(t, strategy.NewConsistentHash(), workers(2), list)
	for id, mine := range first {
		first[id] = append(mine[:0], mine[1:]...)
	}
	if got := assign(t, s, workers(2), list); !reflect.DeepEqual(got, want) {
		t.Error("a change of one result changed the next")
	}
	_ = append(want["worker-0"], parti.Partition{Keys: []string{"more"}})
	if got := assign(t, s, workers(2), list); !reflect.DeepEqual(got, want) {
		t.Error("appending to the list of one worker changed that of another")
	}
}
