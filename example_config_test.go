package parti_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
)

func ExampleSetDefaults() {
	cfg := &parti.Config{
		WorkerIDPrefix: "worker",
		WorkerIDMax:    63,
	}
	parti.SetDefaults(cfg)
	fmt.Println(cfg.WorkerIDMax, cfg.HeartbeatInterval, cfg.HeartbeatTTL, cfg.Assignment.MinRebalanceThreshold)
	// Output: 63 2s 6s 0.15
}

func ExampleDefaultConfig() {
	cfg := parti.DefaultConfig()
	cfg.WorkerIDPrefix = "orders"
	cfg.PlannedScaleWindow = 20 * time.Second
	fmt.Println(cfg.Validate())
	// Output: <nil>
}

// A few workers on the own machine: everything happens sooner.
func ExampleConfig_development() {
	cfg := &parti.Config{
		WorkerIDPrefix:     "dev-worker",
		WorkerIDMin:        0,
		WorkerIDMax:        2,
		WorkerIDTTL:        10 * time.Second,
		HeartbeatInterval:  1 * time.Second,
		HeartbeatTTL:       3 * time.Second,
		ColdStartWindow:    5 * time.Second,
		PlannedScaleWindow: 2 * time.Second,
		OperationTimeout:   5 * time.Second,
		ElectionTimeout:    3 * time.Second,
		StartupTimeout:     15 * time.Second,
		ShutdownTimeout:    5 * time.Second,
	}
	cfg.Assignment.MinRebalanceThreshold = 0.1
	cfg.Assignment.MinRebalanceInterval = 2 * time.Second

	fmt.Println(cfg.Validate())
	// Output: <nil>
}

// Up to 200 workers.
func ExampleConfig_production() {
	cfg := &parti.Config{
		WorkerIDPrefix:     "worker",
		WorkerIDMin:        0,
		WorkerIDMax:        199,
		WorkerIDTTL:        30 * time.Second,
		HeartbeatInterval:  2 * time.Second,
		HeartbeatTTL:       6 * time.Second,
		ColdStartWindow:    30 * time.Second,
		PlannedScaleWindow: 10 * time.Second,
		OperationTimeout:   10 * time.Second,
		ElectionTimeout:    5 * time.Second,
		StartupTimeout:     30 * time.Second,
		ShutdownTimeout:    10 * time.Second,
	}
	cfg.Assignment.MinRebalanceThreshold = 0.15
	cfg.Assignment.MinRebalanceInterval = 10 * time.Second

	fmt.Println(cfg.Validate())
	// Output: <nil>
}

// When degraded mode is entered and left, and when its alerts come.
func ExampleConfig_degraded() {
	cfg := &parti.Config{}
	cfg.DegradedBehavior = parti.DegradedBehaviorConfig{
		EnterThreshold:      10 * time.Second, // time without NATS before degraded mode
		ExitThreshold:       5 * time.Second,  // time with NATS before recovery
		KVErrorThreshold:    5,                // consecutive errors
		KVErrorWindow:       30 * time.Second, // window for counting them
		RecoveryGracePeriod: 30 * time.Second, // grace after recovery
	}
	cfg.DegradedAlert = parti.DegradedAlertConfig{
		InfoThreshold:     1 * time.Minute,
		WarnThreshold:     5 * time.Minute,
		ErrorThreshold:    15 * time.Minute,
		CriticalThreshold: 30 * time.Minute,
		AlertInterval:     30 * time.Second, // least time between alerts of a level
	}
	fmt.Println(cfg.Validate())

	// These are the numbers of the preset "balanced".
	fmt.Println(cfg.DegradedBehavior == parti.DegradedBehaviorPreset("balanced"))
	fmt.Println(cfg.DegradedAlert == parti.DegradedAlertPreset("balanced"))
	// Output:
	// <nil>
	// true
	// true
}

func ExampleConfig_Validate() {
	cfg := &parti.Config{
		WorkerIDPrefix:    "my worker",
		HeartbeatInterval: 5, // nanoseconds: the unit was forgotten
		DegradedAlert:     parti.DegradedAlertPreset("quiet"),
	}
	err := cfg.Validate()
	fmt.Println(errors.Is(err, parti.ErrInvalidConfig))
	fmt.Println(err)
	// Output:
	// true
	// parti: invalid configuration: 3 findings:
	// 	WorkerIDPrefix: "my worker": want 1 to 64 letters (a-z, A-Z), digits, '-' and '_'
	// 	HeartbeatInterval: 5ns: want 1ms to 8760h0m0s
	// 	DegradedAlert: preset "quiet": want one of aggressive, balanced, conservative
}

func ExampleDegradedAlertPreset() {
	var cfg parti.Config
	cfg.DegradedAlert = parti.DegradedAlertPreset("conservative")
	cfg.DegradedBehavior = parti.DegradedBehaviorPreset("conservative")
	fmt.Println(cfg.DegradedAlert.WarnThreshold, cfg.DegradedBehavior.EnterThreshold)
	// Output: 15m0s 30s
}

func ExampleDegradedBehaviorPreset() {
	b := parti.DegradedBehaviorPreset("aggressive")
	b.RecoveryGracePeriod = 20 * time.Second
	fmt.Println(b.EnterThreshold, b.RecoveryGracePeriod)
	// Output: 5s 20s
}

func ExampleLoadConfig() {
	cfg, err := parti.LoadConfig(strings.NewReader(`
workerIdPrefix: orders
workerIdMax: 199
heartbeatInterval: 1s
heartbeatTtl: 3s
assignment:
  minRebalanceThreshold: 0.2
kvBucket:
  replicas: 3
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(cfg.WorkerIDMax, cfg.HeartbeatTTL, cfg.KVBucket.Replicas, cfg.ColdStartWindow)
	// Output: 199 3s 3 30s
}

// Everything that is wrong is reported at once.
func ExampleLoadConfig_invalid() {
	_, err := parti.LoadConfig(strings.NewReader(`
workerIdMax: 199
heartbeatTTL: 6s
coldStartWindow: 30
kvBucket:
  replicas: 7
`))
	fmt.Println(err)
	// Output:
	// parti: invalid configuration: 3 findings:
	// 	heartbeatTTL (line 3): unknown field: want heartbeatTtl
	// 	coldStartWindow (line 4): 30: want a duration with its unit, such as 500ms, 30s or 1h30m
	// 	KVBucket.Replicas (kvBucket.replicas, line 6): 7: want 1 to 5
}

func ExampleNATSOptions() {
	opts := append(parti.NATSOptions(), nats.Name("orders"))
	nc, err := nats.Connect("nats://nats:4222", opts...)
	if err != nil {
		return // no server: known at once, not by a timeout of Start
	}
	defer nc.Close()
}

func ExamplePartition_ID() {
	fmt.Println(parti.Partition{Keys: []string{"orders", "0"}, Weight: 100}.ID())
	fmt.Println(parti.Partition{Keys: []string{"us-west", "payment", "shard-1"}, Weight: 150}.ID())
	fmt.Println(parti.Partition{Keys: []string{"file", "go.mod"}}.ID())
	// Output:
	// orders.0
	// us-west.payment.shard-1
	// file.go%2Emod
}
