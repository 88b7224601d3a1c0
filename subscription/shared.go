package subscription

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// shared consumes all partitions of a worker from one durable (PerWorker). A
// durable whose filters change skips messages, so that every change lets what is
// in hand finish, deletes it and makes another: on a work queue that one gives
// exactly what is not acknowledged, from the beginning.
type shared struct {
	h       *DurableHelper
	durable workerDurable
	backlog backlog
	lanes   map[string]parti.Partition // by subject

	ctx    context.Context // of requests; ends when it is stopped
	cancel context.CancelFunc
	done   chan struct{} // closed: nothing is pulled any more

	mu      sync.Mutex
	stopped bool
	begun   bool                      // before
	msgs    jetstream.MessagesContext // what it pulls from, while it does
}

// updateShared is update for PerWorker.
func (h *DurableHelper) updateShared(ctx context.Context, worker string, wanted map[string]parti.Partition) error {
	if s := h.shared; s != nil {
		if s.durable.name == durableName(h.cfg.ConsumerPrefix, worker) && s.covers(wanted) {
			return nil
		}
		s.stop()
	}
	all := h.partitions()
	for _, p := range all {
		p.stop()
	}
	nothing := make(chan struct{})
	close(nothing)
	releaseErr := h.await(ctx, all, nothing)
	if errors.Is(releaseErr, parti.ErrSuperseded) {
		return releaseErr // nothing can be begun before
	}
	if s := h.shared; s != nil {
		<-s.done
		if err := s.durable.remove(ctx); err != nil {
			return errors.Join(releaseErr, err)
		}
		h.shared = nil
	}
	for _, p := range h.partitions() { // still in a handler: not to be begun again
		delete(wanted, p.id)
	}
	return errors.Join(releaseErr, h.startShared(ctx, worker, wanted))
}

func (h *DurableHelper) startShared(ctx context.Context, worker string, wanted map[string]parti.Partition) error {
	if len(wanted) == 0 {
		return nil
	}
	subjects, stream, err := h.check(ctx, wanted)
	if err != nil {
		return err
	}
	s := &shared{
		h: h, lanes: make(map[string]parti.Partition, len(wanted)), done: make(chan struct{}),
		durable: workerDurable{
			cfg: &h.cfg, js: h.js, stream: stream, worker: worker, name: durableName(h.cfg.ConsumerPrefix, worker),
			subjects: slices.Sorted(maps.Values(subjects)),
		},
	}
	for id, subject := range subjects {
		s.lanes[subject] = wanted[id]
	}
	cons, err := s.durable.takeOver(ctx)
	if err != nil {
		return err
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.shared = s
	begun := s.begin() // from now on they are owned, also before the first pull
	go func() {        // waited for by the update that stops it
		defer close(s.done)
		s.run(cons, begun)
	}()
	return nil
}

// covers reports whether it consumes these partitions and no others.
func (s *shared) covers(wanted map[string]parti.Partition) bool {
	if s.ctx.Err() != nil || len(wanted) != len(s.lanes) {
		return false
	}
	for _, p := range s.lanes {
		if _, ok := wanted[p.ID()]; !ok {
			return false
		}
	}
	return true
}

// stop has it pull nothing more.
func (s *shared) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.cancel()
	if s.msgs != nil {
		s.msgs.Stop()
	}
}

// begin starts a goroutine for every partition; nil when it has been stopped.
func (s *shared) begin() map[string]*partition {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil
	}
	begun := make(map[string]*partition, len(s.lanes))
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	for subject, part := range s.lanes {
		work, end := context.WithCancelCause(context.WithoutCancel(parti.PartitionContext(s.ctx, part)))
		p := &partition{
			target: target{
				cfg: &s.h.cfg, js: s.h.js, stream: s.durable.stream, id: part.ID(), subject: subject, durable: s.durable.name,
			},
			handler: s.h.handler, slots: s.h.slots, held: s.h.held, partition: part,
			work: work, end: end, stopc: make(chan struct{}), done: make(chan struct{}),
			acks: acks{nc: s.h.js.Conn()}, backlog: &s.backlog, queue: make(chan *hand, s.h.cfg.MaxAckPending+s.h.cfg.BatchSize),
		}
		if !s.begun {
			p.position.deaths = s.durable.deaths[subject]
			p.position.suspect = p.position.deaths > 0
		}
		begun[subject] = p
		s.h.running[p.id] = p
		go s.h.serve(p, p.runQueue) // waited for by run, or by the update that stops it
	}
	s.begun = true
	return begun
}

