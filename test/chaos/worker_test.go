package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	"github.com/arloliu/parti/subscription"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// cmdFigures has a worker process say what it uses. The end of the input has it
// leave the fleet.
const cmdFigures = "figures"

// What a worker process says beside its records, as the text of one.
const (
	sayState      = "state "     // followed by its name
	sayGoroutines = "goroutines" // N of them, while it works
	sayHeap       = "heap"       // N bytes in use, while it works
	sayLeft       = "left"       // N goroutines more than before Start, after Stop
)

// runWorker is the life of a worker process.
func runWorker(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // of a terminal: the runner ends its workers itself
	s, lines, err := crew.ReadSpec[spec](in)
	if err != nil {
		return err
	}
	file, err := crew.OpenHistory(s.Dir, s.Proc)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	w := &worker{spec: s, journal: crew.NewJournal(file, out), out: crew.NewJournal(io.Discard, out)}
	if w.store, err = dialLedger(s.Ledger, s.Proc); err != nil {
		return err
	}
	nc, err := nats.Connect(s.URLs, append(parti.NATSOptions(), nats.Name("chaos worker "+strconv.Itoa(s.Proc)),
		nats.IgnoreDiscoveredServers(), nats.RetryOnFailedConnect(true), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))...)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	return w.run(nc, lines)
}

// worker is one member of the fleet.
type worker struct {
	spec    spec
	journal *crew.Journal
	out     *crew.Journal // what is in the store's history already
	store   *teller
	mgr     *parti.Manager
	owned   *crew.Recorder
	tries   crew.Tries
}

func (w *worker) run(nc *nats.Conn, lines *bufio.Scanner) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	if err := warm(ctx, nc, js); err != nil {
		return err
	}
	before := runtime.NumGoroutine() + 1 // obey
	consume := make(eachStream, len(streams))
	for i := range streams {
		cfg := durable(i)
		cfg.OnError = func(p parti.Partition, err error) {
			if !errors.Is(err, crew.ErrPlanned) && !errors.Is(err, errStale) {
				w.journal.Say("partition %s: %v", p, err)
			}
		}
		if consume[i], err = subscription.NewDurableHelper(nc, cfg, subscription.MessageHandlerFunc(w.handle)); err != nil {
			return err
		}
	}
	w.owned = &crew.Recorder{
		Updater: consume, Number: numberOf, Add: w.record,
		Owns:   func(p parti.Partition) (parti.Token, bool) { return w.mgr.Owns(p) },
		Failed: func(err error) { w.journal.Say("update: %v", err) },
	}
	cfg := config(w.spec.Mode, w.spec.Replicas)
	w.mgr, err = parti.NewManager(&cfg, js, source.NewStatic(list()), strategy.NewConsistentHash(),
		parti.WithWorkerConsumerUpdater(w.owned),
		parti.WithHooks(&parti.Hooks{
			OnStateChanged: func(_ context.Context, _, to parti.State) error {
				w.journal.Say(sayState+"%v", to)
				return nil
			},
			OnError: func(_ context.Context, err error) error {
				w.journal.Say("error: %v", err)
				return nil
			},
		}))
	if err != nil {
		return err
	}
	go func() { w.obey(lines); cancel() }()
	err = w.start(ctx)
	if err == nil {
		w.journal.Add(oracle.Record{Kind: oracle.Said, N: crew.WorkerNumber(w.mgr.WorkerID()), Text: crew.SayStarted})
		select {
		case <-ctx.Done():
		case <-w.mgr.Done():
			err = fmt.Errorf("ended by itself: %w", w.mgr.Err())
		}
	}
	if errors.Is(err, context.Canceled) {
		err = nil // told to leave before it had begun
	}
	err = errors.Join(err, w.mgr.Stop(context.Background()))
	if err == nil {
		w.journal.Add(oracle.Record{Kind: oracle.Said, N: max(0, goroutinesOver(before-1)), Text: sayLeft}) // obey has ended
	}
	return err
}

// start tries again what NATS was too broken for.
func (w *worker) start(ctx context.Context) error {
	for {
		err := w.mgr.Start(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		w.journal.Say("start: %v", err)
		if err := crew.Work(ctx, time.Second); err != nil {
			return err
		}
	}
}

// warm has the connection start the goroutines that it keeps.
func warm(ctx context.Context, nc *nats.Conn, js jetstream.JetStream) error {
	for {
		_, err := js.AccountInfo(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if err := crew.Work(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// goroutinesOver counts those beyond n, once they have had time to end.
func goroutinesOver(n int) int {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 250 {
		if runtime.NumGoroutine() <= n {
			break
		}
		<-tick.C
	}
	return runtime.NumGoroutine() - n
}

// obey carries out commands until the input ends.
func (w *worker) obey(lines *bufio.Scanner) {
	for lines.Scan() {
		if lines.Text() != cmdFigures {
			continue
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what pools keep over one
		runtime.ReadMemStats(&m)
		w.journal.Add(oracle.Record{Kind: oracle.Said, N: int(m.HeapInuse), Text: sayHeap})
		w.journal.Add(oracle.Record{Kind: oracle.Said, N: runtime.NumGoroutine(), Text: sayGoroutines})
	}
}

// record has the store record grants, and thereby refuse older tokens.
func (w *worker) record(r oracle.Record) {
	if r.Kind != oracle.Granted {
		w.journal.Add(r)
		return
	}
	if err := w.store.write(r); err != nil && !errors.Is(err, errStale) {
		panic(err)
	}
	w.out.Add(r)
}

// eachStream divides the partitions of a worker among the helpers of the streams.
type eachStream []*subscription.DurableHelper

func (s eachStream) UpdateWorkerConsumer(ctx context.Context, id string, all []parti.Partition) error {
	errs := make([]error, len(s))
	var wg sync.WaitGroup
	for i, h := range s {
		var parts []parti.Partition
		for _, p := range all {
			if numberOf(p)%len(s) == i {
				parts = append(parts, p)
			}
		}
		wg.Go(func() { errs[i] = h.UpdateWorkerConsumer(ctx, id, parts) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// handle handles a message as the seed says.
func (w *worker) handle(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	r := oracle.Record{Kind: oracle.Received, Seq: meta.Sequence.Stream}
	if _, err := fmt.Sscanf(string(msg.Data()), "%d %d", &r.Part, &r.N); err != nil {
		return fmt.Errorf("message %q: %w", msg.Data(), err)
	}
	r.Token = w.owned.Token(parti.Partition{Keys: []string{partitionKey(r.Part)}})
	w.journal.Add(r)

	c := w.spec.chance(r.Part, r.N)
	err = crew.Work(ctx, c.takes)
	if err == nil && c.fails && w.tries.First(r.Part, r.N) {
		err = crew.ErrPlanned
	}
	if err != nil {
		r.Kind = oracle.Failed
		w.journal.Add(r)
		return err
	}
	r.Kind = oracle.Handled
	if err := w.store.write(r); err != nil {
		if !errors.Is(err, errStale) {
			panic(err)
		}
		r.Kind = oracle.Refused
		w.journal.Add(r)
		return err
	}
	if c.doubleAck {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if err := msg.DoubleAck(ctx); err != nil { // the helper acknowledges it
			return nil
		}
		r.Kind = oracle.Answered
		w.journal.Add(r)
	}
	return nil
}
