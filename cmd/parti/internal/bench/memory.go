package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// What memory is measured with.
const (
	memoryWorkers    = 10
	memoryPartitions = 1000
	memoryGoal       = 100.0 // KB per manager
	goroutineGoal    = 10.0  // per manager
)

type memorySpec struct {
	URL    string
	Config parti.Config
	Warm   parti.Config // of a manager before, in other buckets
}

// footprint is what one manager takes beside its connection.
type footprint struct {
	KB         float64
	Goroutines float64
}

// RunMemory is the life of a process in which several managers run, to see what
// each of them takes beside its connection.
func RunMemory(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec memorySpec
	return fleet.Serve(ctx, in, &spec, func(ctx context.Context) error {
		took, err := measureMemory(ctx, spec)
		if err != nil {
			return err
		}
		text, err := json.Marshal(took)
		if err != nil {
			return err
		}
		fleet.NewReporter(out).Send(fleet.Report{Kind: fleet.Said, Text: string(text)})
		return nil
	})
}

func measureMemory(ctx context.Context, spec memorySpec) (footprint, error) {
	conns := make([]jetstream.JetStream, memoryWorkers)
	for i := range conns {
		nc, err := nats.Connect(spec.URL, parti.NATSOptions()...)
		if err != nil {
			return footprint{}, fmt.Errorf("connect to %s: %w", spec.URL, err)
		}
		defer nc.Close()
		if conns[i], err = jetstream.New(nc); err != nil {
			return footprint{}, err
		}
		// The first request makes the connection's own part complete.
		if _, err := conns[i].AccountInfo(ctx); err != nil {
			return footprint{}, err
		}
	}
	// What a process pays once, however many managers run in it, is not a
	// manager's: encoding/json remembers types, the runtime keeps threads.
	src := source.NewStatic(partitions(memoryPartitions))
	first, err := startManagers(ctx, spec.Warm, conns[:1], src)
	if err = errors.Join(err, first.stop(ctx)); err != nil {
		return footprint{}, err
	}
	heapBefore, routinesBefore := inUse()
	managers, err := startManagers(ctx, spec.Config, conns, src)
	defer func() { _ = managers.stop(ctx) }()
	if err != nil {
		return footprint{}, err
	}
	cfg := spec.Config
	parti.SetDefaults(&cfg)
	if err := pause(ctx, 2*cfg.HeartbeatInterval); err != nil {
		return footprint{}, err
	}
	heap, routines := inUse()
	return footprint{
		KB:         (heap - heapBefore) / 1024 / memoryWorkers,
		Goroutines: float64(routines-routinesBefore) / memoryWorkers,
	}, nil
}

type managers []*parti.Manager

// startManagers starts a manager on each connection, all with one
// strategy.
func startManagers(ctx context.Context, cfg parti.Config, conns []jetstream.JetStream, src parti.PartitionSource) (managers, error) {
	strat := strategy.NewConsistentHash()
	ms, errs := make(managers, len(conns)), make([]error, len(conns))
	var wg sync.WaitGroup
	for i := range ms {
		wg.Go(func() {
			if ms[i], errs[i] = parti.NewManager(&cfg, conns[i], src, strat); errs[i] == nil {
				errs[i] = ms[i].Start(ctx)
			}
		})
	}
	wg.Wait()
	return ms, errors.Join(errs...)
}

func (ms managers) stop(ctx context.Context) error {
	var errs []error
	for _, m := range ms {
		if m != nil {
			errs = append(errs, m.Stop(context.WithoutCancel(ctx)))
		}
	}
	return errors.Join(errs...)
}

// inUse is the heap that is in use after a collection, and the goroutines.
func inUse() (heap float64, routines int) {
	runtime.GC()
	runtime.GC() // what finalizers and pools held on to
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse), runtime.NumGoroutine()
}

// memory measures in a process of its own.
func memory(ctx context.Context, srv *natsServer) (footprint, error) {
	cfg, warm := parti.Config{KVBucket: newBuckets()}, parti.Config{KVBucket: newBuckets()}
	f := fleet.New()
	if _, err := f.Start(MemoryCommand, memorySpec{URL: srv.url, Config: cfg, Warm: warm}); err != nil {
		return footprint{}, err
	}
	var got footprint
	var said bool
	var ended error
	stderr := ""
	stop := context.AfterFunc(ctx, f.TellAll)
	defer stop()
	for len(f.Procs) > 0 {
		switch ev := <-f.Events; {
		case ev.Ended:
			f.Forget(ev.Proc)
			ended = ev.Err
		case ev.Report != nil:
			said = json.Unmarshal([]byte(ev.Report.Text), &got) == nil
		default:
			stderr = ev.Stderr
		}
	}
	f.Wait()
	err := errors.Join(srv.remove(context.WithoutCancel(ctx), cfg.KVBucket), srv.remove(context.WithoutCancel(ctx), warm.KVBucket))
	switch {
	case ctx.Err() != nil:
		return got, ctx.Err()
	case ended != nil || !said:
		return got, fmt.Errorf("the process that measures memory ended: %w: %s", ended, stderr)
	default:
		return got, err
	}
}
