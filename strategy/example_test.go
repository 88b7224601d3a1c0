package strategy_test

import (
	"fmt"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

func examplePartitions(n int) []parti.Partition {
	list := make([]parti.Partition, n)
	for i := range list {
		list[i] = parti.Partition{Keys: []string{"orders", fmt.Sprint(i)}, Weight: 100}
	}
	return list
}

func ExampleNewConsistentHash() {
	s := strategy.NewConsistentHash(
		strategy.WithVirtualNodes(150), // more nodes: evener homes
		strategy.WithHashSeed(42),
	)
	result, err := s.Assign([]string{"worker-0", "worker-1", "worker-2"}, examplePartitions(300))
	if err != nil {
		fmt.Println(err)
	}
	for _, id := range []string{"worker-0", "worker-1", "worker-2"} {
		fmt.Println(id, len(result[id]) >= 98 && len(result[id]) <= 102)
	}
	// Output:
	// worker-0 true
	// worker-1 true
	// worker-2 true
}

func ExampleWithVirtualNodes() {
	_, err := strategy.NewConsistentHash(strategy.WithVirtualNodes(0)).Assign([]string{"worker-0"}, nil)
	fmt.Println(err)
	// Output: consistent hash: WithVirtualNodes(0): want 1 to 65536
}

// The workers of a group must agree on the seed.
func ExampleWithHashSeed() {
	workers, list := []string{"worker-0", "worker-1"}, examplePartitions(4)
	for _, seed := range []uint64{1, 1, 2} {
		result, _ := strategy.NewConsistentHash(strategy.WithHashSeed(seed)).Assign(workers, list)
		fmt.Println(result["worker-0"])
	}
	// Output:
	// [orders.0 orders.2]
	// [orders.0 orders.2]
	// [orders.3 orders.2]
}

func ExampleWithLoadBand() {
	workers, list := []string{"worker-0", "worker-1"}, examplePartitions(1000)
	plain, _ := strategy.NewConsistentHash(strategy.WithLoadBand(0)).Assign(workers, list)
	even, _ := strategy.NewConsistentHash(strategy.WithLoadBand(0.02)).Assign(workers, list)
	fmt.Println(len(plain["worker-0"]), len(plain["worker-1"]))
	fmt.Println(len(even["worker-0"]), len(even["worker-1"]))
	// Output:
	// 509 491
	// 505 495
}

// A worker joins: it gets its share, and nothing else moves.
func ExampleConsistentHash_Rebalance() {
	s := strategy.NewConsistentHash()
	list := examplePartitions(1000)
	before, _ := s.Assign([]string{"worker-0", "worker-1"}, list)

	owner := make(map[string]int32)
	for _, p := range before["worker-1"] {
		owner[p.ID()] = 1
	}
	in := parti.RebalanceInput{Partitions: list, PrevWorkers: []string{"worker-0", "worker-1"}}
	for _, p := range list {
		in.PrevOwner = append(in.PrevOwner, owner[p.ID()])
	}
	for _, id := range []string{"worker-0", "worker-1", "worker-2"} {
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: id, Capacity: 1})
	}
	after, _ := s.Rebalance(in)

	stayed := 0
	for w, id := range in.PrevWorkers {
		for _, p := range after[id] {
			if owner[p.ID()] == int32(w) {
				stayed++
			}
		}
	}
	fmt.Println("newcomer:", len(after["worker-2"]))
	fmt.Println("moved:   ", len(list)-stayed)
	// Output:
	// newcomer: 327
	// moved:    327
}

func ExampleNewRoundRobin() {
	result, _ := strategy.NewRoundRobin().Assign([]string{"worker-0", "worker-1"}, examplePartitions(5))
	fmt.Println(result["worker-0"])
	fmt.Println(result["worker-1"])
	// Output:
	// [orders.0 orders.2 orders.4]
	// [orders.1 orders.3]
}

// evenOdd is a strategy of one's own that does not know who owned what before.
type evenOdd struct{}

func (evenOdd) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	result := make(map[string][]parti.Partition)
	for i, p := range partitions {
		id := workers[i%len(workers)]
		result[id] = append(result[id], p)
	}
	return result, nil
}

// Sticky gives a strategy of one's own the upgrade that moves little.
func ExampleSticky() {
	var s parti.AssignmentStrategy = strategy.Sticky(evenOdd{})
	_, ok := s.(parti.Rebalancer)
	fmt.Println(ok)
	result, _ := s.Assign([]string{"worker-0", "worker-1"}, examplePartitions(10))
	fmt.Println(len(result["worker-0"]), len(result["worker-1"]))
	// Output:
	// true
	// 5 5
}
