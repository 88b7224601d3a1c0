package parti

import (
	"context"
	"sync"
)

// PartitionFollower may be implemented by a [WorkerConsumerUpdater] that makes
// consumers before their partitions are owned, and removes those of partitions
// that are no more: one worker does that for all.
type PartitionFollower interface {
	// FollowPartitions is called on the leader, once for each leadership and
	// never twice at a time, and runs until ctx ends, with the leadership.
	// Lists receives each list that the source returned, the newest when
	// several wait, before a plan is made of it. Nothing waits for
	// FollowPartitions but the end of Stop.
	FollowPartitions(ctx context.Context, lists <-chan []Partition)
}

// following has the updater follow the list of partitions while this worker
// leads.
type following struct {
	ctx    context.Context // of the run
	users  *tasks
	to     PartitionFollower // nil when the updater follows nothing
	failed func(error)

	mu      sync.Mutex
	lists   chan []Partition   // of this leadership; nil while it does not lead
	end     context.CancelFunc // likewise
	running chan struct{}      // closed when the last call has returned; nil before the first
}

func newFollowing(ctx context.Context, users *tasks, updater WorkerConsumerUpdater, failed func(error)) *following {
	f := &following{ctx: ctx, users: users, failed: failed}
	f.to, _ = updater.(PartitionFollower)
	return f
}

// lead begins and ends a leadership.
func (f *following) lead(leads bool) {
	if f.to == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case leads == (f.lists != nil):
	case leads:
		ctx, end := context.WithCancel(f.ctx)
		before, done, lists := f.running, make(chan struct{}), make(chan []Partition, 1)
		f.lists, f.end, f.running = lists, end, done
		f.users.start("FollowPartitions", func() {
			defer close(done)
			if before != nil {
				<-before
			}
			if ctx.Err() != nil {
				return
			}
			err := protect("FollowPartitions", func() error {
				f.to.FollowPartitions(ctx, lists)
				return nil
			})
			if err != nil {
				f.failed(err)
			}
		})
	default:
		f.end()
		f.lists, f.end = nil, nil
	}
}

// listed passes on what the source returned; a list that nobody has read yet is
// replaced.
func (f *following) listed(parts func() []Partition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lists == nil {
		return
	}
	select {
	case <-f.lists:
	default:
	}
	f.lists <- parts() // it has room: only this method sends
}
