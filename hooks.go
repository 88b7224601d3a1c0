package parti

import (
	"context"
	"time"
)

// Hooks are the callbacks of a [Manager]; every one may be nil.
//
// They run asynchronously: OnAssignmentChanged in order on one goroutine, all
// others in order on a second one. Their context is cancelled when the manager
// shuts down. An error or a panic of a hook is logged and changes nothing else.
// Keep hooks short (under a second) and idempotent.
//
// Calls wait in order for a hook that is slow. Only what waits for OnError is
// bounded, and may be dropped; changes of state and alerts never are, and what
// several assignments changed meanwhile comes as one difference.
//
// Every method of the manager may be called from a hook. [Manager.WaitState]
// returns [ErrInHook] there, and until Start has returned
// [Manager.RefreshPartitions] returns [ErrNotStarted], as it does elsewhere.
type Hooks struct {
	// OnAssignmentChanged is called after the worker's partitions changed, with
	// the exact difference, each list in ascending order of ids. The first
	// assignment is reported as added. The worker acknowledges that it let go
	// of removed only after this returned, so that nobody else starts on them
	// before.
	OnAssignmentChanged func(ctx context.Context, added, removed []Partition) error

	// OnStateChanged is called for every change of state, in order.
	OnStateChanged func(ctx context.Context, from, to State) error

	// OnError is called for recoverable errors; match them with errors.Is.
	// When errors come faster than the hook takes them, the oldest waiting
	// ones are dropped and counted in the log.
	OnError func(ctx context.Context, err error) error

	// OnDegradedAlert is called while the worker is degraded, with a level of
	// "Info", "Warn", "Error" or "Critical" and the time since NATS was lost.
	OnDegradedAlert func(ctx context.Context, level string, duration time.Duration) error
}
