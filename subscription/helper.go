package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// startParallel is how many durables are looked up or made at a time.
const startParallel = 16

// DurableHelper consumes the partitions that it is told of, each from a durable
// of its own. It implements parti.WorkerConsumerUpdater; give each manager its
// own. Its methods may be called from any goroutine.
type DurableHelper struct {
	cfg      DurableConfig
	log      *logLines // cfg.Logger
	js       jetstream.JetStream
	handler  MessageHandler
	subjects *subjects
	slots    chan struct{}

	can  atomic.Pointer[capabilities]   // nil when not known
	held func(ctx context.Context) bool // parti.LeaseHeld

	turn chan struct{} // held by the update or close that runs

	mu      sync.Mutex
	running map[string]*partition // by id, those still leaving included

	// Used by the holder of turn.
	closed     bool
	stream     jetstream.Stream // as read last, nil if it did not suit
	streamRead time.Time
	warned     atomic.Bool // of the stream
	keeper     *keeper
	shared     *shared // of PerWorker; nil while nothing is consumed
}

var (
	_ parti.WorkerConsumerUpdater = (*DurableHelper)(nil)
	_ parti.PartitionFollower     = (*DurableHelper)(nil)
)

// NewDurableHelper returns a helper that consumes over nc. It checks the
// configuration and asks the server nothing; that is done by the first update.
func NewDurableHelper(nc *nats.Conn, cfg DurableConfig, handler MessageHandler) (*DurableHelper, error) {
	if nc == nil {
		return nil, fmt.Errorf("%w: a NATS connection is required", ErrInvalidConfig)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("use JetStream: %w", err)
	}
	return NewDurableHelperJS(js, cfg, handler)
}

// NewDurableHelperJS is NewDurableHelper for a JetStream context with a domain,
// an API prefix or a timeout of its own.
func NewDurableHelperJS(js jetstream.JetStream, cfg DurableConfig, handler MessageHandler) (*DurableHelper, error) {
	if js == nil {
		return nil, fmt.Errorf("%w: a JetStream context is required", ErrInvalidConfig)
	}
	if handler == nil {
		return nil, fmt.Errorf("%w: a MessageHandler is required", ErrInvalidConfig)
	}
	cfg = cfg.withDefaults()
	subjects, err := parseSubjects(cfg.SubjectTemplate)
	if err := errors.Join(cfg.validate(), err); err != nil {
		return nil, err
	}
	log := newLogLines(cfg.Logger)
	cfg.Logger = log
	h := &DurableHelper{
		cfg: cfg, log: log, js: js, handler: handler, subjects: subjects,
		held: parti.LeaseHeld, turn: make(chan struct{}, 1), running: make(map[string]*partition),
	}
	if cfg.Concurrency > 0 {
		h.slots = make(chan struct{}, cfg.Concurrency)
	}
	return h, nil
}

// UpdateWorkerConsumer makes the worker consume these partitions and no others.
// It returns when those no longer listed are let go: their handlers have
// returned, what they acknowledged is acknowledged, and what was fetched is
// handed back. Partitions that cannot be consumed do not keep the others from
// it; the call may be repeated until it returns nil.
//
// A handler that is still running after HandoffTimeout, or when ctx ends, has its
// context ended and its result dropped, and an error names its partition. With
// parti.OwnershipExclusive that happens at the end of the lease. When a newer
// assignment waits while handlers are waited for, it returns
// parti.ErrSuperseded, so that partitions gained meanwhile are begun at once.
func (h *DurableHelper) UpdateWorkerConsumer(ctx context.Context, workerID string, partitions []parti.Partition) error {
	if err := h.take(ctx); err != nil {
		return fmt.Errorf("update consumer of %s: %w", workerID, err)
	}
	defer h.give()
	h.log.about(ctx, workerID)
	if h.closed && len(partitions) > 0 {
		return ErrClosed
	}
	return withCause(h.js.Conn(), h.update(ctx, workerID, partitions))
}

// Close lets go of everything, like an update without partitions, and refuses
// further updates that have some.
func (h *DurableHelper) Close(ctx context.Context) error {
	if err := h.take(ctx); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	defer h.give()
	h.closed = true
	return h.update(ctx, "", nil)
}

