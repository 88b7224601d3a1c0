package parti

import (
	"cmp"
	"maps"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// capacity is the configured one or its default.
func (cfg *Config) capacity() float64 {
	if cfg.Capacity == nil {
		return 1
	}
	return *cfg.Capacity
}

// core translates a complete and valid configuration for the core. What only a
// running manager knows is left for it to fill in: Agent, Host, Process and
// Buckets. The names, replicas and storage of the buckets are not the core's
// business.
func (cfg *Config) core() core.Config {
	a, b := &cfg.DegradedAlert, &cfg.DegradedBehavior
	return core.Config{
		Group:  cmp.Or(cfg.Group, cfg.WorkerIDPrefix),
		App:    cfg.App,
		Prefix: cfg.WorkerIDPrefix,
		IDMin:  cfg.WorkerIDMin,
		IDMax:  cfg.WorkerIDMax,

		IDTTL:             cfg.WorkerIDTTL,
		HeartbeatInterval: cfg.HeartbeatInterval,
		HeartbeatTTL:      cfg.HeartbeatTTL,

		ColdStartWindow:      cfg.ColdStartWindow,
		ColdStartSettle:      cfg.ColdStartSettle,
		PlannedScaleWindow:   cfg.PlannedScaleWindow,
		EmergencyGracePeriod: cfg.EmergencyGracePeriod,
		RestartRatio:         cfg.RestartDetectionRatio,

		OperationTimeout: cfg.OperationTimeout,
		ElectionTimeout:  cfg.ElectionTimeout,
		StartupTimeout:   cfg.StartupTimeout,
		ShutdownTimeout:  cfg.ShutdownTimeout,
		HandoffTimeout:   cfg.HandoffTimeout,

		MinRebalanceThreshold: cfg.Assignment.MinRebalanceThreshold,
		MinRebalanceInterval:  cfg.Assignment.MinRebalanceInterval,
		RefreshInterval:       cfg.RefreshInterval,
		PayloadTTL:            cfg.KVBucket.AssignmentTTL,

		Capacity:        cfg.capacity(),
		Labels:          maps.Clone(cfg.Labels),
		MaxMovesPerPlan: cfg.Assignment.MaxMovesPerPlan,

		Exclusive: cfg.Ownership == OwnershipExclusive,

		EnterThreshold:      b.EnterThreshold,
		ExitThreshold:       b.ExitThreshold,
		KVErrorThreshold:    b.KVErrorThreshold,
		KVErrorWindow:       b.KVErrorWindow,
		RecoveryGracePeriod: b.RecoveryGracePeriod,

		AlertThresholds: [...]time.Duration{
			0, a.InfoThreshold, a.WarnThreshold, a.ErrorThreshold, a.CriticalThreshold,
		},
		AlertInterval: a.AlertInterval,
	}
}
