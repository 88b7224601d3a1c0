package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// Commands to a worker process, one per line of its standard input. The end of
// the input has it leave the fleet.
const (
	cmdRefresh = "refresh" // call RefreshPartitions, answer with sayRefreshed
	cmdFast    = "fast"    // handlers take no time from now on
)

// What a worker process says beside its records, as the text of one.
const (
	sayLeader    = "leader"    // N is 1 when it leads, else 0
	sayRefreshed = "refreshed" // followed by an error, if there was one
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
	w := &worker{spec: s, journal: crew.NewJournal(file, out)}

	nc, err := nats.Connect(s.URL, append(parti.NATSOptions(), nats.Name("soak worker"))...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.URL, err)
	}
	defer nc.Close()
	return w.run(nc, lines)
}

// worker is one member of the fleet.
type worker struct {
	spec    spec
	journal *crew.Journal
	mgr     *parti.Manager
	owned   *crew.Recorder
	helper  *subscription.DurableHelper
	fast    atomic.Bool
	tries   crew.Tries
}

func (w *worker) run(nc *nats.Conn, lines *bufio.Scanner) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	kv, err := js.KeyValue(ctx, controlBucket)
	if err != nil {
		return fmt.Errorf("control bucket: %w", err)
	}
	cfg := w.spec.durable()
	cfg.OnError = func(p parti.Partition, err error) {
		if !errors.Is(err, crew.ErrPlanned) {
			w.journal.Say("partition %s: %v", p, err)
		}
	}
	if w.helper, err = subscription.NewDurableHelper(nc, cfg, subscription.MessageHandlerFunc(w.handle)); err != nil {
		return err
	}
	w.owned = &crew.Recorder{
		Updater: w.helper, Number: func(p parti.Partition) int { return partitionOf(p.Keys[0]) }, Add: w.journal.Add,
		Owns:   func(p parti.Partition) (parti.Token, bool) { return w.mgr.Owns(p) },
		Failed: func(err error) { w.journal.Say("update: %v", err) },
	}
	w.mgr, err = parti.NewManager(w.spec.config(), js, source{kv}, follow{moved: w.journal.Add},
		parti.WithWorkerConsumerUpdater(w.owned),
		parti.WithMetrics(leads{journal: w.journal}),
		parti.WithHooks(&parti.Hooks{OnError: func(_ context.Context, err error) error {
			w.journal.Say("error: %v", err)
			return nil
		}}))
	if err != nil {
		return err
	}
	var calls sync.WaitGroup
	calls.Go(func() { w.obey(ctx, lines, &calls); cancel() })
	err = w.mgr.Start(ctx)
	if err == nil {
		w.journal.Add(oracle.Record{Kind: oracle.Said, N: crew.WorkerNumber(w.mgr.WorkerID()), Text: crew.SayStarted})
		select {
		case <-ctx.Done():
		case <-w.mgr.Done():
			err = fmt.Errorf("ended by itself: %w", w.mgr.Err())
		}
	}
	stopErr := w.mgr.Stop(context.Background())
	if errors.Is(err, context.Canceled) {
		err = nil // told to leave before it had begun
	}
	if err == nil { // else the input is still open
		calls.Wait()
	}
	return errors.Join(err, stopErr)
}

// obey carries out commands until the input ends.
func (w *worker) obey(ctx context.Context, lines *bufio.Scanner, calls *sync.WaitGroup) {
	for lines.Scan() {
		switch lines.Text() {
		case cmdFast:
			w.fast.Store(true)
		case cmdRefresh:
			calls.Go(func() {
				if err := w.mgr.RefreshPartitions(ctx); err != nil {
					w.journal.Say(sayRefreshed+" %v", err)
					return
				}
				w.journal.Say(sayRefreshed)
			})
		}
	}
}

// handle handles a message as the seed says.
func (w *worker) handle(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	key := strings.TrimPrefix(msg.Subject(), "work.")
	r := oracle.Record{Kind: oracle.Received, Part: partitionOf(key), Seq: meta.Sequence.Stream}
	if _, err := fmt.Sscanf(string(msg.Data()), "%d", &r.N); err != nil {
		return fmt.Errorf("message %q: %w", msg.Data(), err)
	}
	r.Token = w.owned.Token(parti.Partition{Keys: []string{key}})
	w.journal.Add(r)

	c := w.spec.chance(r.Part, r.N)
	if !w.fast.Load() {
		if err := crew.Work(ctx, c.takes); err != nil {
			return err
		}
	}
	if c.fails && w.tries.First(r.Part, r.N) {
		r.Kind = oracle.Failed
		w.journal.Add(r)
		return crew.ErrPlanned
	}
	r.Kind = oracle.Handled
	w.journal.Add(r)
	if c.doubleAck {
		if err := msg.DoubleAck(ctx); err != nil {
			w.journal.Say("acknowledge message %d of %s: %v", r.N, key, err)
			return nil // the helper acknowledges it
		}
		r.Kind = oracle.Answered
		w.journal.Add(r)
	}
	return nil
}

// leads tells the runner who leads.
type leads struct {
	parti.NopMetrics

	journal *crew.Journal
}

func (l leads) SetLeader(leader bool) {
	n := 0
	if leader {
		n = 1
	}
	l.journal.Add(oracle.Record{Kind: oracle.Said, N: n, Text: sayLeader})
}

func (l leads) IncrementForcedHandoff() { l.journal.Say("error: handoff forced") }
