package strategy

import (
	"fmt"
	"slices"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/plan"
)

// item is a partition of a small problem, by position.
type item struct {
	weight     int64
	home, prev int32
}

// small returns a balancer of n workers with a band of 2 %, before any step.
func small(t *testing.T, n int, items ...item) *balancer {
	t.Helper()
	var in parti.RebalanceInput
	for w := range n {
		id := fmt.Sprintf("w%d", w)
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: 1})
		in.PrevWorkers = append(in.PrevWorkers, id)
	}
	homes := make([]int32, len(items))
	for i, it := range items {
		in.Partitions = append(in.Partitions, parti.Partition{Keys: []string{fmt.Sprintf("p%02d", i)}, Weight: it.weight})
		in.PrevOwner = append(in.PrevOwner, it.prev)
		homes[i] = it.home
	}
	p, err := newProblem(in, &lister{byKeys: true})
	if err != nil {
		t.Fatal(err)
	}
	b := newBalancer(p, homes)
	copy(b.owners, p.prev)
	b.aim(0.02)
	b.collect()
	return b
}

func TestPlacePrefersHome(t *testing.T) {
	b := small(t, 3, item{50, 0, 0}, item{40, 1, 1}, item{1, 2, 2}, item{30, 0, plan.None}, item{29, 0, plan.None})
	// The level is 50: worker 0 is full, so both go to the emptiest; with room at
	// home the second stays there.
	b.homes[4] = 1
	b.place(b.pool)
	if b.owners[3] != 2 || b.owners[4] != 2 {
		t.Errorf("owners %v: want worker 2, since neither home has room", b.owners)
	}
	b = small(t, 3, item{50, 0, 0}, item{20, 1, 1}, item{1, 2, 2}, item{29, 1, plan.None}, item{50, 0, plan.None})
	b.place(b.pool)
	if b.owners[3] != 1 {
		t.Errorf("owners %v: want worker 1, the home, though worker 2 had more room", b.owners)
	}
}

func TestRoundMakesRoomForHeavyOrphans(t *testing.T) {
	var items []item
	for w := range int32(4) {
		for range 9 {
			items = append(items, item{10, w, w})
		}
	}
	b := small(t, 4, append(items, item{40, 1, plan.None})...)
	b.round()
	if b.outside() != 0 {
		t.Errorf("loads %v after one round, want 100 each", b.load)
	}
}

func TestShedExcessDoesMoreGoodThanHarm(t *testing.T) {
	b := small(t, 2, item{52, 0, 0}, item{53, 0, 0}, item{95, 1, 1})
	b.shedExcess(0, b.itemsByWorker().of(0))
	if len(b.pool) > 0 {
		t.Errorf("took %v to lower a load of 105 to 102", b.pool)
	}
}

// Two heavy partitions on one worker, where only light ones can make room.
func TestHeavyPartitionsPart(t *testing.T) {
	items := []item{{55, 0, 0}, {55, 0, 0}}
	for range 90 {
		items = append(items, item{1, 1, 1})
	}
	b := small(t, 2, items...)
	if b.improve(false) {
		t.Fatalf("loads %v: the light ones alone sufficed", b.load)
	}
	if !b.improve(true) || b.outside() != 0 {
		t.Errorf("loads %v, want both in the band", b.load)
	}
}

func TestShedFullestLeavesNobodyBelowTheBand(t *testing.T) {
	b := small(t, 3, item{90, 0, 0}, item{20, 0, 0}, item{100, 1, 1}, item{90, 2, 2})
	b.shedFullest(8, b.itemsByWorker())
	if len(b.pool) > 0 {
		t.Errorf("took %v, which leaves its worker below the band", b.pool)
	}
	b = small(t, 3, item{90, 0, 0}, item{10, 0, 0}, item{10, 0, 0}, item{100, 1, 1}, item{90, 2, 2})
	b.shedFullest(8, b.itemsByWorker())
	if !slices.Equal(b.pool, []int32{1}) {
		t.Errorf("took %v, want partition 1 of the fullest", b.pool)
	}
}

func TestRestoreTakesNeedlessMovesBack(t *testing.T) {
	b := small(t, 2, item{50, 0, 0}, item{1, 0, 0}, item{49, 1, 1}, item{2, 1, 1})
	b.taken = true
	b.move(1, 1)
	if !b.restore() || b.owners[1] != 0 {
		t.Errorf("owners %v: a move that brings nothing stayed", b.owners)
	}
	if b.restore() {
		t.Error("restored though nothing has moved")
	}
}

func TestExchangeSwaps(t *testing.T) {
	b := small(t, 2, item{60, 0, 0}, item{50, 0, 0}, item{40, 1, 1}, item{50, 1, 1})
	if !b.exchange() || b.outside() != 0 {
		t.Errorf("loads %v, want 100 each by a swap", b.load)
	}
}

func TestScansBeginElsewhereForOtherWorkers(t *testing.T) {
	var list []parti.Partition
	for i := range 1000 {
		list = append(list, parti.Partition{Keys: []string{fmt.Sprint(i)}})
	}
	starts := make(map[int]bool)
	for n := 1; n <= 10; n++ {
		ids := make([]string, n)
		for w := range ids {
			ids[w] = fmt.Sprint(w)
		}
		p, err := newProblem(parti.RebalanceInput{Workers: fleet(ids), Partitions: list}, &lister{})
		if err != nil {
			t.Fatal(err)
		}
		starts[p.scanStart()] = true
	}
	if len(starts) < 9 {
		t.Errorf("10 fleets begin at %d places", len(starts))
	}
}

func TestEvenWeightsMayBeRoundedEitherWay(t *testing.T) {
	var items []item
	for range 31 {
		items = append(items, item{7, 0, 0})
	}
	b := small(t, 3, items...) // 10⅓ each
	for w := range 3 {
		if b.low[w] != 70 || b.high[w] != 77 {
			t.Errorf("worker %d: band %d to %d, want 10 to 11 partitions", w, b.low[w], b.high[w])
		}
	}
	if !slices.Equal(b.level, []int64{77, 70, 70}) {
		t.Errorf("levels %v, want the holder of most to keep the extra one", b.level)
	}
}
