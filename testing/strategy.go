package testing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/arloliu/parti"
)

// CheckStrategy checks that a strategy keeps the contract of
// parti.AssignmentStrategy, on fleets and lists of several sizes and weights:
//
//   - every partition is given exactly once, unchanged, and only to workers of
//     the list;
//   - the result depends on nothing but the workers and the partitions: not on
//     their order, on earlier calls, or on the order of a map;
//   - the inputs are not changed, nor is an earlier result by a later call;
//   - no workers, or no partitions, is no reason to panic or to invent any.
//
// When the strategy is a parti.Rebalancer too, the same is checked of Rebalance,
// and that
//
//   - without previous owners it equals Assign;
//   - a result, given back as the previous owners, is changed no more;
//   - a worker of capacity 0 owns nothing;
//   - when a worker leaves a fleet with equal weights, the others keep what they
//     have, and when one joins, no more than about twice its share moves.
//
// Each broken rule is one t.Errorf that names the case.
func CheckStrategy(t testing.TB, strategy parti.AssignmentStrategy) {
	t.Helper()
	for _, c := range strategyCases() {
		checkAssign(t, strategy, c)
	}
	checkEmpty(t, strategy)
	if r, ok := strategy.(parti.Rebalancer); ok {
		for _, c := range strategyCases() {
			checkRebalance(t, strategy, r, c)
		}
	}
}

// assignment is what a strategy returns.
type assignment = map[string][]parti.Partition

type strategyCase struct {
	name       string
	workers    []string
	partitions []parti.Partition
	equal      bool // all weights are the same
}

func strategyCases() []strategyCase {
	weights := []struct {
		name string
		of   func(i int) int64
	}{
		{"equal weights", func(int) int64 { return 100 }},
		{"no weights", func(int) int64 { return 0 }},
		{"rising weights", func(i int) int64 { return int64(i%50 + 1) }},
		{"one giant", func(i int) int64 {
			if i == 3 {
				return 100_000
			}
			return 10
		}},
	}
	sizes := []struct{ workers, partitions int }{{1, 1}, {1, 40}, {2, 7}, {3, 3}, {5, 2}, {5, 300}, {7, 240}, {16, 1200}}
	var cases []strategyCase
	for _, w := range weights {
		for _, size := range sizes {
			c := strategyCase{
				name:  fmt.Sprintf("%d workers, %d partitions, %s", size.workers, size.partitions, w.name),
				equal: w.of(3) == w.of(4),
			}
			for i := range size.workers {
				c.workers = append(c.workers, "worker-"+strconv.Itoa(i))
			}
			for i := range size.partitions {
				keys := []string{"topic", strconv.Itoa(i)}
				if i%5 == 0 {
					keys = []string{"a.b*", "né", strconv.Itoa(i)} // keys of any text and depth
				}
				c.partitions = append(c.partitions, parti.Partition{Keys: keys, Weight: w.of(i)})
			}
			cases = append(cases, c)
		}
	}
	return cases
}

func checkAssign(t testing.TB, s parti.AssignmentStrategy, c strategyCase) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("Assign, %s: %s", c.name, fmt.Sprintf(format, args...))
	}
	assign := func(workers []string, partitions []parti.Partition) (assignment, error) {
		return guarded(func() (assignment, error) { return s.Assign(workers, partitions) })
	}
	workers, partitions := slices.Clone(c.workers), clonePartitions(c.partitions)
	first, err := assign(workers, partitions)
	if err != nil {
		fail("error: %v", err)
		return
	}
	if !slices.Equal(workers, c.workers) || !equalPartitions(partitions, c.partitions) {
		fail("the inputs were changed")
	}
	if err := complete(first, c.workers, c.partitions); err != nil {
		fail("%v", err)
		return
	}

	before := canonical(first)
	for range 3 {
		again, err := assign(workers, partitions)
		if err != nil {
			fail("error when called again: %v", err)
			return
		}
		if !bytes.Equal(canonical(again), before) {
			fail("the same call again gave another result: nothing but the arguments may count, no map order, clock or random source")
			return
		}
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(c.partitions))))
	for range 3 {
		rng.Shuffle(len(workers), func(i, j int) { workers[i], workers[j] = workers[j], workers[i] })
		rng.Shuffle(len(partitions), func(i, j int) { partitions[i], partitions[j] = partitions[j], partitions[i] })
		shuffled, err := assign(workers, partitions)
		if err != nil {
			fail("error with shuffled inputs: %v", err)
			return
		}
		if n := moved(owners(first), owners(shuffled)); n != 0 {
			fail("with shuffled inputs %d partitions went elsewhere: sort them first", n)
			return
		}
	}
	if !bytes.Equal(canonical(first), before) {
		fail("a later call changed the result of an earlier one")
	}
}

