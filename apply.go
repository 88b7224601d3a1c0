package parti

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// Backoff between calls of an updater that fails.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// applier puts assignments into force, one at a time and the newest when
// several wait: it shows it in the view, has Run's function called for what is
// new, calls the updater until it succeeds or a newer assignment has come, waits
// for Run's calls for what is lost, calls the hook with the difference to what
// the hook was told last, and reports the assignment as applied.
//
// The updater is called only when the partitions (or the worker's id) differ
// from its last successful call, the hook only when partitions came or went.
type applier struct {
	ctx     context.Context // of the run
	users   *tasks
	board   *board
	hooks   *hookRunner
	runner  *runner
	updater WorkerConsumerUpdater // may be nil
	timeout time.Duration         // of one call of the updater
	applied func(seq uint64)
	failed  func(error)                                      // an updater's error
	changed func(w *application, added, removed []Partition) // the hook has been told

	mu      sync.Mutex
	waiting *application  // the newest, not begun
	active  bool          // a goroutine runs
	over    bool          // the run is over, and the goroutine does not know yet
	newer   chan struct{} // holds a token when something may wait
	cut     chan struct{} // of the updater's call that runs: closed when something waits

	detach     sync.Once
	hookLeaves chan struct{} // closed: do not wait for hooks any more

	// Used by the goroutine that runs only.
	told    *holding     // what the hook knows
	worker  string       // whom the updater was called for, "" before its first call
	updated *application // what the updater has done, nil when nobody knows
}

type application struct {
	seq     uint64
	worker  string
	held    *holding
	arrived time.Time
}

func newApplier(ctx context.Context, m *Manager, users *tasks, hooks *hookRunner, runner *runner) *applier {
	return &applier{
		ctx: ctx, users: users, board: m.board, hooks: hooks, runner: runner, updater: m.opts.updater,
		timeout:    m.cfg.HandoffTimeout + m.cfg.OperationTimeout,
		newer:      make(chan struct{}, 1),
		hookLeaves: make(chan struct{}),
		told:       &holding{},
	}
}

// apply takes an assignment; it does not block.
func (a *applier) apply(w application) {
	w.arrived = time.Now()
	a.mu.Lock()
	a.waiting = &w
	begin := !a.active
	a.active = true
	if a.cut != nil {
		close(a.cut)
		a.cut = nil
	}
	a.mu.Unlock()
	if begin {
		a.users.start("UpdateWorkerConsumer", a.run)
		return
	}
	select {
	case a.newer <- struct{}{}:
	default:
	}
}

// dontWaitForHook is called when the hook that runs has called Stop and waits
// for it: the hook counts as returned from now on. Calls to come still wait for
// their turn behind it.
func (a *applier) dontWaitForHook() { a.detach.Do(func() { close(a.hookLeaves) }) }

// letGo is called when the run is over, after its context has ended: it sees to
// it that nothing goes on in the name of a worker that is no more. After an
// orderly end there is nothing left to do.
func (a *applier) letGo() {
	a.runner.endAll()
	a.mu.Lock()
	a.over = true
	begin := !a.active
	a.active = true
	a.mu.Unlock()
	if begin {
		a.users.start("UpdateWorkerConsumer", a.run)
	}
}

func (a *applier) run() {
	for {
		w, over := a.next()
		if over {
			a.end()
		}
		if w == nil {
			return
		}
		a.board.apply(w.held)
		a.runner.sync()
		if a.update(w) && a.rest() && a.tell(w) {
			a.board.applied(w.held)
			a.applied(w.seq)
		}
	}
}

// next returns what to apply. The last word is over, once; until it is said, a
// run that is ending may still leave the goroutine without work.
func (a *applier) next() (w *application, over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx.Err() == nil {
		w = a.waiting
	}
	a.waiting = nil
	a.active = w != nil
	if w == nil && a.over {
		a.over, over = false, true
	}
	return w, over
}

