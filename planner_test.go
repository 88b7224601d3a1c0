package parti

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// fakeStrategy answers with what it is given.
type fakeStrategy func(workers []string, partitions []Partition) (map[string][]Partition, error)

func (f fakeStrategy) Assign(workers []string, partitions []Partition) (map[string][]Partition, error) {
	return f(workers, partitions)
}

// fakeRebalancer is a fakeStrategy with the upgrade.
type fakeRebalancer struct {
	fakeStrategy
	rebalance func(RebalanceInput) (map[string][]Partition, error)
}

func (f fakeRebalancer) Rebalance(in RebalanceInput) (map[string][]Partition, error) {
	return f.rebalance(in)
}

func abc(t *testing.T) *partitionList {
	t.Helper()
	l, err := newPartitionList([]Partition{{Keys: []string{"a"}}, {Keys: []string{"b", "1"}, Weight: 7}, {Keys: []string{"c"}}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestPartitionListCopiesAndChecks(t *testing.T) {
	in := []Partition{{Keys: []string{"a", "x.y"}, Weight: 0}, {Keys: []string{"b"}, Weight: 7}}
	l, err := newPartitionList(in)
	if err != nil {
		t.Fatal(err)
	}
	in[0].Keys[0], in[1].Weight = "changed", 8
	if got := l.partitions(); !slices.Equal(got[0].Keys, []string{"a", "x.y"}) || got[0].Weight != 0 || got[1].Weight != 7 {
		t.Errorf("the list changed with the caller's: %v", got)
	}
	if want := []string{"a.x%2Ey", "b"}; !slices.Equal(l.core.IDs, want) {
		t.Errorf("ids %q, want %q", l.core.IDs, want)
	}
	if want := []int64{DefaultWeight, 7}; !slices.Equal(l.core.Weights, want) {
		t.Errorf("weights %v, want %v", l.core.Weights, want)
	}
	if l.find("a.x%2Ey") != 0 || l.find("b") != 1 || l.find("c") != -1 || l.find("") != -1 {
		t.Errorf("find does not find")
	}
}

func TestPartitionListNamesTheFirstOffender(t *testing.T) {
	for _, c := range []struct {
		name string
		list []Partition
		want string
	}{
		{"no keys", []Partition{{Keys: []string{"a"}}, {}}, "partition 1"},
		{"empty key", []Partition{{Keys: []string{"a", ""}}}, `key 1 is empty`},
		{"twice", []Partition{{Keys: []string{"a", "b"}}, {Keys: []string{"c"}}, {Keys: []string{"a", "b"}, Weight: 3}}, `"a.b"`},
		{"negative", []Partition{{Keys: []string{"a"}}, {Keys: []string{"b"}, Weight: -1}, {Keys: []string{"c"}, Weight: -2}}, `partition "b": weight -1`},
		{"overflow", []Partition{{Keys: []string{"a"}, Weight: math.MaxInt64}, {Keys: []string{"b"}, Weight: 1}}, `"b"`},
	} {
		_, err := newPartitionList(c.list)
		if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want ErrSource naming %s", c.name, err, c.want)
		}
	}
}

func TestDigestsOfPartitionLists(t *testing.T) {
	list := func(parts ...Partition) *partitionList {
		t.Helper()
		l, err := newPartitionList(parts)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := Partition{Keys: []string{"a"}}, Partition{Keys: []string{"b"}, Weight: 5}
	base := list(a, b)
	for _, d := range []string{base.core.Digest, base.core.IDDigest} {
		if len(d) != 32 || strings.Trim(d, "0123456789abcdef") != "" {
			t.Errorf("digest %q, want 32 hexadecimal digits", d)
		}
	}
	if l := list(b, a); l.core.Digest != base.core.Digest || l.core.IDDigest != base.core.IDDigest {
		t.Error("the order of the list changes a digest")
	}
	if l := list(Partition{Keys: []string{"a"}, Weight: 100}, b); l.core.Digest != base.core.Digest {
		t.Error("the default weight, spelled out, changes the digest")
	}
	for _, l := range []*partitionList{
		list(Partition{Keys: []string{"a"}, Weight: 5}, Partition{Keys: []string{"b"}, Weight: 100}),
		list(a, Partition{Keys: []string{"b"}, Weight: 6}),
	} {
		if l.core.Digest == base.core.Digest {
			t.Error("another weight gives the same digest")
		}
		if l.core.IDDigest != base.core.IDDigest {
			t.Error("another weight changes the digest of the ids")
		}
	}
	for _, l := range []*partitionList{list(), list(a), list(a, b, Partition{Keys: []string{"c"}}), list(a, Partition{Keys: []string{"c"}, Weight: 5})} {
		if l.core.Digest == base.core.Digest || l.core.IDDigest == base.core.IDDigest {
			t.Errorf("%v has the digests of %v", l.core.IDs, base.core.IDs)
		}
	}
}

// What comes back in the memory that it was handed out in is known by that, and
// nothing else is.
func TestPartitionsAreKnownByTheirMemory(t *testing.T) {
	l, err := newPartitionList([]Partition{{Keys: []string{"a", "b"}}, {Keys: []string{"b", "a.b"}}, {Keys: []string{"c", "d"}}})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range l.partitions() {
		if got := l.given(p.Keys); got != int32(i) {
			t.Errorf("partition %d is taken for %d", i, got)
		}
		if got := l.given(slices.Clone(p.Keys)); got != -1 {
			t.Errorf("a copy of partition %d is taken for %d", i, got)
		}
	}
	for _, keys := range [][]string{nil, {}, l.keys[1:3], l.keys[:1], l.keys[:4], make([]string, 2)} {
		if got := l.given(keys); got != -1 {
			t.Errorf("%q is taken for partition %d", keys, got)
		}
	}
	mixed, err := newPartitionList([]Partition{{Keys: []string{"a"}}, {Keys: []string{"b", "c", "d"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range mixed.partitions() {
		if got := mixed.given(p.Keys); got != -1 {
			t.Errorf("in a list of different lengths, %q is taken for partition %d", p.Keys, got)
		}
	}
}

func TestPlannerPrefersRebalance(t *testing.T) {
	l := abc(t)
	var got RebalanceInput
	s := fakeRebalancer{
		fakeStrategy: func([]string, []Partition) (map[string][]Partition, error) {
			t.Error("Assign was called on a Rebalancer")
			return nil, nil
		},
		rebalance: func(in RebalanceInput) (map[string][]Partition, error) {
			got = in
			return map[string][]Partition{"w0": in.Partitions[2:], "w1": in.Partitions[:2]}, nil
		},
	}
	owners, err := newPlanner(s).plan(equals("w0", "w1"), l, []string{"w9"}, []int32{0, -1, 0})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{1, 1, 0}; !slices.Equal(owners, want) {
		t.Errorf("owners %v, want %v", owners, want)
	}
	if !slices.Equal(got.PrevWorkers, []string{"w9"}) || !slices.Equal(got.PrevOwner, []int32{0, -1, 0}) ||
		len(got.Workers) != 2 || got.Workers[1].ID != "w1" || got.Workers[1].Capacity != 1 {
		t.Errorf("the strategy was given %+v", got)
	}
}

func TestPlannerRefusesBadResults(t *testing.T) {
	boom := errors.New("boom")
	a, b, c := Partition{Keys: []string{"a"}}, Partition{Keys: []string{"b", "1"}}, Partition{Keys: []string{"c"}}
	for _, tc := range []struct {
		name   string
		assign fakeStrategy
		want   string
	}{
		{"lost", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a}, "w1": {c}}, nil
		}, `"b.1" was lost`},
		{"doubled", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, b}, "w1": {c, a}}, nil
		}, `"a" was assigned twice, to "w0" and "w1"`},
		{"doubled on one", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, b, a}, "w1": {c}}, nil
		}, `"a" was assigned twice`},
		{"invented", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, b, c, {Keys: []string{"d"}}}}, nil
		}, `"d" of worker "w0" was invented`},
		{"invented with an empty key", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, b, c, {Keys: []string{"a", ""}}}}, nil
		}, `invented`},
		{"invented with a dot", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, c, {Keys: []string{"b.1"}}}}, nil
		}, `"b%2E1" of worker "w0" was invented`},
		{"without keys", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, b, c, {}}}, nil
		}, `invented`},
		{"unknown worker", func([]string, []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{"w0": {a, b, c}, "w7": nil, "w8": nil}, nil
		}, `"w7" is no worker`},
		{"nothing", func([]string, []Partition) (map[string][]Partition, error) { return nil, nil }, `"a" was lost`},
		{"error", func([]string, []Partition) (map[string][]Partition, error) { return nil, boom }, `boom`},
		{"panic", func([]string, []Partition) (map[string][]Partition, error) { panic(boom) }, `panic: boom`},
	} {
		owners, err := newPlanner(tc.assign).plan(equals("w0", "w1"), abc(t), nil, nil)
		if !errors.Is(err, ErrStrategy) || !strings.Contains(err.Error(), tc.want) || owners != nil {
			t.Errorf("%s: got %v, %v; want ErrStrategy with %s", tc.name, owners, err, tc.want)
		}
	}
	_, err := newPlanner(fakeStrategy(func([]string, []Partition) (map[string][]Partition, error) { return nil, boom })).plan(equals("w0"), abc(t), nil, nil)
	if !errors.Is(err, boom) {
		t.Errorf("the strategy's own error cannot be matched: %v", err)
	}
}

