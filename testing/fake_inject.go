package testing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/arloliu/parti"
)

// Grant gives the worker partitions, each with a new token, higher than every
// earlier one, and returns when updater and hook have returned, with their
// errors. A partition that is owned already gets a new token too, as after a
// restart, and is not reported as added. While degraded, gains wait for
// [Fake.Recover], and Grant returns at once.
//
// When the updater fails, OnError is told of parti.ErrConsumerUpdate and the
// hook is not called: the manager would call the updater again after a while,
// the fake does at [Fake.Retry] or at the next change.
func (f *Fake) Grant(partitions ...parti.Partition) error {
	f.mu.Lock()
	err := f.usable()
	frozen := f.state == parti.StateDegraded
	if err == nil && frozen {
		f.waiting = append(f.waiting, partitions...)
	}
	f.mu.Unlock()
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if frozen {
		return nil
	}
	return f.assign(f.now(), func() { f.grant(partitions) })
}

// Revoke takes partitions away, degraded or not, and returns when updater and
// hook have returned, with their errors. Partitions that are not owned are
// ignored.
func (f *Fake) Revoke(partitions ...parti.Partition) error {
	if err := f.check("revoke"); err != nil {
		return err
	}
	return f.assign(f.now(), func() {
		for _, p := range partitions {
			delete(f.owned, p.ID())
			f.waiting = slices.DeleteFunc(f.waiting, func(q parti.Partition) bool { return q.ID() == p.ID() })
		}
		f.version++
	})
}

// Retry calls the updater again, and the hook after it, when the last change
// could not be applied, as the manager does with backoff.
func (f *Fake) Retry() error {
	if err := f.check("retry"); err != nil {
		return err
	}
	return f.assign(f.now(), func() {})
}

// grant takes over partitions, with the mutex held.
func (f *Fake) grant(partitions []parti.Partition) {
	f.version++
	for _, p := range partitions {
		p.Keys = slices.Clone(p.Keys)
		f.owned[p.ID()] = held{partition: p, token: parti.Token{Term: f.term, Version: f.version}}
	}
}

// NewLeader begins a new term, as a change of leaders does: later grants have a
// higher term in their tokens.
func (f *Fake) NewLeader() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.term++
}

// SetLeader sets what IsLeader reports.
func (f *Fake) SetLeader(leader bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leader = leader
}

// SetState changes the state and returns when OnStateChanged has. It changes
// nothing else, see [Fake.Degrade] for degraded mode.
func (f *Fake) SetState(s parti.State) {
	if f.check("") == nil {
		f.enter(f.now(), s)
	}
}

// Degrade enters degraded mode, unless in it, and alerts with the level ("Info",
// "Warn", "Error", "Critical"; "" for no alert) and the time since NATS was
// lost. It returns when the hooks have.
func (f *Fake) Degrade(level string, since time.Duration) {
	if f.check("") != nil {
		return
	}
	f.mu.Lock()
	entering := f.state != parti.StateDegraded
	if entering {
		f.resume = f.state
	}
	f.mu.Unlock()
	if entering {
		f.enter(f.now(), parti.StateDegraded)
	}
	if h := f.hooks.OnDegradedAlert; h != nil && level != "" {
		f.event(f.now(), "OnDegradedAlert", func(ctx context.Context) error { return h(ctx, level, since) })
	}
}

// Recover leaves degraded mode for the state before it, then applies what was
// granted meanwhile and returns the errors of updater and hook.
func (f *Fake) Recover() error {
	if err := f.check("recover"); err != nil {
		return err
	}
	f.mu.Lock()
	degraded, resume, waiting := f.state == parti.StateDegraded, f.resume, f.waiting
	f.waiting = nil
	f.mu.Unlock()
	if !degraded {
		return nil
	}
	f.enter(f.now(), resume)
	if len(waiting) == 0 {
		return nil
	}
	return f.Grant(waiting...)
}

// ReportError reports a recoverable error to OnError and returns when it has.
func (f *Fake) ReportError(err error) {
	if f.check("") == nil {
		f.report(f.now(), err)
	}
}

// Fail ends the fake as a manager ends by itself: everything is given up, Done
// is closed and Err returns err. It returns then, or after ShutdownTimeout.
func (f *Fake) Fail(err error) {
	_ = f.end(context.Background(), err)
}

