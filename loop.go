package parti

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/lines"
)

// machine is the pure core.
type machine interface {
	Step(now time.Duration, ev core.Event) []core.Effect
	Wake() (time.Duration, bool)
	Snapshot() core.Snapshot
}

// run is one life of a manager, from a Start to its end. One goroutine, loop,
// owns the core and carries events in and effects out; everything that may block
// runs beside it and posts its result.
type run struct {
	m      *Manager
	core   machine
	clock  *clock
	box    *mailbox
	log    Logger
	causes causes

	ctx    context.Context // of everything beside the loop
	cancel context.CancelFunc
	own    tasks // our goroutines, which end soon after ctx does
	users  tasks // goroutines inside users' code, which may stay there

	store    kvStore
	ops      opQueue
	watches  watches
	presence presence
	hookCtx  *callContext
	hooks    *hookRunner
	runner   *runner
	applier  *applier
	follow   *following
	source   userCall
	watching sourceWatch
	strategy userCall
	agent    agentQueue
	rebound  rebound
	lists    listCache
	planner  *planner
	refresh  refreshes
	worker   string        // the last id held; the loop's
	shown    core.Snapshot // as last measured; the loop's

	setup    context.Context // while Start prepares the run
	endSetup context.CancelCauseFunc

	started   chan struct{} // closed by the Started effect
	hurried   chan struct{} // closed when hurry was called
	hurryOnce sync.Once
	hurryWhy  error         // set before hurried is closed
	killed    chan struct{} // closed: the loop ends at once
	over      chan struct{} // closed when all that we started or held is gone

	// Set by the loop before over is closed.
	fault    error // of Ended
	startErr error // of StartFailed
	forced   bool  // killed before the core had ended

	startFailed bool // guarded by Manager.mu
}

// abortGrace is how long a run that must end without draining may take to give
// back its claims.
const abortGrace = time.Second

// usersGrace is how long users' code may take to return when its time is up.
const usersGrace = 100 * time.Millisecond

func newRun(parent context.Context, m *Manager) *run {
	r := &run{
		m: m, box: newMailbox(), clock: newClock(m.clocks()),
		started: make(chan struct{}), killed: make(chan struct{}),
		over: make(chan struct{}), hurried: make(chan struct{}),
	}
	group := m.cfg.core().Group
	r.log = &runLogger{to: m.opts.logger, group: group, worker: m.WorkerID, now: r.clock.now}
	// What Start was given bounds Start, not the life of the worker.
	ctx := context.WithValue(lines.WithGroup(context.WithoutCancel(parent), group), ownerKey{}, m)
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.setup, r.endSetup = context.WithCancelCause(parent)
	r.hookCtx = newCallContext(r.ctx)
	r.hooks = newHookRunner(m, &r.users, r.hookCtx, r.log)
	r.runner = newRunner(m, &r.users, r.report)
	r.runner.work = m.work
	r.applier = newApplier(r.ctx, m, &r.users, r.hooks, r.runner)
	r.applier.applied = func(seq uint64) { r.box.post(core.Applied{Seq: seq}) }
	r.applier.failed = func(err error) {
		r.report(&faultError{kind: ErrConsumerUpdate, text: err.Error(), cause: err})
	}
	r.follow = newFollowing(r.ctx, &r.users, m.opts.updater, r.applier.failed)
	r.applier.changed = r.changed
	r.source = userCall{name: "ListPartitions", users: &r.users}
	r.watching = newSourceWatch(m.source, &r.users)
	r.strategy = userCall{name: "Assign", users: &r.users}
	r.agent = agentQueue{call: userCall{name: "ElectionAgent", users: &r.users}}
	r.planner = newPlanner(m.strategy)
	return r
}

// begin starts the loop on the open store. The core gets what is left of
// StartupTimeout.
func (r *run) begin(startup time.Duration) {
	r.ops = opQueue{metrics: r.m.opts.metrics, ctx: r.ctx, own: &r.own, store: r.store, causes: &r.causes, post: r.box.post, gone: r.rebind}
	r.watches = watches{
		ctx: r.ctx, own: &r.own, store: r.store, causes: &r.causes, post: r.box.post, gone: r.rebind,
		timeout: r.m.cfg.OperationTimeout,
	}
	r.presence = presence{ctx: r.ctx, own: &r.own, group: r.m.cfg.core().Group, post: r.box.post, log: r.log}
	r.presence.prober, _ = r.store.(prober)
	r.core = r.m.newCore(r.m.coreConfig(r.store, startup))
	go r.loop(core.Start{Nonce: rand.Text(), Seed: seed(), Wall: uint64(max(0, time.Now().UnixMilli()))})
}

