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
	mgr, err := parti.NewManager(&parti.Config{WorkerIDMax: 63}, js, src, strategy.NewConsistentHash())
	if err != nil {
		return err
	}
	// Called once for each partition that this process owns, until ctx ends.
	return mgr.Run(ctx, func(ctx context.Context, p parti.Partition, t parti.Token) error {
		log.Println(mgr.WorkerID(), "takes over", p, "under token", t)
		<-ctx.Done() // work here; the partition moves, or the process is to end
		log.Println(mgr.WorkerID(), "gives up", p)
		return nil
	})
}

// snippet:end
