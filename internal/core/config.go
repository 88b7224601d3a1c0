package core

import "time"

// Config is what the core needs of the configuration, checked and complete.
type Config struct {
	Group  string // first token of every key
	App    string // "" accepts any
	Prefix string // worker id prefix
	IDMin  int
	IDMax  int

	IDTTL             time.Duration
	HeartbeatInterval time.Duration
	HeartbeatTTL      time.Duration

	ColdStartWindow      time.Duration
	ColdStartSettle      time.Duration
	PlannedScaleWindow   time.Duration
	EmergencyGracePeriod time.Duration
	RestartRatio         float64

	OperationTimeout time.Duration
	ElectionTimeout  time.Duration
	StartupTimeout   time.Duration
	ShutdownTimeout  time.Duration
	HandoffTimeout   time.Duration

	MinRebalanceThreshold float64
	MinRebalanceInterval  time.Duration
	RefreshInterval       time.Duration // 0 = off
	PayloadTTL            time.Duration // KVBucket.AssignmentTTL

	// Capacity and Labels are declared to the fleet in the heartbeat.
	Capacity        float64
	Labels          map[string]string
	MaxMovesPerPlan int // of partitions whose owner lives; 0 = no limit

	Exclusive bool // Ownership
	Agent     bool // an external election agent decides who may lead

	EnterThreshold      time.Duration
	ExitThreshold       time.Duration
	KVErrorThreshold    int
	KVErrorWindow       time.Duration
	RecoveryGracePeriod time.Duration

	AlertThresholds [5]time.Duration // by AlertLevel; [AlertNone] unused
	AlertInterval   time.Duration

	Host    string // for people
	Process Process
	// Buckets holds the creation time of each bucket, as found by the shell.
	Buckets [NumBuckets]string
}
