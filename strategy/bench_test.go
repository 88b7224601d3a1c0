package strategy_test

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

var benchSizes = []struct{ partitions, workers int }{
	{1_000, 10}, {10_000, 64}, {100_000, 64}, {100_000, 1_000}, {1_000_000, 1_000},
}

func benchList(n int) []parti.Partition {
	list := make([]parti.Partition, n)
	for i := range list {
		list[i] = parti.Partition{Keys: []string{fmt.Sprintf("topic-%d", i%100), fmt.Sprintf("partition-%d", i)}, Weight: int64(50 + i*7919%451)}
	}
	return list
}

// naiveRing is consistent hashing as it is usually written.
func naiveRing(workers []string, parts []parti.Partition) map[string][]parti.Partition {
	type node struct {
		hash   uint64
		worker string
	}
	var ring []node
	for _, w := range workers {
		for v := range 150 {
			ring = append(ring, node{xxhash.Sum64String(fmt.Sprintf("%s#%d", w, v)), w})
		}
	}
	sort.Slice(ring, func(i, j int) bool { return ring[i].hash < ring[j].hash })
	out := make(map[string][]parti.Partition)
	for _, p := range parts {
		h := xxhash.Sum64String(strings.Join(p.Keys, "."))
		i := sort.Search(len(ring), func(i int) bool { return ring[i].hash >= h })
		w := ring[i%len(ring)].worker
		out[w] = append(out[w], p)
	}
	return out
}

func BenchmarkAssign(b *testing.B) {
	for _, size := range benchSizes {
		list, ws := benchList(size.partitions), workers(size.workers)
		name := fmt.Sprintf("%dx%d", size.partitions, size.workers)
		b.Run("naive/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				naiveRing(ws, list)
			}
		})
		// A cold call hashes every key, as the first call for a list does.
		b.Run("cold/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := strategy.NewConsistentHash().Assign(ws, list); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// previous returns the owners of the list as a plan of s gives them.
func previous(b *testing.B, s *strategy.ConsistentHash, ws []string, list []parti.Partition) []int32 {
	b.Helper()
	got, err := s.Assign(ws, list)
	if err != nil {
		b.Fatal(err)
	}
	index := make(map[string]int32, len(list))
	for i, p := range list {
		index[p.Keys[1]] = int32(i)
	}
	owners := make([]int32, len(list))
	for w, id := range ws {
		for _, p := range got[id] {
			owners[index[p.Keys[1]]] = int32(w)
		}
	}
	return owners
}

func BenchmarkRebalance(b *testing.B) {
	for _, size := range benchSizes {
		list, ws := benchList(size.partitions), workers(size.workers+1)
		s := strategy.NewConsistentHash()
		few, many := ws[:size.workers], ws
		for _, c := range []struct {
			name     string
			from, to []string
		}{{"leave", many, few}, {"join", few, many}, {"none", few, few}} {
			b.Run(fmt.Sprintf("%s/%dx%d", c.name, size.partitions, size.workers), func(b *testing.B) {
				in := parti.RebalanceInput{Partitions: list, PrevWorkers: c.from, PrevOwner: previous(b, s, c.from, list)}
				for _, id := range c.to {
					in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: 1})
				}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Rebalance(in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
