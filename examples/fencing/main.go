// Command fencing counts up in a database, partition by partition, in as many
// processes as you start, and stays right when one of them is suspended, cut off
// or replaced: each write carries the fencing token of its partition, and the
// database refuses older ones.
//
//	nats-server -js &
//	go run . -db count.db &
//	go run . -db count.db
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

func main() {
	url := flag.String("nats", nats.DefaultURL, "URL of NATS")
	path := flag.String("db", "count.db", "SQLite database, shared by all workers")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *url, *path); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, url, path string) (err error) {
	store, err := Open(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	nc, err := nats.Connect(url, parti.NATSOptions()...)
	if err != nil {
		return err
	}
	defer nc.Close()
	mgr, err := newManager(nc, parti.Config{})
	if err != nil {
		return err
	}
	return mgr.Run(ctx, count(store, 100*time.Millisecond))
}

func newManager(nc *nats.Conn, cfg parti.Config) (*parti.Manager, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	var partitions []parti.Partition
	for i := range 16 {
		partitions = append(partitions, parti.Partition{Keys: []string{"counter", strconv.Itoa(i)}})
	}
	hooks := &parti.Hooks{OnError: func(_ context.Context, err error) error {
		log.Print(err) // a refused write, for example
		return nil
	}}
	return parti.NewManager(&cfg, js, source.NewStatic(partitions), strategy.NewConsistentHash(), parti.WithHooks(hooks))
}

// count works on a partition: it goes on where the last owner stopped.
func count(store *Store, pace time.Duration) func(context.Context, parti.Partition, parti.Token) error {
	return func(ctx context.Context, p parti.Partition, t parti.Token) error {
		done, err := store.Claim(ctx, p.ID(), t)
		if err != nil {
			return err
		}
		ticker := time.NewTicker(pace)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done(): // not ours any more
				return nil
			case <-ticker.C:
			}
			done++
			// An error, ErrStale too, is reported, and work begins again while the
			// partition is ours: then from where the store says that it stands.
			if err := store.Save(ctx, p.ID(), t, done); err != nil {
				return err
			}
		}
	}
}
