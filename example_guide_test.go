package parti_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// The Examples in example_guide*_test.go and the programs in examples/ are the
// source of the snippets in README.md and docs/USER_GUIDE.md: what stands
// between "snippet:name" and "snippet:end". internal/guidecheck keeps them equal.

// exampleServer starts a NATS server on the loopback interface.
func exampleServer() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "parti-example-")
	if err != nil {
		log.Fatal(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir,
		NoLog: true, NoSigs: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the NATS server does not start")
	}
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		os.RemoveAll(dir)
	}
}

// exampleNATS connects to a server of its own.
func exampleNATS() (nc *nats.Conn, js jetstream.JetStream, stop func()) {
	url, stopServer := exampleServer()
	nc, err := nats.Connect(url, parti.NATSOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	if js, err = jetstream.New(nc); err != nil {
		log.Fatal(err)
	}
	return nc, js, func() {
		nc.Close()
		stopServer()
	}
}

// examplePartitions returns a source of n partitions.
func examplePartitions(n int) *source.Static {
	list := make([]parti.Partition, n)
	for i := range list {
		list[i].Keys = []string{"orders", fmt.Sprint(i)}
	}
	return source.NewStatic(list)
}

// onLog calls f with every line that is logged, and leaves the standard logger
// as it was when the function that it returns is called.
func onLog(f func(line string)) (restore func()) {
	flags, w := log.Flags(), log.Writer()
	log.SetFlags(0)
	log.SetOutput(writerFunc(func(b []byte) { f(strings.TrimSpace(string(b))) }))
	return func() {
		log.SetFlags(flags)
		log.SetOutput(w)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}

func Example() {
	url, stop := exampleServer()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	owned := 0
	defer onLog(func(line string) {
		line, _, takes := strings.Cut(line, " under token")
		fmt.Println(line)
		if takes {
			if owned++; owned == 3 {
				cancel()
			}
		}
	})()
	if err := work(ctx, url); err != nil {
		fmt.Println(err)
	}
	// Unordered output:
	// worker-0 takes over orders.0
	// worker-0 takes over orders.1
	// worker-0 takes over orders.2
	// worker-0 gives up orders.0
	// worker-0 gives up orders.1
	// worker-0 gives up orders.2
}

func ExampleManager() {
	_, js, stop := exampleNATS()
	defer stop()
	cfg := &parti.Config{WorkerIDMax: 63}
	cfg.Assignment.MinRebalanceInterval = time.Millisecond
	src := examplePartitions(3)
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash())
	if err != nil {
		log.Fatal(err)
	}
	{
		// snippet:start
		ctx := context.Background()
		if err := mgr.Start(ctx); err != nil {
			log.Fatalf("start: %v", err)
		}
		// snippet:end
	}
	{
		// snippet:status
		fmt.Println("worker:", mgr.WorkerID())
		fmt.Println("leader:", mgr.IsLeader())
		fmt.Println("state:", mgr.State())

		assignment := mgr.CurrentAssignment()
		fmt.Println("partitions:", assignment.Partitions)
		// snippet:end
	}
	{
		ctx := context.Background()
		// snippet:wait-state
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if err := mgr.WaitState(ctx, parti.StateStable); err != nil {
			log.Fatalf("not stable: %v", err)
		}
		// snippet:end
	}
	{
		// snippet:owns
		p := parti.Partition{Keys: []string{"orders", "0"}}
		if token, ok := mgr.Owns(p); ok {
			// Put the token into what you write: a store that refuses tokens
			// older than one it has seen is safe from replaced owners.
			fmt.Println("owned, under a token:", !token.IsZero())
		}
		// snippet:end
	}
	{
		ctx := context.Background()
		// snippet:refresh
		src.Update([]parti.Partition{
			{Keys: []string{"orders", "0"}},
			{Keys: []string{"orders", "1"}},
			{Keys: []string{"orders", "2"}},
			{Keys: []string{"orders", "3"}},
		})
		if err := mgr.RefreshPartitions(ctx); err != nil {
			log.Printf("refresh partitions: %v", err)
		}
		// snippet:end
	}
	{
		// snippet:stop
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := mgr.Stop(ctx); err != nil {
			log.Printf("stop: %v", err)
		}
		// snippet:end
	}
	{
		// snippet:done
		<-mgr.Done()
		fmt.Println("ended:", mgr.Err())
		// snippet:end
	}
	// Output:
	// worker: worker-0
	// leader: true
	// state: Stable
	// partitions: [orders.0 orders.1 orders.2]
	// owned, under a token: true
	// ended: <nil>
}

func ExampleManager_Stop() {
	var mgr *parti.Manager

	// snippet:shutdown
	sigCh := make(chan os.Signal, 1)
	signal.Notify(sigCh, os.Interrupt, syscall.SIGTERM)
	<-sigCh

	shutdownCtx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := mgr.Stop(shutdownCtx); err != nil {
		log.Printf("stop: %v", err)
	}
	// snippet:end
}
