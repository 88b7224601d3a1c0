package parti

import "time"

// Config configures a [Manager]. Zero fields get the defaults named beside
// them; NewManager fills them on its own copy, see [SetDefaults]. Since zero
// means the default, say "nothing" with a small value, such as 1 ms; a file that
// says zero is refused where zero means nothing. All workers of a group must use the
// same configuration but for the timeouts.
//
// Durations are at least 1 ms and at most a year. Validate says which other
// limits hold, and [LoadConfig] reads a Config from YAML. Its methods do not
// change it.
type Config struct {
	// WorkerIDPrefix is what stable ids begin with: "worker" gives worker-0,
	// worker-1, … At most 64 letters, digits, '-' and '_'. Default "worker".
	WorkerIDPrefix string `yaml:"workerIdPrefix"`
	// WorkerIDMin and WorkerIDMax bound the numbers of the ids, inclusive.
	// Defaults 0 and 99. A zero WorkerIDMax means 99 whatever WorkerIDMin is,
	// so a WorkerIDMin above 99 needs a WorkerIDMax too, and the fleet of a
	// single worker is 1 to 1: 0 to 0 would be 0 to 99.
	WorkerIDMin int `yaml:"workerIdMin"`
	WorkerIDMax int `yaml:"workerIdMax"`
	// WorkerIDTTL is how long a claim outlives its last renewal; it is renewed
	// three times as often. At least HeartbeatTTL. Default 30 s.
	WorkerIDTTL time.Duration `yaml:"workerIdTtl"`

	// HeartbeatInterval is the time between heartbeats. Default 2 s.
	HeartbeatInterval time.Duration `yaml:"heartbeatInterval"`
	// HeartbeatTTL is how long a heartbeat is good; also the lease of the
	// leader. Three times HeartbeatInterval is a good value; at least 1.5 times,
	// and 500 ms more than it, so that a renewal comes in time. Default 6 s.
	HeartbeatTTL time.Duration `yaml:"heartbeatTtl"`

	// ColdStartWindow is how long the leader of a fleet without an assignment
	// waits for workers at most. Default 30 s.
	ColdStartWindow time.Duration `yaml:"coldStartWindow"`
	// ColdStartSettle ends the cold start early when no new worker came for so
	// long. At least ColdStartWindow switches that off. Default 2 s.
	// In [OwnershipExclusive] the very first cold start of a fleet, which finds no
	// assignment, lasts HeartbeatTTL and the grace at least.
	ColdStartSettle time.Duration `yaml:"coldStartSettle"`
	// PlannedScaleWindow is how long the leader waits after a join or a graceful
	// leave for more of them, and for a leaver's id to return. Default 10 s.
	PlannedScaleWindow time.Duration `yaml:"plannedScaleWindow"`
	// EmergencyGracePeriod is how long a worker that seems dead may still come
	// back before its partitions go to others. Default 1.5 s.
	EmergencyGracePeriod time.Duration `yaml:"emergencyGracePeriod"`
	// RestartDetectionRatio tells an outage from crashes: when more than this
	// part of the fleet goes missing together, the leader waits longer before
	// it believes in so many deaths. Above 0, at most 1. Default 0.5.
	RestartDetectionRatio float64 `yaml:"restartDetectionRatio"`

	// OperationTimeout bounds one operation on NATS and one call of the source
	// or the strategy. Default 10 s.
	OperationTimeout time.Duration `yaml:"operationTimeout"`
	// ElectionTimeout bounds one campaign, calls of an ElectionAgent included.
	// Default 5 s.
	ElectionTimeout time.Duration `yaml:"electionTimeout"`
	// StartupTimeout bounds Start; the time spent in a stabilization window is
	// not charged. Default 30 s.
	StartupTimeout time.Duration `yaml:"startupTimeout"`
	// ShutdownTimeout bounds Stop. Default 10 s.
	ShutdownTimeout time.Duration `yaml:"shutdownTimeout"`
	// HandoffTimeout bounds how long a worker that gives up a partition may
	// take to finish what runs. Default 10 s.
	HandoffTimeout time.Duration `yaml:"handoffTimeout"`

	// Group separates fleets that share buckets. One subject token: at most 64
	// letters, digits, '-' and '_'. Default, when empty: WorkerIDPrefix.
	Group string `yaml:"group"`
	// App, when set, is recorded with the group's assignment, and a worker of
	// another app in the same group is refused with ErrForeignApp. Any text of
	// at most 128 bytes without control characters.
	App string `yaml:"app"`
	// Ownership says what a worker that is cut off from NATS does with its
	// partitions. Default OwnershipAvailable.
	Ownership Ownership `yaml:"ownership"`
	// Capacity is this worker's share beside the others': one with 2 is given
	// twice the weight of one with 1, by a strategy that is a [Rebalancer], as the
	// built-in ones are. 0 means that it owns nothing (cordoned), with any
	// strategy. Default, when nil: 1.
	Capacity *float64 `yaml:"capacity"`
	// Labels describe this worker to strategies that look at them, see
	// [WorkerInfo]. They go with every heartbeat: at most 16, keys of 1 to 64 and
	// values of at most 128 bytes, without control characters.
	Labels map[string]string `yaml:"labels"`
	// RefreshInterval is how often the leader lists the partitions again by
	// itself; 0, the default, is never.
	RefreshInterval time.Duration `yaml:"refreshInterval"`

	// Assignment configures when to rebalance.
	Assignment AssignmentConfig `yaml:"assignment"`
	// KVBucket configures the buckets.
	KVBucket KVBucketConfig `yaml:"kvBucket"`
	// DegradedAlert configures the alerts of degraded mode.
	DegradedAlert DegradedAlertConfig `yaml:"degradedAlert"`
	// DegradedBehavior configures when degraded mode is entered and left.
	DegradedBehavior DegradedBehaviorConfig `yaml:"degradedBehavior"`
}

