package parti

import (
	"reflect"
	"testing"
	"time"
)

// The numbers of the guide and, for fields that it does not know, of the comments
// in config.go.
func TestDefaults(t *testing.T) {
	want := Config{
		WorkerIDPrefix:        "worker",
		WorkerIDMin:           0,
		WorkerIDMax:           99,
		WorkerIDTTL:           30 * time.Second,
		HeartbeatInterval:     2 * time.Second,
		HeartbeatTTL:          6 * time.Second,
		ColdStartWindow:       30 * time.Second,
		ColdStartSettle:       2 * time.Second,
		PlannedScaleWindow:    10 * time.Second,
		EmergencyGracePeriod:  1500 * time.Millisecond,
		RestartDetectionRatio: 0.5,
		OperationTimeout:      10 * time.Second,
		ElectionTimeout:       5 * time.Second,
		StartupTimeout:        30 * time.Second,
		ShutdownTimeout:       10 * time.Second,
		HandoffTimeout:        10 * time.Second,
		Ownership:             OwnershipAvailable,
		Capacity:              new(1.0),
		Assignment: AssignmentConfig{
			MinRebalanceThreshold: 0.15,
			MinRebalanceInterval:  10 * time.Second,
		},
		KVBucket: KVBucketConfig{
			StableIDBucket:   "parti-stableid",
			ElectionBucket:   "parti-election",
			HeartbeatBucket:  "parti-heartbeat",
			AssignmentBucket: "parti-assignment",
			AssignmentTTL:    time.Hour,
			Replicas:         1,
			Storage:          StorageFile,
		},
		DegradedAlert: DegradedAlertConfig{
			InfoThreshold:     1 * time.Minute,
			WarnThreshold:     5 * time.Minute,
			ErrorThreshold:    15 * time.Minute,
			CriticalThreshold: 30 * time.Minute,
			AlertInterval:     30 * time.Second,
		},
		DegradedBehavior: DegradedBehaviorConfig{
			EnterThreshold:      10 * time.Second,
			ExitThreshold:       5 * time.Second,
			KVErrorThreshold:    5,
			KVErrorWindow:       30 * time.Second,
			RecoveryGracePeriod: 30 * time.Second,
		},
	}
	got := DefaultConfig()
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v\nwant %+v", *got, want)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if w := got.warnings(); w != nil {
		t.Errorf("the defaults warn: %q", w)
	}
	SetDefaults(got)
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("a second SetDefaults changed the first: %+v", *got)
	}
}

func TestDefaultConfigIsNotShared(t *testing.T) {
	DefaultConfig().WorkerIDMax = 1
	if got := DefaultConfig().WorkerIDMax; got != 99 {
		t.Errorf("WorkerIDMax is %d", got)
	}
}
