package parti_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

// runOnce starts a manager with cfg on a server of its own, and stops it.
func runOnce(cfg *parti.Config) {
	_, js, stop := exampleNATS()
	defer stop()
	runOn(js, cfg)
}

func runOn(js jetstream.JetStream, cfg *parti.Config) {
	mgr, err := parti.NewManager(cfg, js, examplePartitions(3), strategy.NewConsistentHash())
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := mgr.Start(context.Background()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(mgr.WorkerID(), mgr.State(), mgr.CurrentAssignment().Partitions)
	if err := mgr.Stop(context.Background()); err != nil {
		fmt.Println(err)
	}
}

func ExampleSetDefaults() {
	// snippet:set-defaults
	cfg := &parti.Config{
		WorkerIDPrefix: "worker",
		WorkerIDMax:    63,
	}
	parti.SetDefaults(cfg)
	fmt.Println(cfg.HeartbeatInterval, cfg.HeartbeatTTL, cfg.ColdStartWindow)
	// snippet:end
	// Output: 2s 6s 30s
}

func ExampleConfig_development() {
	// snippet:config-development
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
	// snippet:end
	runOnce(cfg)
	// Output: dev-worker-0 Stable [orders.0 orders.1 orders.2]
}

func ExampleConfig_production() {
	// snippet:config-production
	cfg := &parti.Config{
		WorkerIDPrefix:     "worker",
		WorkerIDMin:        0,
		WorkerIDMax:        199, // Support up to 200 workers
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
	// snippet:end
	runOnce(cfg)
	// Output: worker-0 Stable [orders.0 orders.1 orders.2]
}

// A crash is recovered from within 0.7 s.
func ExampleConfig_fast() {
	url, stop := exampleServer()
	defer stop()
	// snippet:config-fast
	nc, err := nats.Connect(url, append(parti.NATSOptions(),
		nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(0, 0))...)
	if err != nil {
		log.Fatal(err)
	}
	cfg := &parti.Config{
		HeartbeatInterval:    250 * time.Millisecond,
		HeartbeatTTL:         750 * time.Millisecond,
		EmergencyGracePeriod: 100 * time.Millisecond,
	}
	// snippet:end
	defer nc.Close()
	fmt.Println(cfg.Validate())
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	runOn(js, cfg)
	// Output:
	// <nil>
	// worker-0 Stable [orders.0 orders.1 orders.2]
}

func ExampleConfig_Validate() {
	// snippet:validate
	cfg := parti.DefaultConfig()
	cfg.HeartbeatTTL = time.Second
	cfg.KVBucket.Replicas = 9
	err := cfg.Validate()
	fmt.Println(errors.Is(err, parti.ErrInvalidConfig))
	// snippet:end
	fmt.Println(strings.Contains(err.Error(), "HeartbeatTTL"), strings.Contains(err.Error(), "Replicas"))
	// Output:
	// true
	// true true
}

func ExampleLoadConfig() {
	file := strings.NewReader("workerIdPrefix: worker\nworkerIdMax: 63\nheartbeatTtl: 9s\nkvBucket:\n  replicas: 3\n")
	// snippet:load-config
	cfg, err := parti.LoadConfig(file)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cfg.WorkerIDMax, cfg.HeartbeatTTL, cfg.KVBucket.Replicas)
	// snippet:end
	// Output: 63 9s 3
}

func ExampleNATSOptions() {
	// snippet:nats-options
	opts := append(parti.NATSOptions(), nats.Name("orders-worker"), nats.UserCredentials("worker.creds"))
	nc, err := nats.Connect("nats://nats:4222", opts...)
	// snippet:end
	if err == nil {
		nc.Close()
	}
}

// snippet:env-int

func envInt(name string, def int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return def
}

// snippet:end

func ExampleConfig_environment() {
	// snippet:environment
	cfg := &parti.Config{
		WorkerIDMax: envInt("WORKER_ID_MAX", 63),
	}
	// snippet:end
	fmt.Println(cfg.WorkerIDMax)
	// Output: 63
}

func ExampleConfig_troubleshooting() {
	cfg := parti.DefaultConfig()
	// snippet:trouble-start
	// Take part in a larger fleet than 100 workers.
	cfg.WorkerIDMax = 199

	// Leave more time to find NATS.
	cfg.StartupTimeout = 60 * time.Second
	// snippet:end

	// snippet:trouble-rebalancing
	// Wait longer for more joins and leaves before acting on the first.
	cfg.PlannedScaleWindow = 20 * time.Second

	// Space rebalances further apart.
	cfg.Assignment.MinRebalanceInterval = 15 * time.Second

	// Tolerate more imbalance before changed weights move anything.
	cfg.Assignment.MinRebalanceThreshold = 0.20
	// snippet:end
	fmt.Println(cfg.Validate())
	// Output: <nil>
}
