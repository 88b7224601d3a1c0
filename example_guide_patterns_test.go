package parti_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

// snippet:consumers

// consumers pulls from one durable consumer per owned partition.
type consumers struct {
	stream  jetstream.Stream
	handle  func(jetstream.Msg)
	running map[string]jetstream.ConsumeContext // by partition id
}

func (c *consumers) UpdateWorkerConsumer(ctx context.Context, workerID string, partitions []parti.Partition) error {
	owned := map[string]bool{}
	for _, p := range partitions {
		owned[p.ID()] = true
	}
	// Let go first, and wait: the return of this call lets the next owner start.
	for id, run := range c.running {
		if owned[id] {
			continue
		}
		run.Drain()
		select {
		case <-run.Closed():
			delete(c.running, id)
		case <-ctx.Done():
			return fmt.Errorf("let go of %s: %w", id, ctx.Err())
		}
	}
	for id := range owned {
		if c.running[id] != nil {
			continue
		}
		consumer, err := c.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable:       "work-" + strings.ReplaceAll(id, ".", "-"), // names have no dots
			FilterSubject: "work." + id,
			AckPolicy:     jetstream.AckExplicitPolicy,
			MaxAckPending: 1, // in order
		})
		if err != nil {
			return fmt.Errorf("consumer of %s: %w", id, err)
		}
		if c.running[id], err = consumer.Consume(c.handle); err != nil {
			return fmt.Errorf("consume %s: %w", id, err)
		}
	}
	return nil
}

// snippet:end

func ExampleWithWorkerConsumerUpdater() {
	_, js, stop := exampleNATS()
	defer stop()
	ctx := context.Background()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 30 {
		if _, err := js.Publish(ctx, fmt.Sprintf("work.orders.%d", i%3), nil); err != nil {
			log.Fatal(err)
		}
	}
	cfg := &parti.Config{}
	src := examplePartitions(3)
	var handled atomic.Int64
	all := make(chan struct{})
	process := func([]byte) {
		if handled.Add(1) == 30 {
			close(all)
		}
	}

	// snippet:updater
	updater := &consumers{
		stream: stream,
		handle: func(msg jetstream.Msg) {
			process(msg.Data())
			if err := msg.Ack(); err != nil {
				log.Printf("ack: %v", err) // the message comes again
			}
		},
		running: map[string]jetstream.ConsumeContext{},
	}
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash(),
		parti.WithWorkerConsumerUpdater(updater))
	// snippet:end
	if err != nil {
		log.Fatal(err)
	}
	if err := mgr.Start(ctx); err != nil {
		log.Fatal(err)
	}
	<-all
	if err := mgr.Stop(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("handled", handled.Load(), "still consuming", len(updater.running))
	// Output: handled 30 still consuming 0
}

// snippet:election-agent

// KubernetesLease is an agent on a lock of your platform.
type KubernetesLease struct { /* client, name of the lease */
}

// RequestLeadership asks for the lock; false means that somebody else holds it.
func (l *KubernetesLease) RequestLeadership(ctx context.Context, workerID string, lease time.Duration) (bool, error) {
	return false, nil
}
func (l *KubernetesLease) RenewLeadership(ctx context.Context) error   { return nil }
func (l *KubernetesLease) ReleaseLeadership(ctx context.Context) error { return nil }
func (l *KubernetesLease) IsLeader(ctx context.Context) bool           { return false }

// snippet:end

func ExampleWithElectionAgent() {
	var (
		cfg *parti.Config
		js  jetstream.JetStream
		nc  *nats.Conn
	)
	src := examplePartitions(3)
	// snippet:with-election-agent
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash(),
		parti.WithElectionAgent(&KubernetesLease{}))
	// snippet:end
	fmt.Println(mgr, err)

	// snippet:trouble-slow
	rtt, err := nc.RTT()
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("round trip to NATS: %v", rtt)
	// snippet:end

	// snippet:trouble-connection
	if !nc.IsConnected() {
		log.Fatalf("not connected to NATS: %v", nc.LastError())
	}
	// snippet:end
}
