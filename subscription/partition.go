package subscription

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// partition pulls from the durable of one partition, from a goroutine of its
// own, until it is stopped.
type partition struct {
	target
	handler   MessageHandler
	slots     chan struct{} // limits handlers over all partitions; nil for no limit
	held      func(ctx context.Context) bool
	partition parti.Partition
	// consumer is the durable as found when the partition was gained, for the
	// first pull.
	consumer jetstream.Consumer

	work   context.Context // of handlers; ends when the partition is revoked
	end    context.CancelCauseFunc
	stopc  chan struct{} // closed: take up nothing more
	done   chan struct{} // closed: nothing runs any more
	begun  sync.Once     // the stop
	leaves time.Time     // when it was told to stop, before stopc is closed
	late   atomic.Bool   // an update has not waited for done

	mu         sync.Mutex
	msgs       jetstream.MessagesContext // what it pulls from, while it does
	reconnects uint64                    // before it did
	missed     time.Time                 // since when there is another connection
	again      bool                      // msgs was stopped, for the pull to begin again

	heard atomic.Bool // a delivery has come since msgs began

	hands   hands
	acks    acks
	stats   counters
	backlog *backlog

	// Used by the goroutine that runs only.
	position position

	// Of PerWorker: what was fetched for it, the last of that, and the last one
	// completed, by stream sequence.
	queue     chan *hand
	enqueued  uint64
	completed atomic.Uint64
}

// position is how far an ordered partition has come.
type position struct {
	created  time.Time // of the durable, whose sequences are meant
	taken    bool      // the durable was taken over before
	done     uint64    // stream sequence completed last
	next     uint64    // consumer sequence of the next delivery; 0 when unknown
	deaths   int       // of owners at the first message after the ack floor
	suspect  bool      // that message has not been seen yet
	sequence uint64    // stream sequence in hand
	// left is how many unacknowledged messages must come before any is begun,
	// from a server that cannot reset, and leftUpTo their highest sequence.
	left     int
	leftUpTo uint64
	// contested is until when requests that somebody else left with the server may
	// take messages away: those of an owner that hangs, or that is cut off and
	// not yet missed by the server. Zero when there are none.
	contested time.Time
	unlooked  bool   // whether the server has the request
	pin       string // of the last delivery
}

// stop has the partition take up nothing more; done is closed when what is in
// hand has been finished.
func (p *partition) stop() {
	p.begun.Do(func() {
		p.leaves = time.Now()
		close(p.stopc)
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.msgs != nil {
		p.msgs.Drain()
	}
}

// revoke ends the contexts of handlers. From now on nothing is acknowledged or
// kept alive.
func (p *partition) revoke(cause error) { p.end(cause) }

func (p *partition) isStopping() bool { return closed(p.stopc) }

func (p *partition) isDone() bool { return closed(p.done) }

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// quickResyncs is how often in a row a partition begins again at once. Each lost
// delivery uses up a request that somebody else left behind.
const quickResyncs = 100

// run serves the partition until it is stopped, beginning again after trouble.
func (p *partition) run() {
	defer p.end(ErrRevoked)
	again := 0
	for n := 1; !p.isStopping(); n++ {
		p.awaitLease()
		began := time.Now()
		err := p.serve()
		if err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			n, again = 1, 0
		}
		if errors.Is(err, errPullAgain) {
			if again++; again == 1 {
				p.cfg.Logger.Info("pulling again", "partition", p.id, "reason", err)
				continue
			}
		}
		p.backlog.failing.Store(true)
		p.failed(fmt.Errorf("pull partition %s: %w", p.id, err))
		if errors.Is(err, ErrDeliveryGap) && n < quickResyncs {
			continue
		}
		if !p.pause(p.cfg.backoff(n)) {
			break
		}
	}
	p.letGo(nil) // if trouble has kept it from doing so
	p.cfg.Metrics.ObserveRelease(time.Since(p.leaves))
}

// pause waits; false when the partition is stopped.
func (p *partition) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.stopc:
		return false
	}
}

// serve takes the durable over and handles messages until the partition is
// stopped (nil) or has to begin again.
func (p *partition) serve() error {
	cons, err := p.takeOver()
	if err != nil || p.isStopping() {
		return err
	}
	opts := p.cfg.pullOptions(cons)
	if pinned(cons) {
		opts = append(opts, jetstream.PullPriorityGroup(pinGroup))
	}
	p.heard.Store(false)
	p.position.unlooked = true
	reconnects := p.js.Conn().Stats().Reconnects
	msgs, err := cons.Messages(opts...)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.msgs, p.reconnects, p.missed, p.again = msgs, reconnects, time.Time{}, false
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.msgs = nil
		p.mu.Unlock()
	}()
	if p.isStopping() { // before msgs could be drained by stop
		msgs.Drain()
	}
	if p.cfg.Unordered {
		return p.serveUnordered(msgs)
	}
	return p.serveOrdered(cons, msgs)
}

