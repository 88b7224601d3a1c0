package strategy_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

func TestBadInputIsRefusedByName(t *testing.T) {
	ab := []parti.Partition{{Keys: []string{"a"}}, {Keys: []string{"b", "1"}}}
	two := []parti.WorkerInfo{{ID: "w0", Capacity: 1}, {ID: "w1", Capacity: 1}}
	capacity := func(c float64) []parti.WorkerInfo {
		return []parti.WorkerInfo{{ID: "w0", Capacity: 1}, {ID: "w1", Capacity: c}}
	}
	for _, c := range []struct {
		name string
		in   parti.RebalanceInput
		want string
	}{
		{"no workers", parti.RebalanceInput{Partitions: ab}, `no workers: nobody can own partition "a"`},
		{"all cordoned", parti.RebalanceInput{Workers: []parti.WorkerInfo{{ID: "w0"}}, Partitions: ab}, `capacity 0`},
		{"worker twice", parti.RebalanceInput{Workers: append(capacity(1), two...), Partitions: ab}, `worker "w0" is listed twice`},
		{"worker without an id", parti.RebalanceInput{Workers: append(capacity(1), parti.WorkerInfo{Capacity: 1}), Partitions: ab}, `without an id`},
		{"NaN", parti.RebalanceInput{Workers: capacity(math.NaN()), Partitions: ab}, `worker "w1": capacity NaN`},
		{"infinite", parti.RebalanceInput{Workers: capacity(math.Inf(1)), Partitions: ab}, `worker "w1": capacity +Inf`},
		{"negative", parti.RebalanceInput{Workers: capacity(-1), Partitions: ab}, `worker "w1": capacity -1`},
		{"capacities overflow", parti.RebalanceInput{Workers: []parti.WorkerInfo{{ID: "w0", Capacity: math.MaxFloat64}, {ID: "w1", Capacity: math.MaxFloat64}}, Partitions: ab}, `worker "w1"`},
		{"no keys", parti.RebalanceInput{Workers: two, Partitions: []parti.Partition{ab[0], {}}}, `partition 1 of the list has no keys`},
		{"empty key", parti.RebalanceInput{Workers: two, Partitions: []parti.Partition{{Keys: []string{"a", ""}}}}, `["a" ""]`},
		{"partition twice", parti.RebalanceInput{Workers: two, Partitions: []parti.Partition{ab[1], ab[0], {Keys: []string{"b", "1"}, Weight: 3}, ab[0]}}, `partition "b.1" is listed twice`},
		{"weights overflow", parti.RebalanceInput{Workers: two, Partitions: []parti.Partition{{Keys: []string{"a"}, Weight: math.MaxInt64}, {Keys: []string{"b"}, Weight: 1}}}, `partition "b": weight 1`},
		{"negative weight", parti.RebalanceInput{Workers: two, Partitions: []parti.Partition{ab[0], {Keys: []string{"c"}, Weight: -3}, {Keys: []string{"d"}, Weight: math.MinInt64}}}, `partition "c": weight -3 is negative`},
		{"too few owners", parti.RebalanceInput{Workers: two, Partitions: ab, PrevWorkers: []string{"w0"}, PrevOwner: []int32{0}}, `1 previous owners for 2 partitions`},
		{"owner too high", parti.RebalanceInput{Workers: two, Partitions: ab, PrevWorkers: []string{"w0"}, PrevOwner: []int32{0, 1}}, `partition "b.1": previous owner 1 of 1`},
		{"owner too low", parti.RebalanceInput{Workers: two, Partitions: ab, PrevWorkers: []string{"w0"}, PrevOwner: []int32{-2, 0}}, `partition "a": previous owner -2`},
		{"previous worker twice", parti.RebalanceInput{Workers: two, Partitions: ab, PrevWorkers: []string{"w0", "w0"}, PrevOwner: []int32{0, 1}}, `previous worker "w0" is listed twice`},
	} {
		for name, s := range all() {
			got, err := s.Rebalance(c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("%s, %s: got %v, %v; want an error with %s", name, c.name, got, err, c.want)
			}
		}
	}
}

func TestNothingToDivide(t *testing.T) {
	for name, s := range all() {
		if got, err := s.Assign(nil, nil); err != nil || len(got) != 0 {
			t.Errorf("%s: nobody and nothing: got %v, %v", name, got, err)
		}
		if got, err := s.Assign(workers(2), nil); err != nil || len(got) != 2 || len(got["worker-0"]) != 0 {
			t.Errorf("%s: no partitions: got %v, %v; want two workers with nothing", name, got, err)
		}
	}
}

func TestHugeWeights(t *testing.T) {
	list := []parti.Partition{{Keys: []string{"a"}, Weight: math.MaxInt64 - 300}, {Keys: []string{"b"}}, {Keys: []string{"c"}, Weight: 200}}
	for name, s := range all() {
		for n := 1; n < 5; n++ {
			got, err := s.Assign(workers(n), list)
			if err != nil {
				t.Fatal(err)
			}
			checkComplete(t, name, workers(n), list, got)
		}
	}
}

func TestUnequalCapacitiesAtTheirLimits(t *testing.T) {
	in := parti.RebalanceInput{
		Workers: []parti.WorkerInfo{
			{ID: "w0", Capacity: math.SmallestNonzeroFloat64}, {ID: "w1", Capacity: 1e-300}, {ID: "w2", Capacity: 1}, {ID: "w3", Capacity: 1e300},
		},
		Partitions: partitions(100, func(i int) int64 { return int64(i) }),
	}
	for name, s := range all() {
		got, err := s.Rebalance(in)
		if err != nil {
			t.Fatal(err)
		}
		checkComplete(t, name, []string{"w0", "w1", "w2", "w3"}, in.Partitions, got)
	}
}

