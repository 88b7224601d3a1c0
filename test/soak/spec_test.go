// Package soak runs fleets of real worker processes against a real server, moves
// their partitions thousands of times while messages wait, and judges afterwards
// from what every process recorded. See docs/design/testing.md.
package soak

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
)

// Names of what stands in NATS.
const (
	streamName    = "WORK"
	controlBucket = "soak"
	targetsKey    = "targets"
	durablePrefix = "soak"
)

// handoffTimeout is for workers and their helpers: no handoff is to be forced.
const handoffTimeout = 30 * time.Second

// spec is what a worker process reads first from its standard input.
type spec struct {
	URL        string
	Dir        string // of histories
	Proc       int    // number of the process
	Partitions int
	Replicas   int
	Storage    parti.Storage // of the buckets
	Seed       uint64
	Layout     subscription.Layout
}

// config has windows of milliseconds, so that many moves fit into little time, and
// little grace for a worker whose connection is gone. What tells a hanging worker
// or a stuck handler from a slow one is long: nobody hangs here, and a busy machine
// must not look like it.
func (s spec) config() *parti.Config {
	cfg := &parti.Config{
		HeartbeatInterval:    time.Second,
		HeartbeatTTL:         30 * time.Second,
		HandoffTimeout:       handoffTimeout,
		ShutdownTimeout:      2 * handoffTimeout,
		OperationTimeout:     30 * time.Second,
		StartupTimeout:       time.Minute,
		ColdStartWindow:      20 * time.Second,
		ColdStartSettle:      time.Second,
		PlannedScaleWindow:   50 * time.Millisecond,
		EmergencyGracePeriod: 500 * time.Millisecond,
	}
	cfg.Assignment.MinRebalanceInterval = time.Millisecond
	// Targets travel as weights, and every change of them is to make a plan.
	cfg.Assignment.MinRebalanceThreshold = 1e-9
	cfg.KVBucket.Replicas = s.Replicas
	cfg.KVBucket.Storage = s.Storage
	return cfg
}

func (s spec) durable() subscription.DurableConfig {
	return subscription.DurableConfig{
		StreamName:      streamName,
		Layout:          s.Layout,
		ConsumerPrefix:  durablePrefix,
		SubjectTemplate: "work.{{.PartitionID}}",
		Backoff:         []time.Duration{5 * time.Millisecond},
		HandoffTimeout:  handoffTimeout,
	}
}

func partitionKey(p int) string  { return fmt.Sprintf("p%03d", p) }
func partitionOf(key string) int { var p int; _, _ = fmt.Sscanf(key, "p%d", &p); return p }
func subjectOf(p int) string     { return "work." + partitionKey(p) }

// chance is what the seed decides about one message. It does not depend on who
// handles it.
type chance struct {
	takes     time.Duration // of the handler
	fails     bool          // the first time
	doubleAck bool          // the handler awaits the answer to its acknowledgement itself
}

func (s spec) chance(part, n int) chance {
	rng := rand.New(rand.NewPCG(s.Seed, uint64(part)<<32|uint64(n)))
	var c chance
	switch x := rng.IntN(100); {
	case x < 60:
		c.takes = 2*time.Millisecond + time.Duration(rng.Int64N(int64(8*time.Millisecond)))
	case x < 92:
		c.takes = 20*time.Millisecond + time.Duration(rng.Int64N(int64(40*time.Millisecond)))
	default:
		c.takes = 100*time.Millisecond + time.Duration(rng.Int64N(int64(150*time.Millisecond)))
	}
	c.fails = rng.IntN(50) == 0
	c.doubleAck = rng.IntN(4) == 0
	return c
}
