package parti

import "time"

// MetricsCollector receives measurements. Embed [NopMetrics] to implement only
// some of its methods and to stay source compatible with later versions.
// Methods are called from several goroutines, the manager's own loop among them:
// they must not block and must not panic.
type MetricsCollector interface {
	DegradedMetrics
	AssignmentMetrics
	ElectionMetrics
	StoreMetrics
}

// DegradedMetrics describe degraded mode.
type DegradedMetrics interface {
	// SetDegradedMode is 1 while the worker is degraded, else 0.
	SetDegradedMode(value float64)
	// SetCacheAge is the time since the assignment in force was last confirmed
	// by NATS.
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

// AssignmentMetrics describe what is assigned and what moves.
type AssignmentMetrics interface {
	// SetState is told every change of state.
	SetState(s State)
	// SetAssignedPartitions is the number of partitions this worker owns.
	SetAssignedPartitions(n int)
	// AddMoves counts partitions that a plan of this leader moved, by reason
	// ("cold_start", "scale", "emergency", "refresh").
	AddMoves(reason string, n int)
	// IncrementRebalance counts plans committed by this leader, by reason.
	IncrementRebalance(reason string)
	// ObserveRebalanceDuration is the time from a plan to its last grant.
	ObserveRebalanceDuration(d time.Duration)
	// IncrementForcedHandoff counts partitions granted before their former
	// owner said that it had let go.
	IncrementForcedHandoff()
	// AddOverlaps counts partitions that this worker went on with, cut off or
	// unable to prove itself alive, until it learned that others had been given
	// them meanwhile (Ownership Available only).
	AddOverlaps(n int)
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
	// IncrementKVError counts operations that NATS failed, by bucket kind
	// ("ids", "election", "heartbeats", "assignments").
	IncrementKVError(bucket string)
	// IncrementWatchRestart counts watches that had to be made again.
	IncrementWatchRestart()
}

// NopMetrics collects nothing.
type NopMetrics struct{}

var _ MetricsCollector = NopMetrics{}

func (NopMetrics) SetDegradedMode(float64)                {}
func (NopMetrics) SetCacheAge(time.Duration)              {}
func (NopMetrics) SetAlertLevel(int)                      {}
func (NopMetrics) ObserveDegradedDuration(time.Duration)  {}
func (NopMetrics) IncrementAlertEmitted(string)           {}
func (NopMetrics) IncrementCacheFallback()                {}
func (NopMetrics) SetState(State)                         {}
func (NopMetrics) SetAssignedPartitions(int)              {}
func (NopMetrics) AddMoves(string, int)                   {}
func (NopMetrics) IncrementRebalance(string)              {}
func (NopMetrics) ObserveRebalanceDuration(time.Duration) {}
func (NopMetrics) IncrementForcedHandoff()                {}
func (NopMetrics) AddOverlaps(int)                        {}
func (NopMetrics) SetLeader(bool)                         {}
func (NopMetrics) IncrementClaimConflict()                {}
func (NopMetrics) IncrementKVError(string)                {}
func (NopMetrics) IncrementWatchRestart()                 {}