// checkEmpty checks what is left to do without workers or partitions.
func checkEmpty(t testing.TB, s parti.AssignmentStrategy) {
	t.Helper()
	partitions := []parti.Partition{{Keys: []string{"p"}}}
	for _, c := range []struct {
		name       string
		workers    []string
		partitions []parti.Partition
	}{
		{"no workers", nil, partitions},
		{"no partitions", []string{"worker-0", "worker-1"}, nil},
		{"no workers and no partitions", nil, nil},
	} {
		got, err := guarded(func() (assignment, error) { return s.Assign(c.workers, c.partitions) })
		switch {
		case isPanic(err):
			t.Errorf("Assign, %s: %v", c.name, err)
		case err != nil && len(c.workers) > 0:
			t.Errorf("Assign, %s: error: %v", c.name, err)
		case err == nil:
			// With workers everything is given, here nothing. Without, a strategy
			// may give nothing instead of an error.
			if err := complete(got, c.workers, nil); err != nil {
				t.Errorf("Assign, %s: %v", c.name, err)
			}
		}
	}
}

// complete says whether every partition is given exactly once, to a worker of
// the list.
func complete(got assignment, workers []string, partitions []parti.Partition) error {
	want := make(map[string]parti.Partition, len(partitions))
	for _, p := range partitions {
		want[p.ID()] = p
	}
	given := make(map[string]string, len(partitions))
	for _, w := range sortedKeys(got) {
		if !slices.Contains(workers, w) {
			return fmt.Errorf("%q, which is no worker of the list, is given %d partitions", w, len(got[w]))
		}
		for _, p := range got[w] {
			id := p.ID()
			switch q, ok := want[id]; {
			case !ok:
				return fmt.Errorf("partition %s was invented", id)
			case p.Weight != q.Weight:
				return fmt.Errorf("partition %s has weight %d, not %d as given", id, p.Weight, q.Weight)
			}
			if other, twice := given[id]; twice {
				return fmt.Errorf("partition %s was given to both %s and %s", id, other, w)
			}
			given[id] = w
		}
	}
	if lost := len(want) - len(given); lost > 0 {
		for _, p := range partitions {
			if _, ok := given[p.ID()]; !ok {
				return fmt.Errorf("%d of %d partitions were lost, such as %s", lost, len(want), p.ID())
			}
		}
	}
	return nil
}

type panicError struct{ value any }

func (e panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

func isPanic(err error) bool {
	_, ok := err.(panicError) //nolint:errorlint // made here and not wrapped
	return ok
}

// guarded makes a panic of f an error.
func guarded(f func() (assignment, error)) (a assignment, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError{v}
		}
	}()
	return f()
}

// canonical writes a with everything that a caller could tell apart.
func canonical(a assignment) []byte {
	b, err := json.Marshal(a) // sorts by worker
	if err != nil {
		return []byte(err.Error())
	}
	return b
}

// owners maps partition ids to workers.
func owners(a assignment) map[string]string {
	m := map[string]string{}
	for w, ps := range a {
		for _, p := range ps {
			m[p.ID()] = w
		}
	}
	return m
}

// moved counts the partitions that both know and whose owner differs.
func moved(a, b map[string]string) int {
	n := 0
	for id, w := range a {
		if x, ok := b[id]; ok && x != w {
			n++
		}
	}
	return n
}

func clonePartitions(ps []parti.Partition) []parti.Partition {
	c := slices.Clone(ps)
	for i := range c {
		c[i].Keys = slices.Clone(c[i].Keys)
	}
	return c
}

func equalPartitions(a, b []parti.Partition) bool {
	return slices.EqualFunc(a, b, func(p, q parti.Partition) bool { return p.Compare(q) == 0 })
}

func sortedKeys(a assignment) []string {
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
