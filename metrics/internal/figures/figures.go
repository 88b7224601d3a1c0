// Package figures is the catalogue of what parti measures, under the names that
// its dashboards and alerts use, and the one translation from the interfaces of
// parti and of package subscription to these names. What collects them implements
// [Sink].
package figures

import (
	"slices"

	"github.com/arloliu/parti"
)

// Kind is the kind of a figure.
type Kind uint8

// The kinds.
const (
	Gauge Kind = iota
	Counter
	Histogram
)

// Figure is one name of the catalogue. The values of its label, if it has one, are
// known beforehand, so that the number of series is bounded.
type Figure struct {
	Name   string
	Kind   Kind
	Help   string
	Label  string // "" = none
	Values []string
	Bounds []float64 // of a histogram, in seconds
}

// Bounds of histograms, few of them: each is a series.
var (
	milliseconds = []float64{.001, .0025, .01, .05, .25, 2.5}
	moves        = []float64{.005, .025, .1, .5, 2.5, 10}
	plans        = []float64{.005, .025, .1, .5, 2.5, 10}
	outages      = []float64{15, 60, 300, 900, 1800, 3600}
)

// The figures of a manager. Those of degraded mode have the names that the user
// guide promises.
var (
	DegradedMode     = gauge("parti_degraded_mode", "1 while the worker is degraded, else 0.")
	CacheAge         = gauge("parti_cache_age_seconds", "Time since NATS last confirmed the assignment in force.")
	AlertLevel       = gauge("parti_alert_level", "Degraded alert: 0 none, 1 Info, 2 Warn, 3 Error, 4 Critical.")
	DegradedDuration = histogram("parti_degraded_duration_seconds", "How long periods of degraded mode lasted.", outages)
	DegradedAlerts   = counter("parti_degraded_alerts_total", "Degraded alerts by level.").by("level", "Info", "Warn", "Error", "Critical")
	CacheFallback    = counter("parti_cache_fallback_total", "Times that the worker went on with a cached assignment because NATS was away.")

	State         = gauge("parti_state", "1 for the state that the worker is in, else 0.").by("state", stateNames()...)
	Worker        = gauge("parti_worker_info", "1, with the id of this worker.").by("worker")
	Leader        = gauge("parti_leader", "1 while the worker leads, else 0.")
	Term          = gauge("parti_assignment_term", "Term of the assignment last obeyed.")
	Version       = gauge("parti_assignment_version", "Version of the assignment last obeyed.")
	Partitions    = gauge("parti_assigned_partitions", "Partitions that this worker owns.")
	Weight        = gauge("parti_assigned_weight", "Weight of the partitions that this worker owns.")
	ApplyDuration = histogram("parti_apply_duration_seconds", "From the arrival of a change of ownership until consumers and hook followed it.", moves)
	Overlaps      = counter("parti_overlaps_total", "Partitions still held when the worker learned that it had been believed dead.")
	Errors        = counter("parti_errors_total", "Recoverable errors by kind.").by("kind", parti.ErrorKinds()...)

	ListedPartitions  = gauge("parti_fleet_partitions", "Partitions that the source lists, told by the leader; 0 elsewhere.")
	UnownedPartitions = gauge("parti_unowned_partitions", "Partitions that nobody works on now, told by the leader; 0 elsewhere.")
	UnownedSeconds    = counter("parti_unowned_partition_seconds_total", "Time that partitions had no owner, added up when they have one again.")
	HandoffPause      = histogram("parti_handoff_pause_seconds", "For how long a partition had no owner, by cause.", moves).by("cause", parti.HandoffCauses()...)
	ForcedHandoffs    = counter("parti_forced_handoffs_total", "Partitions granted before their former owner said that it had let go.")
	Moves             = counter("parti_moves_total", "Partitions that plans of this leader moved, by reason.").by("reason", parti.RebalanceReasons()...)
	Rebalances        = counter("parti_rebalances_total", "Plans that this leader committed, by reason.").by("reason", parti.RebalanceReasons()...)
	RebalanceDuration = histogram("parti_rebalance_duration_seconds", "How long the phases of a rebalance took: plan, publish, handoff.", plans).by("phase", "plan", "publish", "handoff")

	ClaimConflicts    = counter("parti_claim_conflicts_total", "Worker ids that another worker took first.")
	HeartbeatDuration = histogram("parti_heartbeat_duration_seconds", "How long a heartbeat took to be stored, or to fail.", milliseconds)
	CommitDuration    = histogram("parti_commit_duration_seconds", "How long the leader took to publish an assignment.", milliseconds)
	KVErrors          = counter("parti_kv_errors_total", "Operations that NATS failed, by kind of bucket.").by("bucket", "ids", "election", "heartbeats", "assignments")
	WatchRestarts     = counter("parti_watch_restarts_total", "Watches that had to be made again.")
)

