package subscription

import (
	"cmp"
	"slices"
	"time"

	"github.com/arloliu/parti"
)

// PartitionStats describe one partition that a worker consumes.
type PartitionStats struct {
	Partition parti.Partition
	// Durable is the name of its consumer.
	Durable string
	// Pending is how many messages wait at the server, not fetched: as of the last
	// delivery or, when a handler hangs, fails or is slow, or a pull fails, of some
	// seconds ago (minutes, when very many partitions do). With [PerWorker] it is
	// that of the worker's durable, alike for all of its partitions.
	Pending uint64
	// Failing is true after a pull that failed, until something is delivered or the
	// server says that there is nothing to deliver.
	Failing bool
	// Stuck is true while a handler that has outlasted DurableConfig.HandlerTimeout
	// has not returned.
	Stuck bool
	// InFlight is how many messages are being handled, or waiting to be tried
	// again.
	InFlight int
	// Redelivered counts deliveries that were not a message's first.
	Redelivered uint64
	// Completed counts messages dealt with, and Failures calls of the handler
	// that failed.
	Completed, Failures uint64
	// LastActivity is when a message last came or was dealt with; zero if none.
	LastActivity time.Time
	// Leaving is true while the partition is being let go.
	Leaving bool
}

// Stats returns what every partition does that is consumed, ordered by keys. The
// counts begin when the partition is gained. It never blocks.
func (h *DurableHelper) Stats() []PartitionStats {
	all := h.partitions()
	stats := make([]PartitionStats, len(all))
	for i, p := range all {
		stats[i] = PartitionStats{
			Partition: p.partition, Durable: p.durable, Leaving: p.isStopping(),
			Pending: p.backlog.pending.Load(), Failing: p.backlog.failing.Load(),
			Stuck:       slices.ContainsFunc(p.hands.list(), (*hand).stuck),
			InFlight:    int(p.hands.n.Load()),
			Redelivered: p.stats.redelivered.Load(), Completed: p.stats.completed.Load(), Failures: p.stats.failures.Load(),
		}
		if ns := p.stats.last.Load(); ns != 0 {
			stats[i].LastActivity = time.Unix(0, ns)
		}
	}
	slices.SortFunc(stats, func(a, b PartitionStats) int {
		return cmp.Or(a.Partition.Compare(b.Partition), cmp.Compare(a.Durable, b.Durable))
	})
	return stats
}
