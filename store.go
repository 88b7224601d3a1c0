package parti

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// kvStore is what the shell needs of the buckets; buckets are numbered as
// core.Bucket does.
type kvStore interface {
	Get(ctx context.Context, bucket int, key string) (natskv.Entry, error)
	Create(ctx context.Context, bucket int, key string, val []byte) (uint64, error)
	CreateFresh(ctx context.Context, bucket int, key string, val []byte) (uint64, error)
	Update(ctx context.Context, bucket int, key string, val []byte, rev uint64) (uint64, error)
	Delete(ctx context.Context, bucket int, key string, rev uint64) error
	// Watch calls fn, one call at a time, until the returned function is
	// called, which may block for a while.
	Watch(ctx context.Context, bucket int, filter, name string, fn func(natskv.Event)) (stop func(), err error)
	Warnings() []string
	Created(bucket int) string
	// Rebind creates buckets that were lost.
	Rebind(ctx context.Context) error
	Close()
}

// natsStore is the kvStore of NATS.
type natsStore struct{ *natskv.Store }

func (s natsStore) Watch(ctx context.Context, bucket int, filter, name string, fn func(natskv.Event)) (func(), error) {
	w, err := s.Store.Watch(ctx, bucket, filter, name, fn)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", filter, err)
	}
	return w.Stop, nil
}

// openNATS binds the buckets, and creates those that are absent.
func openNATS(ctx context.Context, js jetstream.JetStream, cfg *KVBucketConfig) (kvStore, error) {
	s, err := natskv.Open(ctx, js, natskvConfig(cfg))
	if err != nil {
		return nil, openError(err)
	}
	return natsStore{s}, nil
}

func natskvConfig(cfg *KVBucketConfig) natskv.Config {
	return natskv.Config{
		Buckets: [core.NumBuckets]string{
			core.IDs:         cfg.StableIDBucket,
			core.Election:    cfg.ElectionBucket,
			core.Heartbeats:  cfg.HeartbeatBucket,
			core.Assignments: cfg.AssignmentBucket,
		},
		Replicas: cfg.Replicas,
		Memory:   cfg.Storage == StorageMemory,
	}
}

// openError adds the public error that says which kind of failure it was.
func openError(err error) error {
	var kind error
	switch {
	case errors.Is(err, natskv.ErrBucket):
		kind = ErrBucketUnusable
	case errors.Is(err, natskv.ErrNoConnection), errors.Is(err, natskv.ErrDown):
		kind = ErrNATSConnectionLost
	default:
		kind = ErrJetStreamUnavailable
	}
	return &faultError{kind: kind, text: err.Error(), cause: err}
}

// maxOps is how many operations on keys are in flight at a time.
const maxOps = 16

// opQueue performs operations on keys beside the loop, at most maxOps at a time;
// others wait in order, those on assignments behind all others: a plan may write a
// thousand payloads, and leases do not wait for them. Operations may overtake each other. That is harmless
// because the core never has two operations on one key in flight.
type opQueue struct {
	ctx     context.Context // of the run
	own     *tasks
	store   kvStore
	causes  *causes
	post    func(core.Event)
	gone    func() // told that a bucket is gone
	metrics StoreMetrics

	mu       sync.Mutex
	pressing []queuedOp // what keeps keys alive
	waiting  []queuedOp // on assignments
	workers  int
}

type queuedOp struct {
	core.KV
	deadline time.Time
}

// add takes an operation; it does not block.
func (q *opQueue) add(op core.KV) {
	q.mu.Lock()
	lane := &q.pressing
	if op.Bucket == core.Assignments {
		lane = &q.waiting
	}
	*lane = append(*lane, queuedOp{op, time.Now().Add(op.Timeout)})
	begin := q.workers < maxOps
	if begin {
		q.workers++
	}
	q.mu.Unlock()
	if begin {
		q.own.start("operations on NATS", q.work)
	}
}

func (q *opQueue) work() {
	for {
		op, ok := q.next()
		if !ok {
			return
		}
		q.post(q.perform(op))
	}
}

func (q *opQueue) next() (queuedOp, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lane := &q.pressing
	if len(*lane) == 0 {
		lane = &q.waiting
	}
	if len(*lane) == 0 || q.ctx.Err() != nil {
		q.workers--
		q.pressing, q.waiting = nil, nil
		return queuedOp{}, false
	}
	op := (*lane)[0]
	(*lane)[0] = queuedOp{}
	*lane = (*lane)[1:]
	return op, true
}

func (q *opQueue) perform(op queuedOp) core.Done {
	if !time.Now().Before(op.deadline) {
		return core.Done{Op: op.Op, Err: core.Failed, Text: fmt.Sprintf("%s: not sent within %v: %d operations are in flight", op.Key, op.Timeout, maxOps)}
	}
	ctx, cancel := context.WithDeadline(q.ctx, op.deadline)
	defer cancel()
	d := core.Done{Op: op.Op}
	var err error
	b := int(op.Bucket)
	began := time.Now()
	switch op.Verb {
	case core.Get:
		var e natskv.Entry
		if e, err = q.store.Get(ctx, b, op.Key); err == nil {
			d.Val, d.Rev = e.Val, e.Rev
		}
	case core.Create:
		if op.Fresh {
			d.Rev, err = q.store.CreateFresh(ctx, b, op.Key, op.Val)
			break
		}
		d.Rev, err = q.store.Create(ctx, b, op.Key, op.Val)
	case core.Update:
		d.Rev, err = q.store.Update(ctx, b, op.Key, op.Val, op.Rev)
	case core.Delete:
		err = q.store.Delete(ctx, b, op.Key, op.Rev)
	}
	if op.Bucket == core.Heartbeats && (op.Verb == core.Create || op.Verb == core.Update) {
		q.metrics.ObserveHeartbeat(time.Since(began))
	}
	if d.Err = errKind(err); err != nil {
		d.Text = err.Error()
		if d.Err != core.Conflict && d.Err != core.NotFound {
			d.Text = q.causes.note(core.FaultKV, err)
		}
		if bucketGone(err) {
			q.gone()
		}
	}
	return d
}

