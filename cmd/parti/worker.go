package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// workerSpec is what a worker process reads from its standard input before
// anything else. When the input ends, so does the worker.
type workerSpec struct {
	URL     string
	Names   names
	Windows windows
	Parts   []parti.Partition // in the order of their durables
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
	// A Ctrl-C in the terminal goes to the whole group of processes; the
	// parent ends the workers, in its order.
	signal.Ignore(os.Interrupt)
	var spec workerSpec
	dec := json.NewDecoder(in)
	if err := dec.Decode(&spec); err != nil {
		return fmt.Errorf("read the worker's specification from standard input: %w", err)
	}
	ctx, cancel := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer cancel()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, dec.Buffered())
		_, _ = io.Copy(io.Discard, in)
		cancel()
	}()

	nc, err := nats.Connect(spec.URL, append(parti.NATSOptions(), nats.Name("parti demo worker"))...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", spec.URL, err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	w := &worker{spec: spec, js: js, reports: newReporter(out)}
	return w.run(ctx)
}

// worker is one member of the fleet.
type worker struct {
	spec    workerSpec
	js      jetstream.JetStream
	reports *reporter
	mgr     *parti.Manager
	index   map[string]int // partition id -> place in spec.Parts

	mu   sync.Mutex
	seen int
}

func (w *worker) run(ctx context.Context) error {
	cons := &consumers{
		js:       w.js,
		stream:   w.spec.Names.Work,
		durables: make(map[string]string, len(w.spec.Parts)),
		handle:   w.count,
		failed:   func(err error) { w.reports.send(report{Kind: reportError, Text: err.Error()}) },
	}
	defer cons.close()
	w.index = make(map[string]int, len(w.spec.Parts))
	for i, p := range w.spec.Parts {
		cons.durables[p.ID()], w.index[p.ID()] = durableName(i), i
	}
	measures := measures{Collector: prometheus.New(), meter: &meter{reports: w.reports}}
	level := slog.LevelError
	if w.spec.Verbose {
		level = slog.LevelInfo
	}
	mgr, err := parti.NewManager(w.spec.config(), w.js, source.NewStatic(w.spec.Parts), strategy.NewConsistentHash(),
		parti.WithWorkerConsumerUpdater(cons),
		parti.WithMetrics(measures),
		parti.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))),
		parti.WithHooks(w.hooks()),
	)
	if err != nil {
		return err
	}
	w.mgr = mgr
	stopServing, err := serveMetrics(ctx, w.spec.Metrics, measures.Collector, mgr)
	if err != nil {
		return err
	}
	defer stopServing()
	startErr := mgr.Start(ctx)
	if startErr == nil {
		w.reports.send(report{Kind: reportStarted, Worker: mgr.WorkerID(), Leader: mgr.IsLeader()})
		select {
		case <-ctx.Done():
		case <-mgr.Done():
			startErr = mgr.Err()
		}
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	stopErr := mgr.Stop(stopCtx)
	if errors.Is(startErr, context.Canceled) {
		startErr = nil // told to end before it had begun
	}
	return errors.Join(startErr, stopErr)
}

// hooks report what happens to the parent.
func (w *worker) hooks() *parti.Hooks {
	return &parti.Hooks{
		OnAssignmentChanged: func(_ context.Context, added, removed []parti.Partition) error {
			w.reports.send(report{
				Kind: reportAssignment, Worker: w.mgr.WorkerID(),
				Added: ids(added), Removed: ids(removed),
			})
			return nil
		},
		OnStateChanged: func(_ context.Context, from, to parti.State) error {
			w.reports.send(report{Kind: reportState, Worker: w.mgr.WorkerID(), From: from.String(), To: to.String()})
			return nil
		},
		OnError: func(_ context.Context, err error) error {
			w.reports.send(report{Kind: reportError, Worker: w.mgr.WorkerID(), Text: err.Error()})
			return nil
		},
	}
}

// count counts the words of one message and publishes the result. Only when the
// stream has that is the message acknowledged, so that nothing is lost; who dies
// in between leaves a message that is counted again, and a second result.
func (w *worker) count(ctx context.Context, p parti.Partition, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if w.drop() {
		return nil
	}
	words := newWordCounts()
	words.countText(msg.Data())
	token, _ := w.mgr.Owns(p)
	r := result{
		seq:    meta.Sequence.Stream,
		worker: w.mgr.WorkerID(),
		part:   w.index[p.ID()],
		token:  token,
		size:   int64(len(msg.Data())),
		counts: words.encode(),
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := w.js.PublishMsg(ctx, r.message(w.spec.Names.resultSubject())); err != nil {
		return fmt.Errorf("publish result of message %d: %w", r.seq, err)
	}
	return nil
}

// drop reports whether to lose this message on purpose.
func (w *worker) drop() bool {
	if w.spec.DropEvery <= 0 {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	return w.seen%w.spec.DropEvery == 0
}

func ids(parts []parti.Partition) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = p.ID()
	}
	return out
}
