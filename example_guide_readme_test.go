package parti_test

// snippet:readme

import (
	"context"
	"log"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

func work(ctx context.Context, url string) error {
	nc, err := nats.Connect(url, parti.NATSOptions()...)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	src := source.NewStatic([]parti.Partition{
		{Keys: []string{"orders", "0"}}, {Keys: []string{"orders", "1"}}, {Keys: []string{"orders", "2"}},
	})
	hooks := &parti.Hooks{
		OnAssignmentChanged: func(ctx context.Context, added, removed []parti.Partition) error {
			log.Println("take over", added, "give up", removed)
			return nil
		},
	}
	mgr, err := parti.NewManager(&parti.Config{WorkerIDMax: 63}, js, src,
		strategy.NewConsistentHash(), parti.WithHooks(hooks))
	if err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return err
	}
	log.Println(mgr.WorkerID(), "owns", len(mgr.CurrentAssignment().Partitions), "partitions")
	<-ctx.Done()
	return mgr.Stop(context.Background())
}

// snippet:end