// take waits for its turn. A context that has ended keeps nobody from a turn that
// is free: what is not wanted must be stopped.
func (h *DurableHelper) take(ctx context.Context) error {
	select {
	case h.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case h.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *DurableHelper) give() { <-h.turn }

func (h *DurableHelper) update(ctx context.Context, worker string, partitions []parti.Partition) error {
	wanted := make(map[string]parti.Partition, len(partitions))
	for _, p := range partitions {
		wanted[p.ID()] = p
	}
	defer h.keep()
	if h.cfg.Layout == PerWorker {
		return h.updateShared(ctx, worker, wanted)
	}
	leaving := h.stopOthers(wanted)

	var releaseErr error
	var wg sync.WaitGroup
	started := make(chan struct{})
	wg.Go(func() { releaseErr = h.await(ctx, leaving, started) }) // meanwhile others are begun
	startErr := h.start(ctx, wanted)
	close(started)
	wg.Wait()
	if releaseErr == nil && startErr == nil {
		// What was gained again while it was still leaving.
		startErr = h.start(ctx, wanted)
	}
	return errors.Join(releaseErr, startErr)
}

// stopOthers stops what is not wanted and returns all that is being let go.
func (h *DurableHelper) stopOthers(wanted map[string]parti.Partition) []*partition {
	var leaving []*partition
	for _, p := range h.partitions() {
		if _, ok := wanted[p.id]; !ok || p.isStopping() {
			p.stop()
			leaving = append(leaving, p)
		}
	}
	return leaving
}

// await waits for partitions to be let go, and revokes those that take too long,
// and those whose lease has ended. Once the gains of this update are started, it
// stops waiting when a newer assignment waits.
func (h *DurableHelper) await(ctx context.Context, leaving []*partition, started <-chan struct{}) error {
	now := time.Now()
	limits := make(map[*partition]time.Time, len(leaving))
	for _, p := range leaving {
		limits[p] = p.leaves.Add(h.cfg.HandoffTimeout)
		if p.work.Err() != nil { // revoked before
			limits[p] = now.Add(h.cfg.HandoffTimeout)
		}
	}
	slices.SortFunc(leaving, func(a, b *partition) int { return limits[a].Compare(limits[b]) })
	var errs []error
	for _, p := range leaving {
		gone, err := p.gone(ctx, limits[p], started)
		if err == nil && !gone {
			p.late.Store(true)
			gone = p.isDone() // it may not have seen that
		}
		switch {
		case err != nil:
			return errors.Join(append(errs, err)...)
		case gone:
			h.mu.Lock()
			delete(h.running, p.id)
			h.mu.Unlock()
			continue
		}
		if p.work.Err() == nil {
			p.revoke(ErrRevoked)
			h.cfg.Metrics.IncrementRevoked()
		}
		errs = append(errs, fmt.Errorf("let go of partition %s: its handler has not returned: %w", p.id, ErrRevoked))
	}
	return errors.Join(errs...)
}

// gone waits until a partition is let go, at most until then, and not at all
// without a lease.
func (p *partition) gone(ctx context.Context, until time.Time, started <-chan struct{}) (bool, error) {
	if p.isDone() || ctx.Err() != nil || !p.leased() {
		return p.isDone(), nil
	}
	limit := time.NewTimer(time.Until(until))
	defer limit.Stop()
	var newer <-chan struct{}
	for {
		select {
		case <-p.done:
			return true, nil
		case <-limit.C:
			return false, nil
		case <-ctx.Done():
			return false, nil
		case <-started:
			started, newer = nil, parti.Superseded(ctx)
		case <-newer:
			return false, parti.ErrSuperseded
		}
	}
}

// start begins to consume what is wanted and not running.
func (h *DurableHelper) start(ctx context.Context, wanted map[string]parti.Partition) error {
	gains := h.missing(wanted)
	if len(gains) == 0 {
		return nil
	}
	subjects, stream, err := h.check(ctx, wanted)
	if err != nil {
		return err
	}
	can := h.abilities(ctx)
	h.warnOf(stream, can)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	work := make(chan parti.Partition)
	for range min(startParallel, len(gains)) {
		wg.Go(func() {
			for gain := range work {
				if err := h.begin(ctx, gain, h.target(stream, can, gain.ID(), subjects[gain.ID()])); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("consume partition %s: %w", gain, err))
					mu.Unlock()
				}
			}
		})
	}
	for _, gain := range gains {
		work <- gain
	}
	close(work)
	wg.Wait()
	return errors.Join(errs...)
}

