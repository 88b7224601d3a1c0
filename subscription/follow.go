package subscription

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

const forever = time.Duration(math.MaxInt64)

const (
	// aheadEvery spaces the durables that are made ahead, so that a long list
	// does not keep the server from its work.
	aheadEvery = 5 * time.Millisecond
	// aheadParallel is how many are made at a time: on a replicated stream each
	// takes a while.
	aheadParallel = 4
	// followRetry is how long after trouble the list is looked at again.
	followRetry = 30 * time.Second
)

// FollowPartitions makes the durables of all partitions of the list ahead, one
// worker for all, and removes those of partitions that are no more. A manager
// calls it while its worker leads; see parti.PartitionFollower.
//
// The durable of a partition that has left the list stays while a message of it
// is in the stream: should the partition come back, it goes on where it was.
// What was never handled is reported with [ErrAbandoned]. When there is nothing
// left and nobody pulls, it is removed after DurableConfig.RetireAfter.
func (h *DurableHelper) FollowPartitions(ctx context.Context, lists <-chan []parti.Partition) {
	if h.cfg.Layout != PerPartition {
		return
	}
	f := &follower{h: h, gone: make(map[string]*departed)}
	defer h.cfg.Metrics.SetAbandoned(0, 0)
	for {
		again := time.NewTimer(f.next())
		select {
		case list := <-lists:
			f.list = make(map[string]parti.Partition, len(list))
			for _, p := range list {
				f.list[p.ID()] = p
			}
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
		if ctx.Err() != nil {
			return
		}
		f.failed = false
		if err := f.tend(ctx); err != nil && ctx.Err() == nil {
			f.failed = true
			err = withCause(h.js.Conn(), err)
			h.cfg.Logger.Warn("durables do not follow the list of partitions", "error", err)
			h.cfg.OnError(parti.Partition{}, fmt.Errorf("follow the list of partitions: %w", err))
		}
	}
}

// follower is the state of one leadership.
type follower struct {
	h      *DurableHelper
	list   map[string]parti.Partition // by id; nil before the first
	gone   map[string]*departed       // by durable
	failed bool                       // the last look
}

// departed is a durable whose partition is not in the list.
type departed struct {
	since    time.Time
	reported bool
}

// next is how long until the durables are looked at again without a new list.
func (f *follower) next() time.Duration {
	switch {
	case f.list == nil:
		return forever
	case f.failed:
		return followRetry
	case len(f.gone) > 0:
		if after := f.h.cfg.RetireAfter; after > 0 {
			return min(max(after/4, time.Second), 10*time.Minute)
		}
		return 10 * time.Minute
	default:
		return forever
	}
}

// tend compares the durables of the stream with the list.
func (f *follower) tend(ctx context.Context) error {
	subjects, err := f.h.subjectsOf(f.list)
	if err != nil {
		return err
	}
	stream, err := f.h.checkStream(ctx, subjects, "the list")
	if err != nil {
		return err
	}
	have, err := f.existing(ctx, stream)
	if err != nil {
		return err
	}
	can := f.h.abilities(ctx)
	f.h.warnOf(stream, can)
	var missing []target
	for id, subject := range subjects {
		to := f.h.target(stream, can, id, subject)
		if _, ok := have[to.durable]; !ok {
			missing = append(missing, to)
		}
		delete(have, to.durable)
		delete(f.gone, to.durable)
	}
	if err := makeAhead(ctx, missing); err != nil {
		return err
	}
	return f.retire(ctx, stream, have)
}

// existing lists the durables that are ours, by name.
func (f *follower) existing(ctx context.Context, stream jetstream.Stream) (map[string]*jetstream.ConsumerInfo, error) {
	have := make(map[string]*jetstream.ConsumerInfo)
	lister := stream.ListConsumers(ctx)
	for info := range lister.Info() {
		id, ok := strings.CutPrefix(info.Config.Description, describedAs)
		if ok && info.Name == durableName(f.h.cfg.ConsumerPrefix, id) {
			have[info.Name] = info
		}
	}
	if err := lister.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", f.h.cfg.StreamName, err)
	}
	return have, nil
}

// makeAhead makes durables at a bounded rate.
func makeAhead(ctx context.Context, missing []target) error {
	if len(missing) == 0 {
		return nil
	}
	slices.SortFunc(missing, func(a, b target) int { return strings.Compare(a.id, b.id) })
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan target)
	var wg sync.WaitGroup
	for range min(aheadParallel, len(missing)) {
		wg.Go(func() {
			for to := range work {
				one, end := context.WithTimeout(ctx, answerTimeout)
				if _, err := to.create(one); err != nil {
					cancel(fmt.Errorf("make durable %s ahead: %w", to.durable, to.explain(err)))
				}
				end()
			}
		})
	}
	tick := time.NewTicker(aheadEvery)
	defer tick.Stop()
	for _, to := range missing {
		select {
		case work <- to:
		case <-ctx.Done():
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
	}
	close(work)
	wg.Wait()
	return context.Cause(ctx)
}

// retire reports and removes the durables of partitions that are not in the list.
func (f *follower) retire(ctx context.Context, stream jetstream.Stream, left map[string]*jetstream.ConsumerInfo) error {
	for name := range f.gone {
		if left[name] == nil {
			delete(f.gone, name)
		}
	}
	abandoned, messages := 0, uint64(0)
	for name, info := range left {
		d := f.gone[name]
		if d == nil {
			f.gone[name] = &departed{since: time.Now()}
			continue // its owner may be at work still
		}
		if n := info.NumPending + uint64(info.NumAckPending); n > 0 {
			abandoned++
			messages += n
			if !d.reported {
				d.reported = true
				f.report(info, n)
			}
			continue
		}
		if f.h.cfg.RetireAfter < 0 || time.Since(d.since) < f.h.cfg.RetireAfter || info.NumWaiting > 0 {
			continue
		}
		if err := f.remove(ctx, stream, info); err != nil {
			return err
		}
	}
	f.h.cfg.Metrics.SetAbandoned(abandoned, messages)
	return nil
}

func (f *follower) report(info *jetstream.ConsumerInfo, messages uint64) {
	id := strings.TrimPrefix(info.Config.Description, describedAs)
	err := fmt.Errorf("%w: %d of partition %s wait at durable %s of stream %s", ErrAbandoned, messages, id, info.Name, info.Stream)
	f.h.cfg.Logger.Warn("partition left the list with messages", "partition", id, "messages", messages, "durable", info.Name)
	f.h.cfg.OnError(parti.Partition{}, err)
}

// remove deletes a durable unless the stream has a message of its partition. What
// had been handled would be handled again if the partition came back.
func (f *follower) remove(ctx context.Context, stream jetstream.Stream, old *jetstream.ConsumerInfo) error {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(old.Config.FilterSubject))
	if err != nil {
		return fmt.Errorf("read stream %s: %w", f.h.cfg.StreamName, err)
	}
	if len(info.State.Subjects) > 0 {
		return nil
	}
	if err := stream.DeleteConsumer(ctx, old.Name); unlessGone(err) != nil {
		return fmt.Errorf("remove durable %s: %w", old.Name, err)
	}
	delete(f.gone, old.Name)
	f.h.cfg.Metrics.IncrementRetired()
	f.h.cfg.Logger.Info("durable of a partition that left the list removed", "durable", old.Name)
	return nil
}
