package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
)

const (
	partitions = 30
	slots      = 6 // worker processes at a time
	prefix     = "chaos"
	batch      = 20
	// inFlight is how many messages of a partition may be begun again when its
	// owner dies. Acknowledgements that were lost on their way, as they are when a
	// durable changes its leader, are found out after 256 messages at the latest,
	// and the next owner goes back to the first of them.
	inFlight = 256 + 1
)

// streams has one of each kind; partition p belongs to stream p % 3.
var streams = []struct {
	name      string
	retention jetstream.RetentionPolicy
}{
	{"LIMITS", jetstream.LimitsPolicy}, {"INTEREST", jetstream.InterestPolicy}, {"QUEUE", jetstream.WorkQueuePolicy},
}

// spec is what a worker process reads first from its standard input.
type spec struct {
	URLs     string // of its own proxies
	Ledger   string // address of the store that checks tokens
	Dir      string // of histories
	Proc     int    // number of the process
	Seed     uint64
	Replicas int
	Mode     parti.Ownership
}

// config has short windows, so that much can happen, and leases that end while a
// fault goes on.
func config(mode parti.Ownership, replicas int) parti.Config {
	cfg := parti.Config{
		HeartbeatInterval: time.Second, HeartbeatTTL: 5 * time.Second, WorkerIDTTL: 10 * time.Second,
		ColdStartWindow: 15 * time.Second, PlannedScaleWindow: 2 * time.Second, EmergencyGracePeriod: 1500 * time.Millisecond,
		StartupTimeout: time.Minute, ShutdownTimeout: 20 * time.Second, Ownership: mode,
		DegradedBehavior: parti.DegradedBehaviorPreset("aggressive"),
	}
	cfg.DegradedBehavior.RecoveryGracePeriod = 6 * time.Second
	cfg.Assignment.MinRebalanceInterval = time.Second
	cfg.KVBucket.Replicas = replicas
	parti.SetDefaults(&cfg)
	return cfg
}

// stableWithin is how long everybody may take to be Stable after the last fault:
// 15 s, and the grace and the windows that may run then.
func stableWithin(cfg parti.Config) time.Duration {
	return 15*time.Second + cfg.EmergencyGracePeriod + cfg.PlannedScaleWindow + cfg.Assignment.MinRebalanceInterval +
		cfg.DegradedBehavior.RecoveryGracePeriod
}

func durable(stream int) subscription.DurableConfig {
	return subscription.DurableConfig{
		StreamName: streams[stream].name, ConsumerPrefix: prefix, BatchSize: batch,
		SubjectTemplate: streams[stream].name + ".{{.PartitionID}}", Backoff: []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, time.Second},
	}
}

func list() []parti.Partition {
	all := make([]parti.Partition, partitions)
	for p := range all {
		all[p] = parti.Partition{Keys: []string{partitionKey(p)}}
	}
	return all
}

func partitionKey(p int) string      { return fmt.Sprintf("p%03d", p) }
func partitionOf(key string) int     { var p int; _, _ = fmt.Sscanf(key, "p%d", &p); return p }
func numberOf(p parti.Partition) int { return partitionOf(p.Keys[0]) }
func subjectOf(p int) string         { return streams[p%len(streams)].name + "." + partitionKey(p) }

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
	case x < 70:
		c.takes = time.Millisecond + time.Duration(rng.Int64N(int64(4*time.Millisecond)))
	case x < 95:
		c.takes = 5*time.Millisecond + time.Duration(rng.Int64N(int64(15*time.Millisecond)))
	default:
		c.takes = 20*time.Millisecond + time.Duration(rng.Int64N(int64(60*time.Millisecond)))
	}
	c.fails = rng.IntN(100) == 0
	c.doubleAck = rng.IntN(8) == 0
	return c
}
