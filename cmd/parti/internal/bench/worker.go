package bench

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// The hidden commands of the processes of a benchmark.
const (
	WorkerCommand = "bench-worker"
	ServerCommand = "bench-server"
	MemoryCommand = "bench-memory"
)

// workerSpec is what a worker process is to do.
type workerSpec struct {
	URL        string
	Config     parti.Config
	Partitions int
	Connect    connect
}

// connect is how a worker connects.
type connect struct {
	// Plain leaves parti.NATSOptions out.
	Plain bool
	// Wait, when positive, is the reconnect wait, without jitter.
	Wait time.Duration
	// User of the server; "" is the one that may do everything.
	User string
}

func (c connect) options() []nats.Option {
	// On a machine that starts hundreds of processes even a connect takes long.
	opts := []nats.Option{nats.Name("parti bench worker"), nats.Timeout(20 * time.Second)}
	if !c.Plain {
		opts = append(opts, parti.NATSOptions()...)
	}
	if c.Wait > 0 {
		opts = append(opts, nats.ReconnectWait(c.Wait), nats.ReconnectJitter(0, 0))
	}
	if c.User != "" {
		opts = append(opts, nats.UserInfo(c.User, password))
	}
	return opts
}

// partitions is what the fleet divides.
func partitions(n int) []parti.Partition {
	parts := make([]parti.Partition, n)
	for i := range parts {
		parts[i] = parti.Partition{Keys: []string{"part", strconv.Itoa(i)}}
	}
	return parts
}

// RunWorker is the life of a worker process: it is in the fleet until it is told
// to leave, and has no work but what parti gives it.
func RunWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec workerSpec
	return fleet.Serve(ctx, in, &spec, func(ctx context.Context) error {
		nc, err := nats.Connect(spec.URL, spec.Connect.options()...)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", spec.URL, err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		member := fleet.NewMember(fleet.NewReporter(out))
		mgr, err := parti.NewManager(&spec.Config, js, source.NewStatic(partitions(spec.Partitions)),
			strategy.NewConsistentHash(), member.Options()...)
		if err != nil {
			return err
		}
		return member.Run(ctx, mgr)
	})
}
