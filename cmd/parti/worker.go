package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	"github.com/arloliu/parti/subscription"
)

// workerCommand is the hidden command that a worker process runs.
const workerCommand = "demo-worker"

// workerSpec is what a worker process reads from its standard input before
// anything else. When the input ends, so does the worker.
type workerSpec struct {
	URL     string
	Names   names
	Windows windows
	Parts   []parti.Partition
	Verbose bool
	// Metrics is the host to serve metrics and health at, "" for nowhere.
	Metrics string
	// DropEvery, when positive, makes the worker lose every so many-th message
	// on purpose.
	DropEvery int
}

// windows are the times in which the demo differs from the defaults.
type windows struct {
	PlannedScaleWindow   time.Duration
	MinRebalanceInterval time.Duration
	AckWait              time.Duration
}

// config is the default configuration but for the windows and the names.
func (s workerSpec) config() *parti.Config {
	cfg := &parti.Config{
		PlannedScaleWindow: s.Windows.PlannedScaleWindow,
		KVBucket:           s.Names.Buckets,
	}
	cfg.Assignment.MinRebalanceInterval = s.Windows.MinRebalanceInterval
	return cfg
}

// runWorker is the life of a worker process: it joins the fleet, counts the
// words of what it owns, and leaves when in ends.
func runWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	var spec workerSpec
	return fleet.Serve(ctx, in, &spec, func(ctx context.Context) error {
		nc, err := nats.Connect(spec.URL, append(parti.NATSOptions(), nats.Name("parti demo worker"))...)
		if err != nil {
			return fmt.Errorf("connect to %s: %w", spec.URL, err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		w := &worker{spec: spec, js: js, reports: fleet.NewReporter(out)}
		return w.run(ctx)
	})
}

// worker is one member of the fleet.
type worker struct {
	spec    workerSpec
	js      jetstream.JetStream
	reports *fleet.Reporter
	metrics subscription.Metrics // may be nil
	mgr     *parti.Manager
	index   map[string]int // partition id -> place in spec.Parts

	mu   sync.Mutex
	seen int
}

func (w *worker) run(ctx context.Context) error {
	measures := measures{Collector: prometheus.New(), meter: &fleet.Meter{Reports: w.reports}}
	w.metrics = measures
	cons, err := w.consumers()
	if err != nil {
		return err
	}
	measures.Consumers(cons)
	w.index = make(map[string]int, len(w.spec.Parts))
	for i, p := range w.spec.Parts {
		w.index[p.ID()] = i
	}
	member := fleet.NewMember(w.reports)
	level := slog.LevelError
	if w.spec.Verbose {
		level = slog.LevelInfo
	}
	mgr, err := parti.NewManager(w.spec.config(), w.js, source.NewStatic(w.spec.Parts), strategy.NewConsistentHash(),
		append(member.Options(),
			parti.WithWorkerConsumerUpdater(cons),
			parti.WithMetrics(measures),
			parti.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))),
		)...)
	if err != nil {
		return err
	}
	w.mgr = mgr
	stopServing, err := serveMetrics(ctx, w.spec.Metrics, measures.Collector, mgr)
	if err != nil {
		return err
	}
	defer stopServing()
	return member.Run(ctx, mgr)
}
