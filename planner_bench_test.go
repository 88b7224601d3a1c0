package parti

import (
	"fmt"
	"testing"
)

// contiguous gives each worker a stretch of the list and costs nothing itself.
func contiguous(workers []string, parts []Partition) (map[string][]Partition, error) {
	out := make(map[string][]Partition, len(workers))
	for w, id := range workers {
		out[id] = parts[len(parts)*w/len(workers) : len(parts)*(w+1)/len(workers)]
	}
	return out, nil
}

func benchParts(n int) []Partition {
	list := make([]Partition, n)
	for i := range list {
		list[i] = Partition{Keys: []string{fmt.Sprintf("topic-%d", i%100), fmt.Sprintf("partition-%d", i)}, Weight: int64(50 + i*7919%451)}
	}
	return list
}

func BenchmarkPartitionList(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		parts := benchParts(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := newPartitionList(parts); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPlanner(b *testing.B) {
	for _, n := range []int{10_000, 1_000_000} {
		l, err := newPartitionList(benchParts(n))
		if err != nil {
			b.Fatal(err)
		}
		workers := make([]string, n/1000)
		for w := range workers {
			workers[w] = fmt.Sprintf("worker-%d", w)
		}
		p := newPlanner(fakeStrategy(contiguous))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.plan(equals(workers...), l, nil, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
