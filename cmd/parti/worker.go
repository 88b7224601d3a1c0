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
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

// workerCommand is the hidden command that a worker process runs.
const workerCommand = "demo-worker"

// workerSpec is what a worker process reads from its standard input before
// anything else. When the input ends, so does the worker.
type workerSpec struct {
	URL     string
	Names   names
	Windows windows
	Parts   []parti.Partition // in the order of their durables
	Verbose bool
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
		failed:   func(err error) { w.reports.Send(fleet.Report{Kind: fleet.Failed, Text: err.Error()}) },
	}
	defer cons.close()
	w.index = make(map[string]int, len(w.spec.Parts))
	for i, p := range w.spec.Parts {
		cons.durables[p.ID()], w.index[p.ID()] = durableName(i), i
	}
	member := fleet.NewMember(w.reports)
	level := slog.LevelError
	if w.spec.Verbose {
		level = slog.LevelInfo
	}
	mgr, err := parti.NewManager(w.spec.config(), w.js, source.NewStatic(w.spec.Parts), strategy.NewConsistentHash(),
		append(member.Options(),
			parti.WithWorkerConsumerUpdater(cons),
			parti.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))),
		)...)
	if err != nil {
		return err
	}
	w.mgr = mgr
	return member.Run(ctx, mgr)
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
