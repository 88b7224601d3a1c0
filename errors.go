package parti

import "errors"

// Errors of NewManager.
var (
	// ErrInvalidConfig is returned by NewManager, Config.Validate and
	// LoadConfig. Its text names every invalid field with its value and what is
	// allowed.
	ErrInvalidConfig = errors.New("parti: invalid configuration")
	// ErrNATSConnectionRequired is returned by NewManager when it is given no
	// JetStream context.
	ErrNATSConnectionRequired = errors.New("parti: a JetStream context is required: pass the result of jetstream.New")
	// ErrPartitionSourceRequired is returned by NewManager when it is given no
	// source.
	ErrPartitionSourceRequired = errors.New("parti: a partition source is required")
	// ErrAssignmentStrategyRequired is returned by NewManager when it is given
	// no strategy.
	ErrAssignmentStrategyRequired = errors.New("parti: an assignment strategy is required")
)

// Errors of a manager's methods.
var (
	// ErrAlreadyStarted is returned by Start while the manager runs or starts,
	// and by Run while another Run works.
	ErrAlreadyStarted = errors.New("parti: already started")
	// ErrNotStarted is returned by methods that need a running manager, such
	// as RefreshPartitions, before Start.
	ErrNotStarted = errors.New("parti: not started")
	// ErrStopped is returned by every method that needs a running manager
	// after Stop, Start included: make a new manager.
	ErrStopped = errors.New("parti: stopped")
	// ErrInHook is returned by WaitState and Run when they are called from a
	// hook, which would wait for itself.
	ErrInHook = errors.New("parti: called from a hook, which would wait for itself")
	// ErrRunFunctionRequired is returned by Run when it is given no function.
	ErrRunFunctionRequired = errors.New("parti: a function is required")
	// ErrStableIDExhausted is returned by Start when every id between
	// WorkerIDMin and WorkerIDMax is held by a live worker: raise WorkerIDMax.
	ErrStableIDExhausted = errors.New("parti: all stable worker ids are taken: raise WorkerIDMax")
	// ErrJetStreamUnavailable is returned by Start when the server has no
	// JetStream, the account may not use it, or a bucket cannot be reached.
	ErrJetStreamUnavailable = errors.New("parti: JetStream is not available")
	// ErrBucketUnusable is returned by Start when a bucket exists and cannot
	// serve, such as one that keeps history.
	ErrBucketUnusable = errors.New("parti: bucket cannot be used")
	// ErrForeignApp is returned by Start when the group is in use by another
	// application; see Config.App.
	ErrForeignApp = errors.New("parti: the group belongs to another app")
	// ErrSuperseded is for a WorkerConsumerUpdater to return; see [Superseded]. It
	// is not reported.
	ErrSuperseded = errors.New("parti: a newer assignment waits")
)

// Recoverable errors, reported to Hooks.OnError. The manager carries on.
var (
	// ErrNATSConnectionLost is reported when the connection to NATS is lost,
	// and returned by Start when there is none.
	ErrNATSConnectionLost = errors.New("parti: NATS connection lost")
	// ErrAssignmentVersionMismatch is reported when a published assignment is
	// older than one seen before, or does not match its own digest. It is
	// ignored; the worker keeps what it holds and reads again.
	ErrAssignmentVersionMismatch = errors.New("parti: stale or torn assignment ignored")
	// ErrElectionFailed is reported when an election cannot be held: the
	// ElectionAgent failed, or the leader key could not be written.
	ErrElectionFailed = errors.New("parti: election failed")
	// ErrIDLost is reported when another worker holds this worker's id. The
	// worker stops owning at once and claims another id.
	ErrIDLost = errors.New("parti: worker id lost to another worker")
	// ErrKV is reported when NATS fails an operation on a bucket.
	ErrKV = errors.New("parti: key-value operation failed")
	// ErrSource is reported when the partition source fails, hangs, panics or
	// lists something that cannot be used. The last good list stays. It is
	// returned by RefreshPartitions for the same reasons.
	ErrSource = errors.New("parti: partition source failed")
	// ErrStrategy is reported when the strategy fails, hangs, panics or returns
	// a result that loses, invents or doubles a partition. The last good
	// assignment stays.
	ErrStrategy = errors.New("parti: assignment strategy failed")
	// ErrConsumerUpdate is reported when the WorkerConsumerUpdater fails. It is
	// called again.
	ErrConsumerUpdate = errors.New("parti: consumer update failed")
	// ErrRun is reported when a call of the function given to Run returns an
	// error or panics; see RunError. It is called again.
	ErrRun = errors.New("parti: work on a partition failed")
	// ErrRunLate is reported, with ErrRun, when a call of the function given to
	// Run goes on for HandoffTimeout after its context ended. It is waited for.
	ErrRunLate = errors.New("parti: the call has not returned in time after its context ended")
	// ErrHandoffForced is reported by the leader when a worker did not let go
	// of a partition within HandoffTimeout and it was granted to the next owner
	// nevertheless (Ownership Available), or when it is still waited for
	// (Exclusive).
	ErrHandoffForced = errors.New("parti: handoff timed out")
	// ErrForeignValue is reported when a bucket holds a value that this version
	// cannot read. It is ignored.
	ErrForeignValue = errors.New("parti: unreadable value ignored")
)
