package parti

import "time"

// MetricsCollector receives measurements. Packages metrics/prometheus and
// metrics/otel have collectors that are ready for use. To write your own, embed
// [NopMetrics] to implement only some of the methods and to stay source compatible
// with later versions. Methods are called from several goroutines, the manager's
// own loop among them: they must not block and must not panic.
type MetricsCollector interface {
	DegradedMetrics
	AssignmentMetrics
	LeaderMetrics
	ElectionMetrics
	StoreMetrics
}

// DegradedMetrics describe degraded mode.
type DegradedMetrics interface {
	// SetDegradedMode is 1 while the worker is degraded, else 0.
	SetDegradedMode(value float64)
	// SetCacheAge is the time since the assignment in force was last confirmed
	// by NATS, at the moment of the call: it goes on growing until the next one.
	SetCacheAge(age time.Duration)
	// SetAlertLevel is the current alert: 0 none, 1 Info, 2 Warn, 3 Error,
	// 4 Critical.
	SetAlertLevel(level int)
	// ObserveDegradedDuration is how long a period of degraded mode lasted,
	// told at its end.
	ObserveDegradedDuration(d time.Duration)
	// IncrementAlertEmitted counts alerts by level ("Info", ...).
	IncrementAlertEmitted(level string)
	// IncrementCacheFallback counts the times that a worker went on with its
	// cached assignment because NATS could not be asked.
	IncrementCacheFallback()
}

// AssignmentMetrics describe this worker and what is assigned to it.
type AssignmentMetrics interface {
	// SetState is told every change of state.
	SetState(s State)
	// SetWorker is told the worker's id when it is claimed, and "" when there is
	// none any more.
	SetWorker(id string)
	// SetVersion is the term and version of the assignment last obeyed.
	SetVersion(term, version uint64)
	// SetAssignedPartitions is the number of partitions this worker owns.
	SetAssignedPartitions(n int)
	// SetAssignedWeight is their weight.
	SetAssignedWeight(weight int64)
	// ObserveApply is told when an assignment that changed something for this
	// worker is in force.
	ObserveApply(a AppliedChange)
	// AddOverlaps counts partitions that this worker still held when it learned
	// that it had been believed dead, so that others may have worked on them
	// meanwhile.
	AddOverlaps(n int)
	// IncrementError counts what [Hooks.OnError] is told, by kind, one of
	// [ErrorKinds].
	IncrementError(kind string)
}

// LeaderMetrics describe what a leader plans.
type LeaderMetrics interface {
	// AddMoves counts partitions that a plan of this leader moved, by reason,
	// one of [RebalanceReasons].
	AddMoves(reason string, n int)
	// IncrementRebalance counts plans committed by this leader, by reason.
	IncrementRebalance(reason string)
	// ObserveRebalance is told when a plan of this leader is in force, to the
	// last grant.
	ObserveRebalance(r Rebalance)
	// ObserveHandoffPause says that so many partitions have an owner again after
	// each had none for d. The cause is one of [HandoffCauses].
	ObserveHandoffPause(cause string, d time.Duration, partitions int)
	// IncrementForcedHandoff counts partitions granted before their former
	// owner said that it had let go.
	IncrementForcedHandoff()
	// SetFleet is the number of partitions that the source lists, and of those
	// that nobody works on now: they are between two owners, or their worker has
	// left and may come back. Both are 0 when this worker does not lead.
	SetFleet(partitions, unowned int)
}

// ElectionMetrics describe ids and leadership.
type ElectionMetrics interface {
	// SetLeader is true while this worker leads.
	SetLeader(leader bool)
	// IncrementClaimConflict counts ids that another worker took first.
	IncrementClaimConflict()
}

// StoreMetrics describe the traffic with NATS.
type StoreMetrics interface {
	// ObserveHeartbeat is how long a heartbeat took to be stored, or to fail.
	ObserveHeartbeat(d time.Duration)
	// ObserveCommit is how long a leader took to publish an assignment.
	ObserveCommit(d time.Duration)
	// IncrementKVError counts operations that NATS failed, by bucket kind
	// ("ids", "election", "heartbeats", "assignments").
	IncrementKVError(bucket string)
	// IncrementWatchRestart counts watches that had to be made again.
	IncrementWatchRestart()
}

// Rebalance is a plan that has come into force.
type Rebalance struct {
	// Reason is one of [RebalanceReasons].
	Reason string
	// Term and Version are those of the assignment that published the plan.
	Term, Version uint64
	// Workers and Partitions are what was planned for; Moves is how many
	// partitions changed owners.
	Workers, Partitions, Moves int
	// Began is when the strategy was asked. Plan is how long it took to answer,
	// Publish how long the answer took to be written, and Handoff how long until
	// the last partition that moved was granted.
	Began                  time.Time
	Plan, Publish, Handoff time.Duration
}

// AppliedChange is an assignment that has come into force at a worker.
type AppliedChange struct {
	Term, Version  uint64
	Added, Removed int // partitions gained and lost
	Owned          int // partitions owned now
	// Began is when it arrived; Took is how long [WorkerConsumerUpdater] and
	// [Hooks.OnAssignmentChanged] took, waiting for earlier ones included.
	Began time.Time
	Took  time.Duration
}

// RebalanceReasons are the reasons for which a leader rebalances.
func RebalanceReasons() []string { return []string{"cold_start", "scale", "emergency", "refresh"} }

// HandoffCauses are the causes for which a partition has no owner for a while:
// "move", a plan moved it; "crash", its owner died, counted from its last sign of
// life; "restart", its owner left, and came back or was given up.
func HandoffCauses() []string { return []string{"move", "crash", "restart"} }

// NopMetrics collects nothing.
type NopMetrics struct{}

var _ MetricsCollector = NopMetrics{}

func (NopMetrics) SetDegradedMode(float64)                        {}
func (NopMetrics) SetCacheAge(time.Duration)                      {}
func (NopMetrics) SetAlertLevel(int)                              {}
func (NopMetrics) ObserveDegradedDuration(time.Duration)          {}
func (NopMetrics) IncrementAlertEmitted(string)                   {}
func (NopMetrics) IncrementCacheFallback()                        {}
func (NopMetrics) SetState(State)                                 {}
func (NopMetrics) SetWorker(string)                               {}
func (NopMetrics) SetVersion(uint64, uint64)                      {}
func (NopMetrics) SetAssignedPartitions(int)                      {}
func (NopMetrics) SetAssignedWeight(int64)                        {}
func (NopMetrics) ObserveApply(AppliedChange)                     {}
func (NopMetrics) AddOverlaps(int)                                {}
func (NopMetrics) IncrementError(string)                          {}
func (NopMetrics) AddMoves(string, int)                           {}
func (NopMetrics) IncrementRebalance(string)                      {}
func (NopMetrics) ObserveRebalance(Rebalance)                     {}
func (NopMetrics) ObserveHandoffPause(string, time.Duration, int) {}
func (NopMetrics) IncrementForcedHandoff()                        {}
func (NopMetrics) SetFleet(int, int)                              {}
func (NopMetrics) SetLeader(bool)                                 {}
func (NopMetrics) IncrementClaimConflict()                        {}
func (NopMetrics) ObserveHeartbeat(time.Duration)                 {}
func (NopMetrics) ObserveCommit(time.Duration)                    {}
func (NopMetrics) IncrementKVError(string)                        {}
func (NopMetrics) IncrementWatchRestart()                         {}