func TestOptionsOutOfRange(t *testing.T) {
	for want, opt := range map[string]strategy.ConsistentHashOption{
		"WithVirtualNodes(0)":     strategy.WithVirtualNodes(0),
		"WithVirtualNodes(-5)":    strategy.WithVirtualNodes(-5),
		"WithVirtualNodes(65537)": strategy.WithVirtualNodes(65537),
		"WithLoadBand(-0.1)":      strategy.WithLoadBand(-0.1),
		"WithLoadBand(NaN)":       strategy.WithLoadBand(math.NaN()),
		"WithLoadBand(+Inf)":      strategy.WithLoadBand(math.Inf(1)),
	} {
		s := strategy.NewConsistentHash(opt)
		_, err := s.Assign(workers(2), partitions(3, even))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Assign: got %v, want an error with %s", err, want)
		}
		_, err = s.Rebalance(parti.RebalanceInput{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Rebalance: got %v, want an error with %s", err, want)
		}
	}
}

// FuzzRebalance makes input from bytes, good and bad, and wants a complete result
// or an error, never a panic.
func FuzzRebalance(f *testing.F) {
	f.Add([]byte{3, 10, 20, 30, 5, 1, 2, 3, 4, 5, 2, 0, 1, 255, 0, 1})
	f.Add([]byte{0})
	f.Add([]byte{2, 0, 0, 40, 7, 7, 7, 200, 201})
	f.Add([]byte("a worker and some partitions with weights and owners"))
	f.Fuzz(func(t *testing.T, data []byte) {
		at := 0
		next := func() int {
			if at == len(data) {
				return 0
			}
			at++
			return int(data[at-1])
		}
		var in parti.RebalanceInput
		capacities := []float64{0, 1, 1, 1, 2, 0.5, 1e300, math.SmallestNonzeroFloat64, -1, math.NaN(), math.Inf(1)}
		names := append(workers(8), "")
		for range next() % 8 {
			id := names[len(in.Workers)]
			if n := next(); n >= 240 { // another one's, or none
				id = names[n%len(names)]
			}
			in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: capacities[next()%len(capacities)]})
		}
		weights := []int64{0, -1, 1, 7, 100, 1 << 40, math.MaxInt64 / 4, math.MaxInt64, math.MinInt64}
		for i := range next() {
			key := []string{"p", string(rune('a' + i%26)), string(rune('a' + i/26))}
			if next() == 99 {
				key = key[:next()%4%len(key)]
			}
			in.Partitions = append(in.Partitions, parti.Partition{Keys: key, Weight: weights[next()%len(weights)]})
		}
		if next()%2 == 1 {
			in.PrevWorkers = workers(next() % 10)
			for range in.Partitions {
				in.PrevOwner = append(in.PrevOwner, int32(next()%(len(in.PrevWorkers)+2)-1))
			}
		}
		var ids []string
		for _, w := range in.Workers {
			ids = append(ids, w.ID)
		}
		for name, s := range all() {
			got, err := s.Rebalance(in)
			offender := firstOffender(in)
			switch {
			case (err != nil) != (offender != ""):
				t.Errorf("%s: error %v, want one that names %q", name, err, offender)
			case err != nil && (got != nil || !strings.Contains(err.Error(), offender)):
				t.Errorf("%s: got %v, %v; want an error that names %q", name, got, err, offender)
			case err == nil:
				checkComplete(t, name, ids, in.Partitions, got)
			}
		}
	})
}

// firstOffender names what is wrong with an input, in the order in which it is
// looked at; "" when nothing is.
func firstOffender(in parti.RebalanceInput) string {
	able := false
	sum := 0.0
	for i, w := range in.Workers {
		switch {
		case w.ID == "":
			return "worker without an id"
		case slices.ContainsFunc(in.Workers[:i], func(o parti.WorkerInfo) bool { return o.ID == w.ID }):
			return fmt.Sprintf("worker %q is listed twice", w.ID)
		case !(w.Capacity >= 0) || math.IsInf(w.Capacity, 0) || math.IsInf(sum+w.Capacity, 0):
			return fmt.Sprintf("worker %q: capacity %v", w.ID, w.Capacity)
		}
		sum += w.Capacity
		able = able || w.Capacity > 0
	}
	for i, p := range in.Partitions {
		switch {
		case len(p.Keys) == 0:
			return fmt.Sprintf("partition %d of the list", i)
		case slices.Contains(p.Keys, ""):
			return fmt.Sprintf("partition %q", p.Keys)
		}
	}
	total := int64(0)
	for _, p := range in.Partitions {
		w := p.Weight
		if w < 0 {
			return fmt.Sprintf("partition %q: weight %d", p, w)
		}
		if w == 0 {
			w = parti.DefaultWeight
		}
		if total += w; total < 0 {
			return fmt.Sprintf("partition %q: weight %d", p, w)
		}
	}
	for i, p := range in.Partitions {
		if slices.ContainsFunc(in.Partitions[:i], func(o parti.Partition) bool { return slices.Equal(o.Keys, p.Keys) }) {
			return fmt.Sprintf("partition %q is listed twice", p)
		}
	}
	seen := map[string]bool{}
	if in.PrevOwner != nil {
		for _, id := range in.PrevWorkers {
			if seen[id] {
				return fmt.Sprintf("previous worker %q", id)
			}
			seen[id] = true
		}
		for i, o := range in.PrevOwner {
			if o < -1 || int(o) >= len(in.PrevWorkers) {
				return fmt.Sprintf("partition %q: previous owner %d", in.Partitions[i], o)
			}
		}
	}
	if !able && len(in.Partitions) > 0 {
		return fmt.Sprintf("nobody can own partition %q", in.Partitions[0])
	}
	return ""
}