func TestPlannerAcceptsChangedWeightsAndAnyOrder(t *testing.T) {
	s := fakeStrategy(func(workers []string, parts []Partition) (map[string][]Partition, error) {
		slices.Reverse(parts) // a strategy may use its list as it likes
		for i := range parts {
			parts[i].Weight = 1
			parts[i].Keys = slices.Clone(parts[i].Keys)
		}
		return map[string][]Partition{workers[0]: parts}, nil
	})
	l := abc(t)
	owners, err := newPlanner(s).plan(equals("w0", "w1"), l, nil, nil)
	if err != nil || !slices.Equal(owners, []int32{0, 0, 0}) {
		t.Errorf("got %v, %v; want w0 to own everything", owners, err)
	}
	if got := l.partitions(); got[0].ID() != "a" || got[1].Weight != 7 {
		t.Errorf("the strategy changed the list: %v", got)
	}
}

// equals are workers with equal capacities.
func equals(ids ...string) []WorkerInfo {
	out := make([]WorkerInfo, len(ids))
	for i, id := range ids {
		out[i] = WorkerInfo{ID: id, Capacity: 1}
	}
	return out
}

// TestPlanCapacity: a Rebalancer is told what workers declare; a strategy that
// is none is at least not asked to use a cordoned worker.
func TestPlanCapacity(t *testing.T) {
	l := abc(t)
	workers := []WorkerInfo{{ID: "w0", Capacity: 2, Labels: map[string]string{"zone": "a"}}, {ID: "w1"}}
	var got RebalanceInput
	re := fakeRebalancer{rebalance: func(in RebalanceInput) (map[string][]Partition, error) {
		got = in
		return map[string][]Partition{"w0": in.Partitions}, nil
	}}
	if _, err := newPlanner(re).plan(workers, l, nil, nil); err != nil || !reflect.DeepEqual(got.Workers, workers) {
		t.Errorf("the Rebalancer was told of %v, %v", got.Workers, err)
	}
	var asked []string
	plain := fakeStrategy(func(ids []string, parts []Partition) (map[string][]Partition, error) {
		asked = ids
		return map[string][]Partition{"w0": parts}, nil
	})
	if _, err := newPlanner(plain).plan(workers, l, nil, nil); err != nil || !slices.Equal(asked, []string{"w0"}) {
		t.Errorf("Assign was asked for %v, %v", asked, err)
	}
	if _, err := newPlanner(plain).plan(workers[1:], l, nil, nil); !errors.Is(err, ErrStrategy) || !strings.Contains(err.Error(), "capacity") {
		t.Errorf("all are cordoned: %v", err)
	}
}
