package parti

import (
	"context"
	"errors"
	"fmt"
)

// Run works on the partitions of this worker until ctx ends: the simplest way to
// use a manager. It starts the manager unless that was done, calls f once for
// each partition that the worker owns, and when ctx ends it stops the manager
// and returns what [Manager.Stop] returns.
//
// A call begins when its partition is granted, and its context ends when the
// worker loses it: because it moves, because the manager stops, or, with
// [OwnershipExclusive], because the lease of the worker has ended. f must return
// soon then. That it returned is what lets the next owner begin, so that a
// planned move never has two calls for a partition at work, in the whole fleet.
// t, which [TokenFromContext] returns too, is to go into everything that f writes;
// see [Token]. A partition that stays, but under a new token, is a new call after
// the old one has returned.
//
// When f returns nil its work on the partition is done until it is granted anew.
// When it returns an error or panics while the partition is owned, this is
// reported to [Hooks.OnError] as a [RunError], and f is called again after a wait
// that grows from 100 ms to 5 s (half as much more or less) and begins anew once
// a call has lasted 5 s.
//
// A call that goes on for Config.HandoffTimeout after its context ended is
// reported as a RunError that matches [ErrRunLate]. It is waited for all the same: this
// worker does not call f for the partition again before, and acknowledges no
// further assignment. With [OwnershipAvailable] the leader grants the partition
// to its next owner then, two calls may be at work, and the leader counts and
// reports [ErrHandoffForced]; with [OwnershipExclusive] the partition waits.
//
// Run works beside a [WorkerConsumerUpdater] and [Hooks.OnAssignmentChanged]. A
// partition that is gained is called before they are told of it; one that is
// lost is acknowledged when all three have let go.
//
// Run returns [ErrAlreadyStarted] while another Run works, [ErrStopped] after
// Stop, and [ErrInHook] when it is given the context of a hook. It returns nil
// when the manager is stopped in good order by somebody else, [Manager.Err] when
// it ends by itself, and the error of Start when that fails, after which it may be
// called again. The values of ctx are passed on to f. f may call Stop with its own
// context, which does not wait for that call.
func (m *Manager) Run(ctx context.Context, f func(ctx context.Context, p Partition, t Token) error) error {
	err := m.runWork(ctx, f)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

func (m *Manager) runWork(ctx context.Context, f func(context.Context, Partition, Token) error) error {
	if f == nil {
		return ErrRunFunctionRequired
	}
	if hook := hookOf(ctx, m); hook != "" {
		return fmt.Errorf("%w (%s)", ErrInHook, hook)
	}
	r, err := m.beginWork(&work{ctx: ctx, f: f})
	if err != nil {
		return err
	}
	defer m.endWork()
	// ctx may end while Start works, which then returns ErrStopped.
	alive := context.WithoutCancel(ctx)
	stopped := make(chan error, 1)
	unwatch := context.AfterFunc(ctx, func() { stopped <- m.Stop(alive) })
	if r == nil {
		err = m.Start(alive)
		r = m.workingRun()
	}
	switch {
	case err != nil && !errors.Is(err, ErrAlreadyStarted):
	case r == nil: // another Start has failed since
		err = m.Err()
	default:
		select {
		case err = <-stopped:
			return err
		case <-r.over:
		}
		err = r.workEnded()
	}
	if !unwatch() {
		return <-stopped
	}
	return err
}

// beginWork has w done by the present run, if there is one, and by those to come.
func (m *Manager) beginWork(w *work) (*run, error) {
	m.mu.Lock()
	switch {
	case m.phase == stopping || m.phase == finished:
		m.mu.Unlock()
		return nil, ErrStopped
	case m.work != nil:
		m.mu.Unlock()
		return nil, fmt.Errorf("%w: another Run works", ErrAlreadyStarted)
	}
	m.work = w
	r := m.run
	m.mu.Unlock()
	if r != nil {
		r.runner.begin(w)
	}
	return r, nil
}

func (m *Manager) endWork() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.work = nil
}

func (m *Manager) workingRun() *run {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run
}

// workEnded waits a moment for the calls of a run that somebody else has ended,
// and says why it was.
func (r *run) workEnded() error {
	err := r.m.Err()
	if !r.hasStarted() {
		err = fmt.Errorf("start: %w", r.startError())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), abortGrace)
	defer cancel()
	if left := listed(r.users.wait(ctx.Done(), "")); left != "" {
		err = errors.Join(err, fmt.Errorf("users' code ignores the end of its context (still running: %s)", left))
	}
	return err
}

// RunError is reported to [Hooks.OnError] when a call of the function given to
// [Manager.Run] has failed. It matches ErrRun, and what the function returned or
// panicked with.
type RunError struct {
	Partition Partition
	Token     Token
	// Err is what the call returned, its panic, or ErrRunLate.
	Err error
}

func (e *RunError) Error() string {
	return fmt.Sprintf("%v: partition %s, token %v: %v", ErrRun, e.Partition, e.Token, e.Err)
}

// Unwrap makes ErrRun and the cause match.
func (e *RunError) Unwrap() []error { return []error{ErrRun, e.Err} }
