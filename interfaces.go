package parti

import (
	"context"
	"time"
)

// PartitionSource lists the partitions to be divided.
//
// ListPartitions is called by the leader, and by a worker whose
// RefreshPartitions is called, never twice at a time by one manager, each time
// with a context that ends after Config.OperationTimeout. The list it returns
// must not be changed afterwards. Duplicate partitions and empty keys are
// refused: the last good list stays and Hooks.OnError names the offender.
type PartitionSource interface {
	ListPartitions(ctx context.Context) ([]Partition, error)
}

// PartitionWatcher is an optional upgrade of a [PartitionSource] that knows when
// its list changes. NewManager looks for it once, by type assertion. Without it
// a change is seen by [Manager.RefreshPartitions] and after
// Config.RefreshInterval.
//
// WatchPartitions watches the list until ctx ends and then returns. It calls
// changed once when it has begun to watch, since nobody knows what happened
// before, and then after every change. A call says only that the list may be
// another one: the leader reads it by ListPartitions, and what it finds is
// treated as for RefreshPartitions. changed may be called from any goroutine and
// as often as one likes: it does not block, and calls that come faster than once
// per second are taken together.
//
// WatchPartitions is called while this worker leads, on a goroutine of its own,
// never twice at a time, and while ListPartitions may be running. ctx ends with
// the leadership. Returning earlier, with an error or without, or a panic, is
// reported to Hooks.OnError as [ErrSource], and the watch is begun anew after a
// second, later after up to half a minute.
type PartitionWatcher interface {
	WatchPartitions(ctx context.Context, changed func()) error
}

// AssignmentStrategy divides partitions among workers.
//
// Assign must be deterministic: the same workers and partitions, in whatever
// order, give the same result. Every partition must appear exactly once and
// only workers of the list may be named; a result that loses, invents or doubles
// a partition is refused, the last good assignment stays, and Hooks.OnError
// names the offender. It is called on the leader only, one call at a time.
type AssignmentStrategy interface {
	Assign(workers []string, partitions []Partition) (map[string][]Partition, error)
}

// ElectionAgent decides from outside of NATS which worker may lead, for example
// with a lock in Consul or a Kubernetes lease. Its yes is necessary and not
// sufficient: a worker that the agent lets lead also takes the leader key, and
// every write of a leader is fenced by its term, so that an agent that says yes
// to two does no harm.
//
// Calls are made one at a time with a context that ends after
// Config.ElectionTimeout.
type ElectionAgent interface {
	// RequestLeadership asks to lead for the duration of lease. It returns
	// false, without an error, while somebody else leads.
	RequestLeadership(ctx context.Context, workerID string, lease time.Duration) (bool, error)
	// RenewLeadership extends the lease; an error means that it is lost.
	RenewLeadership(ctx context.Context) error
	// ReleaseLeadership gives up the lease.
	ReleaseLeadership(ctx context.Context) error
	// IsLeader reports whether this agent holds the lease.
	IsLeader(ctx context.Context) bool
}

// WorkerConsumerUpdater is told what a worker consumes. The manager calls it
// before Hooks.OnAssignmentChanged, one call at a time, with everything the
// worker owns from now on; an empty list means that nothing may be consumed. It
// returns when work on partitions no longer listed has ended, since that return
// lets the next owner start. An error is reported to Hooks.OnError and the call
// repeated with backoff until it succeeds or a newer assignment replaces it.
//
// A call that waits for work to end need not keep the next assignment waiting,
// which may have partitions to begin with: see [Superseded].
type WorkerConsumerUpdater interface {
	UpdateWorkerConsumer(ctx context.Context, workerID string, partitions []Partition) error
}
