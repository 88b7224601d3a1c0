package parti

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/arloliu/parti/internal/core"
)

// start brings a run to work, or to its end.
func (r *run) start(ctx context.Context) error {
	err := r.prepare()
	if err != nil {
		go r.finish()
	} else {
		select {
		case <-r.started:
		case <-r.over:
			if !r.hasStarted() { // it may have ended since
				err = r.startError()
			}
		case <-ctx.Done():
			if !r.hasStarted() {
				err = fmt.Errorf("%w while waiting for %s", ctxErr(ctx), awaited(r.m.State()))
			}
		}
	}
	r.m.startEnded(r, err)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		r.hurry(err)
	}
	if left := r.awaitOver(); left != "" {
		err = fmt.Errorf("%w (still running: %s)", err, left)
	}
	if r.m.stopRequested() && !errors.Is(err, ErrStopped) {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return err
}

// prepare connects, opens the buckets and starts the loop.
func (r *run) prepare() error {
	began, timeout := r.clock.now(), r.m.cfg.StartupTimeout
	ctx, cancel := context.WithTimeout(r.setup, timeout)
	defer cancel()
	w := newConnWatch(r.m.conn, r.box.post)
	w.saw = r.m.health.saw
	r.own.start("following the connection", func() { w.run(r.ctx) })
	if err := w.awaitUp(ctx); err != nil {
		return err
	}
	store, err := r.m.open(ctx)
	if err == nil {
		r.store = store // for finish, whatever comes
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = errors.Join(err, ctxErr(ctx))
	}
	if err != nil {
		return err
	}
	for _, text := range append(append(r.m.cfg.warnings(), r.m.conn.warnings()...), store.Warnings()...) {
		r.log.Warn(text)
	}
	r.begin(timeout - (r.clock.now() - began))
	return nil
}

// startError says why a run was over before it came to work.
func (r *run) startError() error {
	switch {
	case r.startErr != nil:
		return r.startErr
	case r.fault != nil:
		return r.fault
	}
	return ErrStopped
}

// awaited says what Start waits for in a state.
func awaited(s State) string {
	switch s {
	case StateInit, StateClaimingID:
		return "a worker id"
	case StateElection:
		return "a leader"
	default:
		return "an assignment that names this worker"
	}
}

// stop ends a run in order, or, when its time is up, without it.
func (r *run) stop(ctx context.Context, first bool) error {
	hook := cmp.Or(hookOf(ctx, r.m), r.runner.dontWaitFor(ctx))
	if hook != "" {
		// Stopping ends the context of the hook, or of the call of Run's
		// function, itself, which must not end stopping; its deadline counts.
		var cancel context.CancelFunc
		ctx, cancel = withoutCancel(ctx)
		defer cancel()
	}
	ctx, cancel := context.WithTimeout(ctx, r.m.cfg.ShutdownTimeout)
	defer cancel()
	if hook == laneAssignment {
		r.applier.dontWaitForHook()
	}
	if first {
		r.endSetup(ErrStopped)
		r.box.post(core.Stop{})
		r.hookCtx.renew()
	}
	select {
	case <-r.over:
	case <-r.hurried:
	case <-ctx.Done():
		if !first {
			return fmt.Errorf("%w while another Stop works", ctxErr(ctx))
		}
		r.hurry(ctxErr(ctx))
	}
	return r.stopped(ctx, hook)
}

// stopped waits for the end of a run, then for hooks, and says what went wrong.
func (r *run) stopped(ctx context.Context, hook string) error {
	if left := r.awaitOver(); left != "" {
		return fmt.Errorf("%w (still running: %s)", r.hurryWhy, left)
	}
	err := r.why()
	limit := ctx.Done()
	if err != nil {
		// The time may be up already; hooks that obey need a moment.
		moment, cancel := context.WithTimeout(context.WithoutCancel(ctx), usersGrace)
		defer cancel()
		limit = moment.Done()
	}
	left := listed(r.users.wait(limit, hook))
	switch {
	case left == "":
		return err
	case err == nil:
		r.log.Warn("stopped, while users' code ignores the end of its context", "running", left)
		return nil
	}
	return fmt.Errorf("%w (still running: %s)", err, left)
}

// withoutCancel keeps the values and the deadline of ctx only.
func withoutCancel(ctx context.Context) (context.Context, context.CancelFunc) {
	if t, ok := ctx.Deadline(); ok {
		return context.WithDeadline(context.WithoutCancel(ctx), t)
	}
	return context.WithoutCancel(ctx), func() {}
}