// LoseID is another worker taking the id: OnError is told of parti.ErrIDLost,
// everything owned is lost at once, and another id is claimed, under which
// nothing is owned until the next Grant. It returns the errors of updater and
// hook.
func (f *Fake) LoseID() error {
	f.mu.Lock()
	err := f.usable()
	lost := f.id
	if err == nil {
		clear(f.owned)
		f.waiting = nil
		f.version++
	}
	f.mu.Unlock()
	if err != nil {
		return fmt.Errorf("lose id: %w", err)
	}
	f.ReportError(fmt.Errorf("renew %s: %w", lost, parti.ErrIDLost))
	err = f.assign(f.now(), func() {})
	f.enter(f.now(), parti.StateClaimingID)
	f.claim()
	f.enter(f.now(), parti.StateElection)
	f.enter(f.now(), parti.StateWaitingAssignment)
	f.enter(f.now(), parti.StateStable)
	return err
}

// Refreshes returns how often RefreshPartitions was called.
func (f *Fake) Refreshes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refreshes
}

func (f *Fake) check(operation string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	return nil
}

// call says how users' code is called: it gets hooks as its context and is
// waited for as long as wait lasts.
type call struct {
	wait, hooks context.Context
	last        bool // the calls that end the fake
}

// now is a call before the end: waited for until it returns.
func (f *Fake) now() call { return call{wait: context.Background(), hooks: f.ctx} }

// assign changes what is owned and tells updater and hook. change is called with
// the mutex held.
func (f *Fake) assign(c call, change func()) error {
	if err := f.assignments.enter(c.wait); err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	defer f.assignments.leave()

	f.mu.Lock()
	if f.phase == phaseStopping && !c.last {
		f.mu.Unlock()
		return parti.ErrStopped
	}
	change()
	now, id := maps.Clone(f.owned), f.id
	f.mu.Unlock()

	if u := f.opts.Updater; u != nil {
		err := run(c.wait, func() error { return u.UpdateWorkerConsumer(c.hooks, id, partitionsOf(now)) })
		if err != nil {
			err = fmt.Errorf("update consumer of %s: %w: %w", id, parti.ErrConsumerUpdate, err)
			f.report(c, err)
			return err
		}
	}

	added, removed := difference(f.told, now), difference(now, f.told)
	f.told = now // guarded by the lane
	h := f.hooks.OnAssignmentChanged
	if h == nil || len(added)+len(removed) == 0 {
		return nil
	}
	err := run(c.wait, func() error { return h(c.hooks, added, removed) })
	f.logHook("OnAssignmentChanged", err)
	return err
}

// difference returns what is in to and not in from.
func difference(from, to map[string]held) []parti.Partition {
	d := maps.Clone(to)
	maps.DeleteFunc(d, func(id string, _ held) bool {
		_, ok := from[id]
		return ok
	})
	return partitionsOf(d)
}

// enter changes the state and tells the hook. Nothing follows Shutdown.
func (f *Fake) enter(c call, to parti.State) {
	inLane := f.events.enter(c.wait) == nil
	f.mu.Lock()
	from := f.state
	if f.phase == phaseStopping && !c.last {
		to = from
	}
	f.state = to
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	if !inLane {
		return // a hook hangs; the state changes all the same
	}
	defer f.events.leave()
	if h := f.hooks.OnStateChanged; h != nil && from != to {
		f.logHook("OnStateChanged", run(c.wait, func() error { return h(c.hooks, from, to) }))
	}
}

// report tells OnError.
func (f *Fake) report(c call, err error) {
	if h := f.hooks.OnError; h != nil {
		f.event(c, "OnError", func(ctx context.Context) error { return h(ctx, err) })
	}
}

// event calls a hook other than OnAssignmentChanged.
func (f *Fake) event(c call, name string, h func(ctx context.Context) error) {
	if f.events.enter(c.wait) != nil {
		return
	}
	defer f.events.leave()
	f.logHook(name, run(c.wait, func() error { return h(c.hooks) }))
}

func (f *Fake) logHook(name string, err error) {
	if err != nil && f.opts.Logger != nil {
		f.opts.Logger.Error("hook failed", "hook", name, "error", err)
	}
}

type hookKey struct{}

// inHook tells the context that hooks and updater are given.
func (f *Fake) inHook(ctx context.Context) bool { return ctx.Value(hookKey{}) == f }

// lane lets one in at a time.
type lane chan struct{}

func newLane() lane { return make(lane, 1) }

func (l lane) enter(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l lane) leave() { <-l }

var errGoexit = errors.New("ended its goroutine: only the test's own may call t.FailNow")

// run calls users' code on a goroutine of its own and waits for it, for as long
// as wait lasts. A panic becomes an error.
func run(wait context.Context, f func() error) error {
	result := make(chan error, 1)
	go func() {
		err := errGoexit
		defer func() {
			if v := recover(); v != nil {
				err = panicError{v}
			}
			result <- err
		}()
		err = f()
	}()
	select {
	case err := <-result:
		return err
	case <-wait.Done():
		return wait.Err()
	}
}
