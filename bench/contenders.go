package main

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/dgryski/go-jump"
	"github.com/dgryski/go-rendezvous"
	"github.com/golang/groupcache/consistenthash"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

// result is what every contender must return: who gets what.
type result = map[string][]parti.Partition

// contender divides partitions among workers.
type contender struct {
	name string
	// assign divides anew. Names are the ids of the partitions, made before.
	assign func(workers []string, parts []parti.Partition, names []string) (result, error)
	// rebalance goes on from what was; nil for those that cannot.
	rebalance func() parti.Rebalancer
}

func contenders() []contender {
	ours := func(name string, s func() parti.Rebalancer) contender {
		return contender{name: name, rebalance: s, assign: func(workers []string, parts []parti.Partition, _ []string) (result, error) {
			return s().(parti.AssignmentStrategy).Assign(workers, parts)
		}}
	}
	return []contender{
		ours("parti ConsistentHash", func() parti.Rebalancer { return strategy.NewConsistentHash() }),
		ours("parti RoundRobin", func() parti.Rebalancer { return strategy.NewRoundRobin() }),
		{name: "naive ring", assign: naiveRing},
		{name: "groupcache", assign: groupcacheRing},
		{name: "go-rendezvous", assign: rendezvousHash},
		{name: "go-jump", assign: jumpHash},
	}
}

const ringPoints = 150

// naiveRing is consistent hashing as it is usually written.
func naiveRing(workers []string, parts []parti.Partition, _ []string) (result, error) {
	type point struct {
		hash   uint64
		worker string
	}
	var ring []point
	for _, w := range workers {
		for v := range ringPoints {
			ring = append(ring, point{xxhash.Sum64String(fmt.Sprintf("%s#%d", w, v)), w})
		}
	}
	slices.SortFunc(ring, func(a, b point) int {
		if a.hash < b.hash {
			return -1
		}
		return 1
	})
	out := result{}
	for _, p := range parts {
		h := xxhash.Sum64String(strings.Join(p.Keys, "."))
		i := sort.Search(len(ring), func(i int) bool { return ring[i].hash >= h })
		w := ring[i%len(ring)].worker
		out[w] = append(out[w], p)
	}
	return out, nil
}

func groupcacheRing(workers []string, parts []parti.Partition, names []string) (result, error) {
	ring := consistenthash.New(ringPoints, func(b []byte) uint32 { return uint32(xxhash.Sum64(b)) })
	ring.Add(workers...)
	out := result{}
	for i, p := range parts {
		w := ring.Get(names[i])
		out[w] = append(out[w], p)
	}
	return out, nil
}

func rendezvousHash(workers []string, parts []parti.Partition, names []string) (result, error) {
	r := rendezvous.New(workers, xxhash.Sum64String)
	out := result{}
	for i, p := range parts {
		w := r.Lookup(names[i])
		out[w] = append(out[w], p)
	}
	return out, nil
}

func jumpHash(workers []string, parts []parti.Partition, names []string) (result, error) {
	out := result{}
	for i, p := range parts {
		w := workers[jump.Hash(xxhash.Sum64String(names[i]), len(workers))]
		out[w] = append(out[w], p)
	}
	return out, nil
}
