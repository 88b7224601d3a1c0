package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// consumers keeps a worker pulling from exactly the partitions it owns. Every
// partition has a durable consumer of its own whose filter never changes, so
// that owning it is pulling from it, and what its last owner acknowledged is
// where the next one goes on. The durables allow one unacknowledged message, so
// that the messages of a partition are handled one at a time, in order.
//
// It implements parti.WorkerConsumerUpdater.
type consumers struct {
	js     jetstream.JetStream
	stream string
	// durables are the names of the consumers by partition id.
	durables map[string]string
	// handle is called for one message of a partition at a time, and again for
	// the same message as long as it fails. Success is acknowledged.
	handle func(ctx context.Context, p parti.Partition, msg jetstream.Msg) error
	// failed is told of errors that are tried again.
	failed func(err error)

	mu      sync.Mutex // held for the whole of an update
	running map[string]*puller
}

var _ parti.WorkerConsumerUpdater = (*consumers)(nil)

// puller pulls from one partition until it is told to stop.
type puller struct {
	msgs jetstream.MessagesContext
	// work ends when nothing more may be done for the partition, not even for
	// the message in hand.
	work    context.Context
	abandon context.CancelFunc
	done    chan struct{}
}

// UpdateWorkerConsumer makes the worker pull from these partitions and no
// others. It returns when the message in hand of each partition given up is
// finished and its acknowledgement answered.
func (c *consumers) UpdateWorkerConsumer(ctx context.Context, _ string, partitions []parti.Partition) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	owned := make(map[string]parti.Partition, len(partitions))
	for _, p := range partitions {
		owned[p.ID()] = p
	}
	var errs []error
	for id, p := range c.running {
		if _, ok := owned[id]; !ok {
			p.msgs.Drain() // all at once, before any of them is waited for
		}
	}
	for id, p := range c.running {
		if _, ok := owned[id]; ok {
			continue
		}
		select {
		case <-p.done:
			p.abandon()
			delete(c.running, id)
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("finish partition %s: %w", id, ctx.Err()))
		}
	}
	for _, p := range partitions {
		id := p.ID()
		if was, ok := c.running[id]; ok && !was.ended() {
			continue
		}
		if err := c.start(ctx, id, p); err != nil {
			errs = append(errs, fmt.Errorf("pull partition %s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// close abandons everything, the messages in hand included: they will be
// delivered to the next owner.
func (c *consumers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.running {
		p.abandon()
		p.msgs.Stop()
	}
	for _, p := range c.running {
		<-p.done
	}
	clear(c.running)
}

// start begins to pull from a partition.
func (c *consumers) start(ctx context.Context, id string, p parti.Partition) error {
	durable, ok := c.durables[id]
	if !ok {
		return fmt.Errorf("no consumer is known for it")
	}
	cons, err := c.js.Consumer(ctx, c.stream, durable)
	if err != nil {
		return err
	}
	if cons.CachedInfo().NumAckPending > 0 {
		// The last owner died with a message in hand. Servers from 2.14 on give
		// it back at once; with older ones it comes after AckWait.
		_, _ = c.js.ResetConsumer(ctx, c.stream, durable)
	}
	msgs, err := cons.Messages(jetstream.PullMaxMessages(16))
	if err != nil {
		return err
	}
	work, abandon := context.WithCancel(context.Background())
	pl := &puller{msgs: msgs, work: work, abandon: abandon, done: make(chan struct{})}
	if c.running == nil {
		c.running = make(map[string]*puller)
	}
	c.running[id] = pl
	go func() {
		defer close(pl.done)
		c.pull(pl, p)
	}()
	return nil
}

// pull handles one message after the other until the puller is drained.
func (c *consumers) pull(pl *puller, p parti.Partition) {
	defer pl.msgs.Stop()
	for {
		msg, err := pl.msgs.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return
		case errors.Is(err, jetstream.ErrConsumerDeleted):
			c.failed(fmt.Errorf("partition %s: %w", p, err))
			return
		case err != nil: // missed heartbeats and the like: it pulls again by itself
			if !c.pause(pl.work, fmt.Errorf("partition %s: %w", p, err)) {
				return
			}
		default:
			if !c.finish(pl.work, p, msg) {
				return
			}
		}
	}
}

// finish handles a message until it succeeds and acknowledges it. It reports
// whether to go on.
func (c *consumers) finish(ctx context.Context, p parti.Partition, msg jetstream.Msg) bool {
	for {
		err := c.handle(ctx, p, msg)
		if err == nil {
			break
		}
		_ = msg.InProgress()
		if !c.pause(ctx, fmt.Errorf("partition %s: %w", p, err)) {
			return false
		}
	}
	ackCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// The answer says that the next owner will not get the message again. If
	// none comes it may, and its second result is a duplicate.
	if err := msg.DoubleAck(ackCtx); err != nil {
		return c.pause(ctx, fmt.Errorf("partition %s: acknowledge: %w", p, err))
	}
	return true
}

// pause tells of an error and waits a moment; false when work has ended.
func (c *consumers) pause(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	c.failed(err)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(250 * time.Millisecond):
		return true
	}
}

func (p *puller) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
