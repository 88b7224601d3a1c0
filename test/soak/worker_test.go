package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
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
	sayStarted   = "started"   // N is the number of the worker id
	sayLeader    = "leader"    // N is 1 when it leads, else 0
	sayRefreshed = "refreshed" // followed by an error, if there was one
)

// runWorker is the life of a worker process.
func runWorker(in io.Reader, out io.Writer) error {
	signal.Ignore(os.Interrupt) // of a terminal: the runner ends its workers itself
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("no specification on standard input")
	}
	var s spec
	if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
		return fmt.Errorf("read specification: %w", err)
	}
	file, err := os.OpenFile(historyFile(s.Dir, s.Proc), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	w := &worker{
		spec: s, journal: &journal{file: file, out: out},
		current: make(map[int]bool), leaving: make(map[int]bool), tokens: make(map[int]parti.Token), failed: make(map[string]bool),
	}

	nc, err := nats.Connect(s.URL, append(parti.NATSOptions(), nats.Name("soak worker"))...)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s.URL, err)
	}
	defer nc.Close()
	return w.run(nc, lines)
}

// journal writes records to the history, at once, so that a kill leaves all of
// them; what the runner needs to know goes to its standard output too.
type journal struct {
	mu   sync.Mutex
	file io.Writer
	out  io.Writer
	buf  []byte
}

func (j *journal) add(r oracle.Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	r.At = time.Now().UnixNano()
	j.buf = r.Append(j.buf[:0])
	if _, err := j.file.Write(j.buf); err != nil {
		panic(err) // a history with holes proves nothing
	}
	switch r.Kind {
	case oracle.Received, oracle.Handled, oracle.Answered, oracle.Failed, oracle.Planned:
	default:
		_, _ = j.out.Write(j.buf) // a runner that is gone shows in the input
	}
}

func (j *journal) say(format string, args ...any) {
	j.add(oracle.Record{Kind: oracle.Said, Text: fmt.Sprintf(format, args...)})
}

// worker is one member of the fleet.
type worker struct {
	spec    spec
	journal *journal
	mgr     *parti.Manager
	helper  *subscription.DurableHelper
	fast    atomic.Bool

	mu      sync.Mutex
	current map[int]bool        // what the helper consumes
	leaving map[int]bool        // told to go, and not yet let go of; true when that took too long
	tokens  map[int]parti.Token // of the latest grants
	failed  map[string]bool     // messages whose first try has failed here
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
		if !errors.Is(err, errPlanned) {
			w.journal.say("partition %s: %v", p, err)
		}
	}
	if w.helper, err = subscription.NewDurableHelper(nc, cfg, subscription.MessageHandlerFunc(w.handle)); err != nil {
		return err
	}
	w.mgr, err = parti.NewManager(w.spec.config(), js, source{kv}, follow{moved: w.journal.add},
		parti.WithWorkerConsumerUpdater(w),
		parti.WithMetrics(leads{journal: w.journal}),
		parti.WithHooks(&parti.Hooks{OnError: func(_ context.Context, err error) error {
			w.journal.say("error: %v", err)
			return nil
		}}))
	if err != nil {
		return err
	}
	var calls sync.WaitGroup
	calls.Go(func() { w.obey(ctx, lines, &calls); cancel() })
	err = w.mgr.Start(ctx)
	if err == nil {
		n, _ := workerNumber(w.mgr.WorkerID())
		w.journal.add(oracle.Record{Kind: oracle.Said, N: n, Text: sayStarted})
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
					w.journal.say(sayRefreshed+" %v", err)
					return
				}
				w.journal.say(sayRefreshed)
			})
		}
	}
}

// UpdateWorkerConsumer records what is granted and let go around the helper.
func (w *worker) UpdateWorkerConsumer(ctx context.Context, id string, partitions []parti.Partition) error {
	wanted := make(map[int]bool, len(partitions))
	var gained []oracle.Record
	w.mu.Lock()
	for _, p := range partitions {
		n := partitionOf(p.Keys[0])
		wanted[n] = true
		if !w.current[n] {
			token, _ := w.mgr.Owns(p)
			w.current[n], w.tokens[n] = true, token
			delete(w.leaving, n)
			gained = append(gained, oracle.Record{Kind: oracle.Granted, Part: n, Token: token})
		}
	}
	for n := range w.current {
		if !wanted[n] {
			delete(w.current, n)
			w.leaving[n] = false
			w.journal.add(oracle.Record{Kind: oracle.Told, Part: n})
		}
	}
	w.mu.Unlock()
	for _, r := range gained {
		w.journal.add(r)
	}
	err := w.helper.UpdateWorkerConsumer(ctx, id, partitions)
	if errors.Is(err, parti.ErrSuperseded) {
		return err
	}
	if err != nil {
		w.journal.say("update: %v", err)
		w.mu.Lock()
		defer w.mu.Unlock()
		for n := range w.leaving {
			w.leaving[n] = true // to be on the safe side, all that it may be about
		}
		return err
	}
	w.mu.Lock()
	left := w.leaving
	w.leaving = make(map[int]bool)
	w.mu.Unlock()
	for n, revoked := range left {
		r := oracle.Record{Kind: oracle.Released, Part: n}
		if revoked {
			r.N = 1
		}
		w.journal.add(r)
	}
	return nil
}

// errPlanned is the failure that the seed gives a handler.
var errPlanned = errors.New("planned failure")

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
	r.Token = w.token(r.Part, key)
	w.journal.add(r)

	c := w.spec.chance(r.Part, r.N)
	if !w.fast.Load() {
		if err := work(ctx, c.takes); err != nil {
			return err
		}
	}
	if c.fails && w.firstTry(key, r.N) {
		r.Kind = oracle.Failed
		w.journal.add(r)
		return errPlanned
	}
	r.Kind = oracle.Handled
	w.journal.add(r)
	if c.doubleAck {
		if err := msg.DoubleAck(ctx); err != nil {
			w.journal.say("acknowledge message %d of %s: %v", r.N, key, err)
			return nil // the helper acknowledges it
		}
		r.Kind = oracle.Answered
		w.journal.add(r)
	}
	return nil
}

// work takes its time, unless the partition is revoked.
func work(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// token is the latest known: of the assignment, or, when that has no such
// partition any more, of the grant.
func (w *worker) token(part int, key string) parti.Token {
	if t, ok := w.mgr.Owns(parti.Partition{Keys: []string{key}}); ok {
		return t
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tokens[part]
}

func (w *worker) firstTry(key string, n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	id := fmt.Sprintf("%s/%d", key, n)
	first := !w.failed[id]
	w.failed[id] = true
	return first
}

// leads tells the runner who leads.
type leads struct {
	parti.NopMetrics

	journal *journal
}

func (l leads) SetLeader(leader bool) {
	n := 0
	if leader {
		n = 1
	}
	l.journal.add(oracle.Record{Kind: oracle.Said, N: n, Text: sayLeader})
}

func (l leads) IncrementForcedHandoff() { l.journal.say("error: handoff forced") }