// run pulls until it is stopped, beginning again after trouble.
func (s *shared) run(cons jetstream.Consumer, lanes map[string]*partition) {
	for n := 1; lanes != nil; n++ {
		began := time.Now()
		err := s.pull(cons, lanes)
		if s.ctx.Err() != nil {
			return
		}
		s.failed(err)
		if time.Since(began) > time.Minute {
			n = 1
		}
		for _, p := range lanes {
			p.stop()
		}
		for _, p := range lanes {
			select {
			case <-p.done:
			case <-s.ctx.Done():
				return
			}
		}
		for {
			if !s.pause(s.h.cfg.backoff(n)) {
				return
			}
			// Somebody else may own its partitions by now: then it waits for
			// the update that says so.
			if cons, err = s.durable.renew(s.ctx); err == nil {
				break
			}
			s.failed(err)
			n++
		}
		lanes = s.begin()
	}
}

func (s *shared) failed(err error) {
	s.backlog.failing.Store(true)
	err = withCause(s.h.js.Conn(), fmt.Errorf("pull for worker %s: %w", s.durable.worker, err))
	s.h.cfg.Logger.Warn("worker trouble", "error", err)
	s.h.cfg.OnError(parti.Partition{}, err)
}

func (s *shared) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// pull gives every message to its partition.
func (s *shared) pull(cons jetstream.Consumer, lanes map[string]*partition) error {
	msgs, err := cons.Messages(s.h.cfg.pullOptions(cons)...)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.msgs = msgs
	if s.stopped {
		msgs.Stop()
	}
	s.mu.Unlock()
	defer msgs.Stop()
	next := uint64(1) // the durable is new
	s.backlog.set(cons.CachedInfo().NumPending, 0)
	for {
		msg, err := msgs.Next()
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			s.failed(err) // it pulls again by itself
			continue
		}
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != next {
			s.h.cfg.Metrics.IncrementResync()
			return fmt.Errorf("%w: got delivery %d, expected %d", ErrDeliveryGap, meta.Sequence.Consumer, next)
		}
		next++
		if p := laneOf(lanes, msg.Subject()); p != nil {
			p.enqueue(msg, meta)
		}
	}
}

// laneOf finds the partition of a message; subjects may have wildcards.
func laneOf(lanes map[string]*partition, subject string) *partition {
	if p := lanes[subject]; p != nil {
		return p
	}
	tokens := strings.Split(subject, ".")
	for filter, p := range lanes {
		if subset(tokens, strings.Split(filter, ".")) {
			return p
		}
	}
	return nil
}

// enqueue adds a message to what waits. One that comes again, because the server
// took its owner for dead, is there already or completed.
func (p *partition) enqueue(msg jetstream.Msg, meta *jetstream.MsgMetadata) {
	p.delivered(meta)
	if meta.Sequence.Stream <= p.enqueued {
		if meta.Sequence.Stream <= p.completed.Load() {
			p.ack(msg)
		}
		return
	}
	p.enqueued = meta.Sequence.Stream
	p.queue <- p.hands.take(msg) // it has room: the server gives no more unacknowledged
}

// runQueue handles what is enqueued until the partition is stopped.
func (p *partition) runQueue() {
	defer p.end(ErrRevoked)
	defer func() { p.cfg.Metrics.ObserveRelease(time.Since(p.leaves)) }()
	for !p.isStopping() {
		select {
		case <-p.stopc:
		case h := <-p.queue:
			done := p.complete(h)
			for !done && p.pause(leaseLook) { // without a lease at present
				done = p.complete(h)
			}
			if !done {
				continue // stopped
			}
			p.hands.put(h)
			if meta, err := h.msg.Metadata(); err == nil {
				p.completed.Store(meta.Sequence.Stream)
			}
		}
	}
	p.insist("confirm acknowledgements", p.confirm)
}
