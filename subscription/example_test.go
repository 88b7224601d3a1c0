package subscription_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	"github.com/arloliu/parti/subscription"
)

// exampleNATS runs a server with a stream of 30 messages for 3 partitions.
func exampleNATS() (nc *nats.Conn, stop func()) {
	dir, err := os.MkdirTemp("", "parti-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the NATS server does not start")
	}
	if nc, err = nats.Connect(s.ClientURL(), parti.NATSOptions()...); err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "work-stream", Subjects: []string{"work.>"}}); err != nil {
		log.Fatal(err)
	}
	for i := range 30 {
		if _, err := js.Publish(ctx, fmt.Sprintf("work.orders.%d", i%3), nil); err != nil {
			log.Fatal(err)
		}
	}
	return nc, func() {
		nc.Close()
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}
}

func Example() {
	nc, stop := exampleNATS()
	defer stop()
	var handled atomic.Int64
	all := make(chan struct{})
	process := func(jetstream.Msg) {
		if handled.Add(1) == 30 {
			close(all)
		}
	}
	cfg := &parti.Config{}
	src := source.NewStatic([]parti.Partition{
		{Keys: []string{"orders", "0"}}, {Keys: []string{"orders", "1"}}, {Keys: []string{"orders", "2"}},
	})

	helper, err := subscription.NewDurableHelper(nc, subscription.DurableConfig{
		StreamName:      "work-stream",
		ConsumerPrefix:  "worker",
		SubjectTemplate: "work.{{.PartitionID}}", // PartitionID = keys joined with '.'
		BatchSize:       50,
	}, subscription.MessageHandlerFunc(func(ctx context.Context, msg jetstream.Msg) error {
		process(msg)
		return msg.Ack()
	}))
	if err != nil {
		log.Fatalf("helper init: %v", err)
	}

	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatalf("JetStream: %v", err)
	}
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash(), parti.WithWorkerConsumerUpdater(helper))
	if err != nil {
		log.Fatalf("manager init: %v", err)
	}
	if err := mgr.Start(context.Background()); err != nil {
		log.Fatalf("start: %v", err)
	}

	<-all
	if err := mgr.Stop(context.Background()); err != nil {
		log.Fatal(err)
	}
	fmt.Println("handled", handled.Load(), "still consuming", len(helper.Stats()))
	// Output: handled 30 still consuming 0
}