// end tells updater and hook that nothing is owned any more, if they do not know.
func (a *applier) end() {
	nothing := &application{worker: a.worker, held: &holding{}}
	if a.worker != "" && (a.updated == nil || len(a.updated.held.owned) > 0) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), abortGrace)
		defer cancel()
		if err := a.callUpdater(ctx, nothing); err != nil {
			a.failed(fmt.Errorf("update consumer of %s at the end: %w", a.worker, err))
		}
	}
	if _, removed := nothing.held.diff(a.told); len(removed) > 0 {
		a.hooks.assignmentChanged(nil, removed)
	}
}

// update calls the updater until it succeeds; false means that a newer
// assignment waits, or that the run is over.
func (a *applier) update(w *application) bool {
	if a.updater == nil || a.updated != nil && a.updated.worker == w.worker &&
		slices.EqualFunc(a.updated.held.owned, w.held.owned, sameWork) {
		return true
	}
	a.worker, a.updated = w.worker, nil // until it succeeds, nobody knows what is consumed
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		ctx, cancel := context.WithTimeout(a.ctx, a.timeout)
		err := a.callUpdater(ctx, w)
		cancel()
		if err == nil {
			a.updated = w
			return true
		}
		if a.ctx.Err() != nil || errors.Is(err, ErrSuperseded) && a.superseded() {
			return false
		}
		a.failed(fmt.Errorf("update consumer of %s: %w", w.worker, err))
		if !a.pause(wait) {
			return false
		}
	}
}

func sameWork(x, y core.Owned) bool { return x.ID == y.ID && x.Weight == y.Weight }

func (a *applier) callUpdater(ctx context.Context, w *application) error {
	cut := make(chan struct{})
	a.mu.Lock()
	if a.cut = cut; a.waiting != nil {
		close(cut)
		a.cut = nil
	}
	a.mu.Unlock()
	ctx = context.WithValue(ctx, cutKey{}, (<-chan struct{})(cut))
	ps := slices.Clone(w.held.partitions())
	return protect("UpdateWorkerConsumer", func() error {
		return a.updater.UpdateWorkerConsumer(ctx, w.worker, ps)
	})
}

// cutKey's value is the channel that Superseded returns.
type cutKey struct{}

// Superseded returns a channel that is closed when a newer assignment waits for
// the call of a [WorkerConsumerUpdater] that ctx was given to; of any other
// context it returns nil. A call that waits for the end of work on partitions
// that are not listed may return [ErrSuperseded] then. It is called again at once
// with the newer assignment, and what it had not let go of is acknowledged when a
// later call returns nil.
func Superseded(ctx context.Context) <-chan struct{} {
	cut, _ := ctx.Value(cutKey{}).(<-chan struct{})
	return cut
}

// rest waits until Run's calls for lost partitions have returned; false means
// that a newer assignment waits, or that the run is over.
func (a *applier) rest() bool {
	for {
		n, changed := a.runner.leaving()
		if n == 0 {
			return true
		}
		if a.superseded() {
			return false
		}
		select {
		case <-changed:
		case <-a.newer:
		case <-a.ctx.Done():
			return false
		}
	}
}

// pause waits about d; false means that there is no point in going on.
func (a *applier) pause(d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d)) // jitter needs no secrecy
	defer t.Stop()
	for !a.superseded() {
		select {
		case <-t.C:
			return !a.superseded()
		case <-a.newer:
		case <-a.ctx.Done():
			return false
		}
	}
	return false
}

func (a *applier) superseded() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.waiting != nil
}

// tell calls the hook and waits for it; false means that the run is over.
func (a *applier) tell(w *application) bool {
	added, removed := w.held.diff(a.told)
	a.told = w.held
	if len(added)+len(removed) == 0 {
		return true
	}
	select {
	case <-a.hooks.assignmentChanged(added, removed):
	case <-a.hookLeaves:
	case <-a.ctx.Done():
		return false
	}
	a.changed(w, added, removed)
	return true
}
