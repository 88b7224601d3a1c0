// snippet:quick-start

// Command quickstart is the quick start of the user guide.
package main

import (
	"cmp"
	"context"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

func main() {
	// 1. Connect to NATS.
	nc, err := nats.Connect(cmp.Or(os.Getenv("NATS_URL"), nats.DefaultURL), parti.NATSOptions()...)
	if err != nil {
		log.Fatalf("connect: %v", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatalf("jetstream: %v", err)
	}

	// 2. Say what is to be divided.
	src := source.NewStatic([]parti.Partition{
		{Keys: []string{"topic1", "partition-0"}, Weight: 100},
		{Keys: []string{"topic1", "partition-1"}, Weight: 100},
		{Keys: []string{"topic1", "partition-2"}, Weight: 100},
	})

	// 3. Configure the worker; what is left out gets its default.
	cfg := &parti.Config{
		WorkerIDPrefix:    "worker",
		WorkerIDMin:       0,
		WorkerIDMax:       63,
		HeartbeatInterval: 2 * time.Second,
		HeartbeatTTL:      6 * time.Second,
	}

	// 4. Say how it is to be divided.
	assignStrategy := strategy.NewConsistentHash(strategy.WithVirtualNodes(150))

	// 5. Say what to do with the result.
	hooks := &parti.Hooks{
		OnAssignmentChanged: func(ctx context.Context, added, removed []parti.Partition) error {
			for _, p := range removed {
				log.Printf("give up %v", p) // stop working on it before you return
			}
			for _, p := range added {
				log.Printf("take over %v", p) // start working on it
			}
			return nil
		},
	}

	// 6. Join the fleet.
	mgr, err := parti.NewManager(cfg, js, src, assignStrategy, parti.WithHooks(hooks))
	if err != nil {
		log.Fatalf("new manager: %v", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := mgr.Start(ctx); err != nil {
		log.Fatalf("start: %v", err)
	}
	log.Printf("%s is up, leader: %v", mgr.WorkerID(), mgr.IsLeader())

	// 7. Work until told to stop, then leave in good order.
	<-ctx.Done()
	if err := mgr.Stop(context.Background()); err != nil {
		log.Fatalf("stop: %v", err)
	}
}

// snippet:end