// AssignmentConfig configures when to rebalance.
type AssignmentConfig struct {
	// MinRebalanceThreshold is the imbalance (the largest relative distance of a
	// worker's weight from the mean) from which changed weights alone cause a
	// rebalance. Default 0.15.
	MinRebalanceThreshold float64 `yaml:"minRebalanceThreshold"`
	// MinRebalanceInterval is the least time between two rebalances that are
	// not emergencies. Default 10 s.
	MinRebalanceInterval time.Duration `yaml:"minRebalanceInterval"`
	// MaxMovesPerPlan is how many partitions one plan may take from workers that
	// live; what is left follows in further plans, MinRebalanceInterval apart.
	// Partitions without a living owner are placed at once and do not count. 0,
	// the default, is no limit.
	MaxMovesPerPlan int `yaml:"maxMovesPerPlan"`
}

// KVBucketConfig configures the four buckets that a fleet keeps its state in.
// They are created when absent.
type KVBucketConfig struct {
	// Names of the buckets, which must differ: letters, digits, '-' and '_'.
	// Defaults "parti-stableid", "parti-election", "parti-heartbeat" and
	// "parti-assignment".
	StableIDBucket   string `yaml:"stableIdBucket"`
	ElectionBucket   string `yaml:"electionBucket"`
	HeartbeatBucket  string `yaml:"heartbeatBucket"`
	AssignmentBucket string `yaml:"assignmentBucket"`
	// AssignmentTTL is how long published payloads that no assignment names any
	// more may stay before the leader removes them. Default 1 h.
	AssignmentTTL time.Duration `yaml:"assignmentTtl"`
	// Replicas of buckets that are created, 1 to 5. Default 1.
	Replicas int `yaml:"replicas"`
	// Storage of buckets that are created. Default StorageFile.
	Storage Storage `yaml:"storage"`
}

// DegradedBehaviorConfig says when degraded mode is entered and left.
type DegradedBehaviorConfig struct {
	// EnterThreshold is the time without NATS before degraded mode. Default 10 s.
	EnterThreshold time.Duration `yaml:"enterThreshold"`
	// ExitThreshold is the time with NATS before recovery. Default 5 s.
	ExitThreshold time.Duration `yaml:"exitThreshold"`
	// KVErrorThreshold is the number of consecutive errors within KVErrorWindow
	// that enter degraded mode: errors of one kind of operation (read, write or
	// watch) on one bucket, added up over those that still fail. Default 5.
	KVErrorThreshold int `yaml:"kvErrorThreshold"`
	// KVErrorWindow is the window for counting errors. Default 30 s.
	KVErrorWindow time.Duration `yaml:"kvErrorWindow"`
	// RecoveryGracePeriod is how long a recovered leader judges nobody dead
	// whom it has not seen alive since. Default 30 s.
	RecoveryGracePeriod time.Duration `yaml:"recoveryGracePeriod"`

	// unknown is the quoted name of a preset that does not exist, until
	// Validate can tell: the preset functions return a single value, which
	// leaves no room for an error. Quoted, so that the empty name counts too.
	unknown string
}

// DegradedAlertConfig says when alerts are emitted, counted from the loss of
// NATS. The thresholds must rise.
type DegradedAlertConfig struct {
	InfoThreshold     time.Duration `yaml:"infoThreshold"`     // default 1 min
	WarnThreshold     time.Duration `yaml:"warnThreshold"`     // default 5 min
	ErrorThreshold    time.Duration `yaml:"errorThreshold"`    // default 15 min
	CriticalThreshold time.Duration `yaml:"criticalThreshold"` // default 30 min
	// AlertInterval is the least time between two alerts of the same level.
	// Default 30 s.
	AlertInterval time.Duration `yaml:"alertInterval"`

	// unknown is the quoted name of a preset that does not exist, until
	// Validate can tell: the preset functions return a single value, which
	// leaves no room for an error. Quoted, so that the empty name counts too.
	unknown string
}

// Ownership says what a worker that is cut off from NATS does with its
// partitions.
type Ownership string

const (
	// OwnershipAvailable keeps working on the partitions it has: two workers may
	// work on the same partition while one of them is cut off. Recovery from a
	// crash is fast.
	OwnershipAvailable Ownership = "available"
	// OwnershipExclusive stops when the own lease ends: no two workers are
	// granted the same partition at a time. Recovery from a crash costs the
	// lease, HeartbeatTTL.
	OwnershipExclusive Ownership = "exclusive"
)

// Storage is where a bucket keeps its data.
type Storage string

const (
	// StorageFile survives a restart of the server.
	StorageFile Storage = "file"
	// StorageMemory does not.
	StorageMemory Storage = "memory"
)