// The figures of a subscription.DurableHelper. The first ones are asked when they
// are collected.
var (
	ConsumerPartitions = gauge("parti_consumer_partitions", "Partitions that this worker consumes.")
	ConsumerPending    = gauge("parti_consumer_pending", "Messages that wait at the server, as of the last delivery of each partition, or of some seconds ago where none comes.")
	ConsumerInFlight   = gauge("parti_consumer_in_flight", "Messages being handled or waiting to be tried again.")
	AbandonedDurables  = gauge("parti_abandoned_durables", "Durables of partitions that left the list, with messages nobody handles; told by the leader, 0 elsewhere.")
	AbandonedMessages  = gauge("parti_abandoned_messages", "Messages that those durables hold.")
	ConsumerMaxPending = gauge("parti_consumer_max_pending", "The most messages that wait for any one partition.")
	ConsumerFailing    = gauge("parti_consumer_failing_partitions", "Partitions whose pull failed, with nothing delivered since.")
	ConsumerStuck      = gauge("parti_consumer_stuck_partitions", "Partitions with a handler that has outlasted its timeout and has not returned.")

	HandlerDuration = histogram("parti_handler_duration_seconds", "How long calls of the handler took.", moves).by("result", "ok", "error")
	ReleaseDuration = histogram("parti_release_duration_seconds", "How long it took to let go of a partition.", moves)
	Panics          = counter("parti_handler_panics_total", "Panics of the handler.")
	Stuck           = counter("parti_handler_stuck_total", "Handlers that outlasted their timeout.")
	Revoked         = counter("parti_handler_revoked_total", "Partitions whose handler still ran when they had to be let go.")
	DeadLettered    = counter("parti_dead_lettered_total", "Poison messages given to the dead letter subject.")
	Terminated      = counter("parti_terminated_total", "Poison messages dropped for want of a dead letter subject.")
	Takeovers       = counter("parti_takeovers_total", "Partitions gained with unacknowledged messages.")
	Resyncs         = counter("parti_resyncs_total", "Partitions that began again at their ack floor because a delivery was lost.")
	Retired         = counter("parti_durables_removed_total", "Durables removed because their partitions left the list.")
	HandedBack      = counter("parti_handed_back_total", "Messages fetched and handed back, not begun.")
)

var all []*Figure

// All returns the catalogue.
func All() []*Figure { return slices.Clone(all) }

func add(f *Figure) *Figure {
	all = append(all, f)
	return f
}

func gauge(name, help string) *Figure   { return add(&Figure{Name: name, Help: help, Kind: Gauge}) }
func counter(name, help string) *Figure { return add(&Figure{Name: name, Help: help, Kind: Counter}) }

func histogram(name, help string, bounds []float64) *Figure {
	return add(&Figure{Name: name, Help: help, Kind: Histogram, Bounds: bounds})
}

func (f *Figure) by(label string, values ...string) *Figure {
	f.Label, f.Values = label, values
	return f
}

func stateNames() []string {
	var names []string
	for _, s := range parti.States() {
		names = append(names, s.String())
	}
	return names
}