// errKind translates the adapter's errors for the core. What is not known to
// have been refused may have happened.
func errKind(err error) core.ErrKind {
	switch {
	case err == nil:
		return core.OK
	case errors.Is(err, natskv.ErrConflict):
		return core.Conflict
	case errors.Is(err, natskv.ErrNotFound):
		return core.NotFound
	case errors.Is(err, natskv.ErrDown), errors.Is(err, natskv.ErrNoConnection):
		return core.Down
	case errors.Is(err, natskv.ErrRefused), errors.Is(err, natskv.ErrNoJetStream), errors.Is(err, natskv.ErrBucket):
		return core.Failed
	}
	return core.Ambiguous
}

// bucketGone tells whether a bucket may not exist any more.
func bucketGone(err error) bool {
	return errors.Is(err, natskv.ErrBucketGone) || errors.Is(err, natskv.ErrUnserved)
}

// rebound keeps looking at the buckets to one attempt at a time, and not too many.
type rebound struct {
	mu    sync.Mutex
	busy  bool
	again bool // asked for while busy
}

// rebindEvery is the least time between two attempts to create lost buckets.
const rebindEvery = time.Second

// rebind looks at the buckets and creates those that are gone, beside the loop.
// The core compares their creation times with those that it knew.
func (r *run) rebind() {
	if r.rebound.begin() {
		r.own.start("looking at the buckets", func() {
			for again := true; again; again = r.rebound.more() {
				r.rebindOnce()
			}
		})
	}
}

func (r *run) rebindOnce() {
	ctx, cancel := context.WithTimeout(r.ctx, r.m.cfg.OperationTimeout)
	defer cancel()
	if err := r.store.Rebind(ctx); err == nil {
		r.box.post(core.Rebound{Created: creationTimes(r.store)})
	} else if r.ctx.Err() == nil && (errors.Is(err, natskv.ErrBucket) || errors.Is(err, natskv.ErrPermission)) {
		r.report(openError(err)) // other failures, operations tell
	}
	select {
	case <-time.After(rebindEvery):
	case <-r.ctx.Done():
	}
}

// begin tells whether nobody is at it.
func (b *rebound) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.again = b.busy
	idle := !b.busy
	b.busy = true
	return idle
}

// more tells whether somebody has asked meanwhile.
func (b *rebound) more() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy, b.again = b.again, false
	return b.busy
}

func creationTimes(s kvStore) (created [core.NumBuckets]string) {
	for b := range created {
		created[b] = s.Created(b)
	}
	return created
}

// watches are the watches that the core has asked for.
type watches struct {
	ctx     context.Context // of the run
	own     *tasks
	store   kvStore
	causes  *causes
	post    func(core.Event)
	gone    func()        // told that a bucket is gone
	timeout time.Duration // of making one

	mu    sync.Mutex
	stops map[core.WatchID]func() // ends a watch that is being made, or exists
}

// errNotInTime says that a watch was made too late, or when nobody wanted it any
// more.
var errNotInTime = errors.New("not made in time")

// add makes a watch beside the loop. A watch that cannot be made is lost.
func (ws *watches) add(w core.Watch) {
	ctx, cancel := context.WithCancel(ws.ctx)
	ws.set(w.ID, cancel)
	ws.own.start("making a watch", func() {
		// The store may tie the watch to ctx, so its making is bounded aside.
		late := time.AfterFunc(ws.timeout, cancel)
		stop, err := ws.store.Watch(ctx, int(w.Bucket), w.Filter, w.Name, func(ev natskv.Event) { ws.post(watchEvent(w.ID, ev)) })
		inTime := late.Stop()
		end := func() {
			if stop != nil {
				stop()
			}
			cancel()
		}
		if err == nil && inTime && ws.replace(w.ID, end) {
			return
		}
		end()
		if err == nil {
			err = errNotInTime
		}
		ws.post(core.WatchLost{Watch: w.ID, Err: errKind(err), Text: ws.causes.note(core.FaultKV, err)})
		if bucketGone(err) {
			ws.gone()
		}
	})
}

func watchEvent(id core.WatchID, ev natskv.Event) core.Event {
	if ev.Lost {
		return core.WatchLost{Watch: id}
	}
	return core.Watched{Watch: id, Key: ev.Key, Val: ev.Val, Rev: ev.Rev, Deleted: ev.Deleted, Synced: ev.Synced}
}

func (ws *watches) set(id core.WatchID, stop func()) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.stops == nil {
		ws.stops = make(map[core.WatchID]func())
	}
	ws.stops[id] = stop
}

// replace changes how to end a watch; false when it was ended meanwhile.
func (ws *watches) replace(id core.WatchID, stop func()) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if _, ok := ws.stops[id]; !ok {
		return false
	}
	ws.stops[id] = stop
	return true
}

// end ends a watch beside the loop, since that may ask the server.
func (ws *watches) end(id core.WatchID) {
	ws.mu.Lock()
	stop := ws.stops[id]
	delete(ws.stops, id)
	ws.mu.Unlock()
	if stop != nil {
		ws.own.start("ending a watch", stop)
	}
}

// endAll ends all that exist. Nothing may be added any more.
func (ws *watches) endAll() {
	ws.mu.Lock()
	stops := ws.stops
	ws.stops = nil
	ws.mu.Unlock()
	for _, stop := range stops {
		ws.own.start("ending a watch", stop)
	}
}
