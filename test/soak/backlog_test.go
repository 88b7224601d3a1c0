package soak

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// backlog publishes numbered messages, so that enough of them wait in every
// partition.
type backlog struct {
	js        jetstream.JetStream
	stream    jetstream.Stream
	own       *crew.Journal
	published []int
	retry     bool // what is not acknowledged is published again; the server drops doubles
}

// fill publishes until each partition has at least want messages that no handler
// has finished.
func (b *backlog) fill(ctx context.Context, want int) error {
	waiting, err := b.waiting(ctx)
	if err != nil {
		return err
	}
	var missing [][2]int                        // partition and number
	for i := range want - slices.Min(waiting) { // partitions take turns in the stream
		for part, n := range waiting {
			if i < want-n {
				missing = append(missing, [2]int{part, b.published[part] + 1 + i})
			}
		}
	}
	if err := insist(ctx, b.retry, func() error {
		missing, err = b.publish(ctx, missing)
		return err
	}); err != nil {
		return err
	}
	for part, n := range waiting {
		if n < want {
			b.published[part] += want - n
			b.own.Add(oracle.Record{Kind: oracle.Published, Part: part, N: b.published[part]})
		}
	}
	return nil
}

// publish returns the messages that were not acknowledged, and why.
func (b *backlog) publish(ctx context.Context, msgs [][2]int) (failed [][2]int, err error) {
	acks := make([]jetstream.PubAckFuture, len(msgs))
	for i, m := range msgs {
		opts := []jetstream.PublishOpt{jetstream.WithStallWait(30 * time.Second)}
		if b.retry {
			opts = append(opts, jetstream.WithMsgID(fmt.Sprintf("%d-%d", m[0], m[1])))
		}
		if acks[i], err = b.js.PublishAsync(subjectOf(m[0]), strconv.AppendInt(nil, int64(m[1]), 10), opts...); err != nil {
			return msgs, fmt.Errorf("publish: %w", err)
		}
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case e := <-ack.Err():
			failed, err = append(failed, msgs[i]), fmt.Errorf("publish: %w", e)
		case <-ctx.Done():
			return msgs, ctx.Err()
		}
	}
	return failed, err
}

// waiting returns how many messages of each partition are not acknowledged.
func (b *backlog) waiting(ctx context.Context) (out []int, err error) {
	err = insist(ctx, b.retry, func() error {
		out, err = b.ask(ctx)
		return err
	})
	return out, err
}

func (b *backlog) ask(ctx context.Context) ([]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out := make([]int, len(b.published))
	if b.stream.CachedInfo().Config.Retention == jetstream.WorkQueuePolicy { // what is acknowledged is not in it
		info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter("work.>"))
		if err != nil {
			return nil, fmt.Errorf("read stream: %w", err)
		}
		for part := range out {
			out[part] = int(info.State.Subjects[subjectOf(part)])
		}
		return out, nil
	}
	list := b.stream.ListConsumers(ctx)
	seen := 0
	for info := range list.Info() {
		var part int
		if _, err := fmt.Sscanf(info.Name, durablePrefix+"-p%d", &part); err != nil || part >= len(out) {
			return nil, fmt.Errorf("consumer %q is nobody's", info.Name)
		}
		out[part] = int(info.NumPending) + info.NumAckPending
		seen++
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	if seen != len(out) {
		return nil, fmt.Errorf("there are %d consumers, want %d", seen, len(out))
	}
	return out, nil
}

// total is how many messages wait.
func (b *backlog) total(ctx context.Context) (int, error) {
	waiting, err := b.waiting(ctx)
	sum := 0
	for _, n := range waiting {
		sum += n
	}
	return sum, err
}

// left records what the server still has in the end: for the owner of a partition
// and, where handled messages are removed, in the stream.
func (b *backlog) left(ctx context.Context) error {
	waiting, err := b.waiting(ctx)
	if err != nil {
		return err
	}
	info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter("work.>"))
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	for part, n := range waiting {
		if info.Config.Retention != jetstream.LimitsPolicy {
			n = max(n, int(info.State.Subjects[subjectOf(part)]))
		}
		if n > 0 {
			b.own.Add(oracle.Record{Kind: oracle.Left, Part: part, N: n})
		}
	}
	return nil
}

// insist calls f again while it fails, if that is wanted: a cluster that elects a
// leader answers nobody.
func insist(ctx context.Context, wanted bool, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || !wanted || try == 100 {
			return err
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