func seed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// overdue is for ticks whose time has come. A timer of no duration would do the
// same, but crashes the race detector of Go 1.26 inside synctest bubbles, now
// and then.
var overdue = func() <-chan time.Time {
	c := make(chan time.Time)
	close(c)
	return c
}()

// loop steps the core through its events until it has ended, or is killed.
func (r *run) loop(start core.Event) {
	defer r.finish()
	if r.step(start) {
		return
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var batch []core.Event
	for {
		batch = r.box.take(batch)
		if slices.ContainsFunc(batch, r.step) {
			return
		}
		timer.Stop()
		due := timer.C
		if at, ok := r.core.Wake(); ok {
			if d := at - r.clock.now(); d > 0 {
				timer.Reset(d)
			} else {
				due = overdue
			}
		}
		select {
		case <-r.box.ready:
		case <-due:
			if r.step(core.Tick{}) {
				return
			}
		case <-r.killed:
			r.forced = true
			return
		}
	}
}

// step tells the core one event, shows its new state and performs the effects,
// in this order: whoever is called because of an effect finds the accessors up
// to date. It returns true when the run has ended.
func (r *run) step(ev core.Event) (ended bool) {
	effects := r.core.Step(r.clock.now(), ev)
	snap := r.core.Snapshot()
	if snap.Worker != "" {
		r.worker = snap.Worker
	}
	var newest *application
	for _, e := range effects {
		if a, ok := e.(core.Apply); ok {
			newest = &application{seq: a.Seq, worker: r.worker, held: r.holding(a)}
		}
	}
	r.m.board.arrive(snap, newest, r.clock.now)
	r.watching.follow(r, snap.Leader)
	r.follow.lead(snap.Leader)
	r.measure(snap, newest)
	r.m.health.turned()
	if newest != nil {
		r.runner.sync()
	}
	for _, e := range effects {
		if r.perform(e, newest) {
			ended = true
		}
	}
	return ended
}

// measure tells what shows in the accessors too.
func (r *run) measure(s core.Snapshot, newest *application) {
	to := r.m.opts.metrics
	if s.Worker != r.shown.Worker {
		to.SetWorker(s.Worker)
	}
	if s.Term != r.shown.Term || s.Version != r.shown.Version {
		to.SetVersion(s.Term, s.Version)
	}
	if newest != nil {
		to.SetAssignedWeight(newest.held.weight())
	}
	r.shown = s
}

// finish leaves nothing behind, but goroutines that are inside users' code and
// stay there.
func (r *run) finish() {
	r.endSetup(nil)
	r.box.close()
	r.watches.endAll()
	r.presence.end()
	r.follow.lead(false)
	r.cancel()
	r.applier.letGo()
	r.own.wait(nil, "")
	if r.store != nil {
		r.store.Close()
	}
	r.refresh.endAll(ErrStopped)
	r.m.opts.metrics.SetWorker("")
	r.m.ended(r)
}

// hurry ends a run that has used up its time: without waiting for work to end
// when the core can do that within abortGrace, else by force. Hooks see their
// context end.
func (r *run) hurry(why error) {
	r.hurryOnce.Do(func() {
		r.hurryWhy = why
		close(r.hurried)
		r.hookCtx.renew()
		r.box.post(core.Abort{})
		// The first word lets work end that was granted; the second one does
		// not wait for it.
		time.AfterFunc(abortGrace/2, func() { r.box.post(core.Abort{}) })
		time.AfterFunc(abortGrace, func() { close(r.killed) })
	})
}

// hasStarted reports whether the worker has come to work.
func (r *run) hasStarted() bool {
	select {
	case <-r.started:
		return true
	default:
		return false
	}
}

// why says what went wrong, if anything did, once the run is over.
func (r *run) why() error {
	hurried := false
	select {
	case <-r.hurried:
		hurried = true
	default:
	}
	switch {
	case r.forced:
		return fmt.Errorf("%w: gave up on releasing what is held: it lapses by itself", r.hurryWhy)
	case !r.hasStarted():
		return nil
	case hurried:
		return fmt.Errorf("%w: released without waiting for work to end", r.hurryWhy)
	}
	return r.fault
}

// awaitOver waits for the end of a run that is to end, bounded by what hurry
// grants. It returns the names of what keeps it.
func (r *run) awaitOver() string {
	t := time.NewTimer(2 * abortGrace)
	defer t.Stop()
	select {
	case <-r.over:
		return ""
	case <-t.C:
	}
	ours, _ := r.own.names("")
	theirs, _ := r.users.names("")
	return listed(slices.Concat([]string{"parti's loop"}, ours, theirs))
}
