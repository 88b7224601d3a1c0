package parti

// Rebalancer is an optional upgrade of an [AssignmentStrategy] that knows who
// owned what before, and so can keep the load even and yet move little: no
// function of the workers and the partitions alone can do both. NewManager looks
// for it once, by type assertion, and then calls Rebalance instead of Assign.
//
// What is said of Assign holds for Rebalance: the same input, in whatever order,
// gives the same result, and every partition appears exactly once. Without
// previous owners and with equal capacities Rebalance equals Assign. It keeps no
// state from call to call, so that the next leader computes the same.
type Rebalancer interface {
	Rebalance(in RebalanceInput) (map[string][]Partition, error)
}

// RebalanceInput is what a [Rebalancer] decides on. It may be read only.
type RebalanceInput struct {
	// Workers are those that may own partitions, in any order.
	Workers []WorkerInfo
	// Partitions are those to be divided, in any order.
	Partitions []Partition
	// PrevWorkers own something in the last published assignment; they need not
	// live any more.
	PrevWorkers []string
	// PrevOwner[i] is the index into PrevWorkers of the owner of Partitions[i],
	// -1 when it has none. Nil when there is no assignment yet.
	PrevOwner []int32
}

// WorkerInfo describes a worker to a [Rebalancer].
type WorkerInfo struct {
	ID string
	// Capacity is the worker's share, as declared by itself: a worker with
	// capacity 2 gets twice the weight of one with capacity 1. Zero means that it
	// owns nothing.
	Capacity float64
	// Labels are declared by the worker, for strategies that look at them.
	Labels map[string]string
}