// serveOrdered handles one message after the other.
func (p *partition) serveOrdered(cons jetstream.Consumer, msgs jetstream.MessagesContext) error {
	gathered, err := p.gather(cons, msgs)
	if err != nil {
		_, err = p.pulled(err)
		left := make([]jetstream.Msg, 0, len(gathered))
		for _, f := range gathered {
			p.hands.put(f.hand)
			left = append(left, f.hand.msg)
		}
		p.letGo(append(left, drain(msgs)...))
		return err
	}
	if left := p.finish(gathered); len(left) > 0 {
		if !p.isStopping() {
			drain(msgs)
			return errLeaseEnded
		}
		p.letGo(append(left, drain(msgs)...))
		return nil
	}
	for {
		msg, err := p.next(cons, msgs)
		if again, err := p.pulled(err); !again {
			if err == nil {
				p.letGo(nil)
			} else {
				drain(msgs)
			}
			return err
		} else if msg == nil {
			continue
		}
		fresh, err := p.advance(msg)
		if err != nil {
			drain(msgs)
			return err
		}
		if !fresh {
			p.ack(msg) // completed before, its acknowledgement was lost or late
			continue
		}
		h := p.hands.take(msg)
		completed := p.complete(h)
		p.hands.put(h)
		if !completed && !p.isStopping() {
			drain(msgs)
			return errLeaseEnded
		}
		if !completed {
			p.letGo(append([]jetstream.Msg{msg}, drain(msgs)...))
			return nil
		}
		p.position.done = p.position.sequence
	}
}

// advance checks that a delivery is the next one. It reports whether the message
// has not been completed before, and an error when one is missing before it.
func (p *partition) advance(msg jetstream.Msg) (bool, error) {
	p.heard.Store(true)
	p.position.pin = msg.Headers().Get(pinHeader)
	meta, err := msg.Metadata()
	if err != nil {
		return false, err
	}
	at := &p.position
	if at.next != 0 && meta.Sequence.Consumer != at.next {
		p.cfg.Metrics.IncrementResync()
		return false, fmt.Errorf("%w: got delivery %d, expected %d", ErrDeliveryGap, meta.Sequence.Consumer, at.next)
	}
	at.next = meta.Sequence.Consumer + 1
	at.sequence = meta.Sequence.Stream
	p.delivered(meta)
	return meta.Sequence.Stream > at.done, nil
}

// complete has a message handled until it succeeds or is poison. It returns
// false when the partition was stopped before.
func (p *partition) complete(h *hand) bool {
	failures := 0
	if p.position.suspect {
		failures, p.position.suspect = p.position.deaths, false
	}
	var cause error
	for {
		if p.isStopping() {
			return false
		}
		if p.cfg.MaxDeliver > 0 && failures >= p.cfg.MaxDeliver {
			return p.bury(h.msg, failures, cause)
		}
		var wait time.Duration
		var finished bool
		finished, wait, cause = p.try(h)
		if finished || p.isRevoked() {
			return finished
		}
		failures++
		p.stats.failed()
		if wait == 0 {
			wait = p.cfg.backoff(failures)
		}
		if !p.pause(wait) {
			return false
		}
	}
}

// try calls the handler once. It reports whether the message is dealt with; if
// not, after how long the handler wants it again, and why.
func (p *partition) try(h *hand) (bool, time.Duration, error) {
	if !p.acquire() {
		return false, 0, nil
	}
	defer p.release()
	return p.attempt(h)
}

// attempt is try for who has the right to call the handler.
func (p *partition) attempt(h *hand) (bool, time.Duration, error) {
	if p.isRevoked() {
		return false, 0, nil
	}
	ctx, end := context.WithCancelCause(p.work)
	m := &message{Msg: h.msg, revoked: p.isRevoked}
	h.begin(end)
	err := p.call(ctx, m)
	d := h.finish()
	end(nil)

	v, delay := m.decision()
	p.cfg.Metrics.ObserveHandler(d, err == nil && v != again)
	if err != nil {
		err = fmt.Errorf("handle %s: %w", describe(h.msg), err)
		p.failed(err)
	}
	switch {
	case v == acked || v == termed:
		p.acknowledged(h.msg)
		return true, 0, nil
	case p.isRevoked():
		return false, 0, err
	case err == nil && v == undecided:
		return p.ack(h.msg), 0, nil
	default:
		return false, delay, err
	}
}

// call calls the handler; a panic is an error.
func (p *partition) call(ctx context.Context, m *message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.cfg.Metrics.IncrementPanic()
			err = panicked(r)
			p.cfg.Logger.Error("handler panicked", "partition", p.id, "error", err, "stack", stack())
		}
	}()
	return p.handler.Handle(ctx, m)
}

// acquire waits for the right to call a handler; false when the partition is
// stopped before.
func (p *partition) acquire() bool {
	if p.slots == nil {
		return true
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-p.stopc:
		return false
	}
}

func (p *partition) release() {
	if p.slots != nil {
		<-p.slots
	}
}

// counters feed PartitionStats.
type counters struct {
	redelivered, completed, failures atomic.Uint64
	last                             atomic.Int64 // Unix nanoseconds
}

// delivered counts a delivery.
func (p *partition) delivered(meta *jetstream.MsgMetadata) {
	if meta.NumDelivered > 1 {
		p.stats.redelivered.Add(1)
	}
	now := time.Now().UnixNano()
	p.stats.last.Store(now)
	p.backlog.delivered(meta, now)
}

func (c *counters) done() {
	c.completed.Add(1)
	c.last.Store(time.Now().UnixNano())
}

func (c *counters) failed() {
	c.failures.Add(1)
	c.last.Store(time.Now().UnixNano())
}
