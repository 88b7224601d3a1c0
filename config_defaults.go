package parti

import "time"

// DefaultConfig returns a configuration with every default filled in, to be
// changed where it does not fit.
func DefaultConfig() *Config {
	cfg := &Config{}
	SetDefaults(cfg)
	return cfg
}

// SetDefaults gives every zero field of cfg the default that is documented
// beside it and leaves the others alone. NewManager does so on its own copy,
// thus calling it is needed only to see or to change what results. RefreshInterval
// and App keep their zeros, which mean off and any, and so does Group: its default
// follows WorkerIDPrefix, also when that is set later.
func SetDefaults(cfg *Config) {
	fill(&cfg.WorkerIDPrefix, "worker")
	fill(&cfg.WorkerIDMax, 99)
	fill(&cfg.WorkerIDTTL, 30*time.Second)

	fill(&cfg.HeartbeatInterval, 2*time.Second)
	fill(&cfg.HeartbeatTTL, 6*time.Second)

	fill(&cfg.ColdStartWindow, 30*time.Second)
	fill(&cfg.ColdStartSettle, 2*time.Second)
	fill(&cfg.PlannedScaleWindow, 10*time.Second)
	fill(&cfg.EmergencyGracePeriod, 1500*time.Millisecond)
	fill(&cfg.RestartDetectionRatio, 0.5)

	fill(&cfg.OperationTimeout, 10*time.Second)
	fill(&cfg.ElectionTimeout, 5*time.Second)
	fill(&cfg.StartupTimeout, 30*time.Second)
	fill(&cfg.ShutdownTimeout, 10*time.Second)
	fill(&cfg.HandoffTimeout, 10*time.Second)

	fill(&cfg.Capacity, new(1.0))
	fill(&cfg.Ownership, OwnershipAvailable)

	fill(&cfg.Assignment.MinRebalanceThreshold, 0.15)
	fill(&cfg.Assignment.MinRebalanceInterval, 10*time.Second)

	b := &cfg.KVBucket
	fill(&b.StableIDBucket, "parti-stableid")
	fill(&b.ElectionBucket, "parti-election")
	fill(&b.HeartbeatBucket, "parti-heartbeat")
	fill(&b.AssignmentBucket, "parti-assignment")
	fill(&b.AssignmentTTL, time.Hour)
	fill(&b.Replicas, 1)
	fill(&b.Storage, StorageFile)

	setAlertDefaults(&cfg.DegradedAlert)
	setBehaviorDefaults(&cfg.DegradedBehavior)
}

func setAlertDefaults(a *DegradedAlertConfig) {
	def := alertPresets[defaultPreset]
	fill(&a.InfoThreshold, def.InfoThreshold)
	fill(&a.WarnThreshold, def.WarnThreshold)
	fill(&a.ErrorThreshold, def.ErrorThreshold)
	fill(&a.CriticalThreshold, def.CriticalThreshold)
	fill(&a.AlertInterval, def.AlertInterval)
}

func setBehaviorDefaults(b *DegradedBehaviorConfig) {
	def := behaviorPresets[defaultPreset]
	fill(&b.EnterThreshold, def.EnterThreshold)
	fill(&b.ExitThreshold, def.ExitThreshold)
	fill(&b.KVErrorThreshold, def.KVErrorThreshold)
	fill(&b.KVErrorWindow, def.KVErrorWindow)
	fill(&b.RecoveryGracePeriod, def.RecoveryGracePeriod)
}

// fill sets a zero field to its default.
func fill[T comparable](field *T, def T) {
	var zero T
	if *field == zero {
		*field = def
	}
}