// missing returns what is wanted and not there, in the order of keys.
func (h *DurableHelper) missing(wanted map[string]parti.Partition) []parti.Partition {
	h.mu.Lock()
	defer h.mu.Unlock()
	var gains []parti.Partition
	for id, p := range wanted {
		if h.running[id] == nil {
			gains = append(gains, p)
		}
	}
	slices.SortFunc(gains, parti.Partition.Compare)
	return gains
}

// streamFresh is how long what was read of the stream is good enough for gains: when
// partitions move they come in several updates.
const streamFresh = 10 * time.Second

// check returns the subjects of what is wanted, by id, and the stream, if they can
// be consumed.
func (h *DurableHelper) check(ctx context.Context, wanted map[string]parti.Partition) (map[string]string, jetstream.Stream, error) {
	const whose = "this worker alone"
	subjects, err := h.subjectsOf(wanted)
	if err != nil {
		return nil, nil, err
	}
	if h.stream != nil && time.Since(h.streamRead) < streamFresh && h.judgeStream(h.stream, subjects, whose) == nil {
		return subjects, h.stream, nil
	}
	h.stream = nil
	stream, err := h.checkStream(ctx, subjects, whose)
	if err == nil && h.cfg.Layout == PerPartition { // the other is rare, and not safe on a stream made anew
		h.stream, h.streamRead = stream, time.Now()
	}
	return subjects, stream, err
}

// abilities returns what the server can do. Where that cannot be learned it is
// taken for an old one, which is safe, and asked again.
func (h *DurableHelper) abilities(ctx context.Context) capabilities {
	if can := h.can.Load(); can != nil {
		return *can
	}
	can, err := askCapabilities(ctx, h.js)
	if err != nil {
		err = withCause(h.js.Conn(), err)
		h.cfg.Logger.Warn("cannot learn what the server can do: takeovers will wait for AckWait", "error", err)
		h.cfg.OnError(parti.Partition{}, fmt.Errorf("learn what the server can do: %w", err))
		return can
	}
	h.can.Store(&can)
	return can
}

func (h *DurableHelper) target(stream jetstream.Stream, can capabilities, id, subject string) target {
	return target{
		cfg: &h.cfg, js: h.js, stream: stream, can: can,
		id: id, subject: subject, durable: durableName(h.cfg.ConsumerPrefix, id),
	}
}

// begin starts to pull from one partition.
func (h *DurableHelper) begin(ctx context.Context, gain parti.Partition, to target) error {
	work, end := context.WithCancelCause(context.WithoutCancel(parti.PartitionContext(ctx, gain)))
	p := &partition{
		target: to, handler: h.handler, slots: h.slots, held: h.held, partition: gain,
		work: work, end: end, stopc: make(chan struct{}), done: make(chan struct{}),
		acks: acks{nc: h.js.Conn()}, backlog: &backlog{},
	}
	cons, err := p.ensureDurable(ctx)
	if err != nil {
		end(err)
		return err
	}
	p.consumer = cons
	h.mu.Lock()
	h.running[p.id] = p
	h.mu.Unlock()
	go h.serve(p, p.run) // waited for by the update that stops it
	return nil
}

// serve runs a partition. Should it end later than the update that stopped it, which
// may have been the last one, it is forgotten here.
func (h *DurableHelper) serve(p *partition, run func()) {
	run()
	close(p.done)
	if !p.late.Load() {
		return
	}
	h.turn <- struct{}{} // an update ends in bounded time
	defer h.give()
	h.mu.Lock()
	if h.running[p.id] == p {
		delete(h.running, p.id)
	}
	h.mu.Unlock()
	h.keep()
}

// partitions returns everything that runs, those leaving included.
func (h *DurableHelper) partitions() []*partition {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*partition, 0, len(h.running))
	for _, p := range h.running {
		all = append(all, p)
	}
	return all
}

// keep has a keeper run while there is something to keep.
func (h *DurableHelper) keep() {
	switch n := len(h.partitions()); {
	case n > 0 && h.keeper == nil:
		h.keeper = startKeeper(&h.cfg, h.partitions)
	case n == 0 && h.keeper != nil:
		h.keeper.stop()
		h.keeper = nil
	}
}
