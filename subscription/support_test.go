package subscription

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// world is a server with a stream of numbered messages and a judge of what
// became of them.
type world struct {
	t   *testing.T
	srv *partitest.Server
	js  jetstream.JetStream

	mu        sync.Mutex
	published map[string]int
	completed map[string][]int // numbers in the order of success
	errs      []error
	workers   map[*DurableHelper]string
	changed   chan struct{} // closed and replaced at every completion
}

// inWorld runs f in a bubble.
func inWorld(t *testing.T, cfg jetstream.StreamConfig, f func(t *testing.T, w *world)) {
	t.Helper()
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		w := newWorld(t, srv, cfg)
		f(t, w)
	})
}

func newWorld(t *testing.T, srv *partitest.Server, cfg jetstream.StreamConfig) *world {
	t.Helper()
	w := &world{
		t: t, srv: srv, js: jsOf(t, srv.Connect(t)), changed: make(chan struct{}),
		published: map[string]int{}, completed: map[string][]int{}, workers: map[*DurableHelper]string{},
	}
	if cfg.Name == "" {
		cfg.Name = "WORK"
	}
	cfg.Subjects = []string{"work.>"}
	_, err := w.js.CreateStream(t.Context(), cfg)
	ok(t, err)
	return w
}

func jsOf(t *testing.T, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	ok(t, err)
	return js
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// publish adds n messages to each partition, taking turns.
func (w *world) publish(n int, ps ...parti.Partition) {
	w.t.Helper()
	for range n {
		for _, p := range ps {
			id := p.ID()
			w.mu.Lock()
			w.published[id]++
			number := w.published[id]
			w.mu.Unlock()
			_, err := w.js.Publish(w.t.Context(), "work."+id, []byte(strconv.Itoa(number)))
			ok(w.t, err)
		}
	}
}

// number returns the partition and number of a message.
func number(msg jetstream.Msg) (string, int) {
	n, err := strconv.Atoi(string(msg.Data()))
	if err != nil {
		panic(err)
	}
	return strings.TrimPrefix(msg.Subject(), "work."), n
}

// note records a success.
func (w *world) note(msg jetstream.Msg) {
	id, n := number(msg)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.completed[id] = append(w.completed[id], n)
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *world) total() (published, completed int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.published {
		published += n
		completed += len(w.completed[id])
	}
	return published, completed
}

// until waits until n messages have been completed, in all.
func (w *world) until(n int) {
	w.t.Helper()
	deadline := time.After(10 * time.Minute)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		_, done := w.total()
		if done >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			w.t.Fatalf("completed %d of %d; errors: %v", done, n, w.problems())
		}
	}
}

// judge says what was lost, done twice or out of order. Up to doubles
// repetitions are forgiven.
func (w *world) judge(doubles int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, n := range w.published {
		extra, err := judgePartition(n, w.completed[id])
		doubles -= extra
		if err != nil {
			w.t.Errorf("partition %s: %v: %v", id, err, w.completed[id])
		}
	}
	if doubles < 0 {
		w.t.Errorf("%d messages more than allowed were handled twice", -doubles)
	}
}

// judged returns how many messages of a partition were completed, and how many of
// these more than once, in whatever order.
func (w *world) judged(p parti.Partition) (n, doubled int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	times := map[int]int{}
	for _, c := range w.completed[p.ID()] {
		if times[c]++; times[c] == 2 {
			doubled++
		}
	}
	return len(times), doubled
}

// judgePartition checks that 1 to n were completed for the first time in order.
func judgePartition(n int, completed []int) (doubles int, err error) {
	last := 0
	for _, c := range completed {
		switch {
		case c == last+1:
			last = c
		case c <= last:
			doubles++
		default:
			return doubles, fmt.Errorf("%d came after %d", c, last)
		}
	}
	if last != n {
		return doubles, fmt.Errorf("ends at %d of %d", last, n)
	}
	return doubles, nil
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		n       int
		history []int
		doubles int
		bad     bool
	}{
		{3, []int{1, 2, 3}, 0, false},
		{3, []int{1, 2}, 0, true},           // lost at the end
		{3, []int{1, 3}, 0, true},           // skipped
		{3, []int{1, 3, 2}, 0, true},        // out of order
		{3, []int{1, 2, 2, 3}, 1, false},    // doubled
		{3, []int{1, 2, 1, 2, 3}, 2, false}, // began again
		{1, nil, 0, true},
	} {
		doubles, err := judgePartition(c.n, c.history)
		if doubles != c.doubles || (err != nil) != c.bad {
			t.Errorf("%v of %d: %d doubles, %v", c.history, c.n, doubles, err)
		}
	}
}

func (w *world) problem(_ parti.Partition, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

func (w *world) problems() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error{}, w.errs...)
}

// count returns how many reported errors are of this kind.
func (w *world) count(kind error) (n int) {
	for _, err := range w.problems() {
		if errors.Is(err, kind) {
			n++
		}
	}
	return n
}

// config is what helpers of the tests begin with.
func (w *world) config() DurableConfig {
	return DurableConfig{
		StreamName: "WORK", ConsumerPrefix: "w", SubjectTemplate: "work.{{.PartitionID}}",
		BatchSize: 16, OnError: w.problem,
	}
}

// helper returns a helper on a connection of its own, closed at the end.
func (w *world) helper(cfg DurableConfig, f MessageHandlerFunc) *DurableHelper {
	w.t.Helper()
	return w.helperOn(w.srv.Connect(w.t), cfg, f)
}

func (w *world) helperOn(nc *nats.Conn, cfg DurableConfig, f MessageHandlerFunc) *DurableHelper {
	w.t.Helper()
	h, err := NewDurableHelper(nc, cfg, f)
	ok(w.t, err)
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			w.t.Errorf("close: %v", err)
		}
	})
	return h
}

// plain is a handler that succeeds.
func (w *world) plain(_ context.Context, msg jetstream.Msg) error {
	w.note(msg)
	return nil
}

func (w *world) assign(h *DurableHelper, ps ...parti.Partition) {
	w.t.Helper()
	ok(w.t, h.UpdateWorkerConsumer(w.t.Context(), w.worker(h), ps))
}

// worker returns the id of a helper's worker.
func (w *world) worker(h *DurableHelper) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, known := w.workers[h]
	if !known {
		id = fmt.Sprint("w-", len(w.workers))
		w.workers[h] = id
	}
	return id
}

func part(keys ...string) parti.Partition { return parti.Partition{Keys: keys} }

func parts(n int) []parti.Partition {
	ps := make([]parti.Partition, n)
	for i := range ps {
		ps[i] = part("p", strconv.Itoa(i))
	}
	return ps
}

// settle lets everything in the bubble come to rest.
func settle() { synctest.Wait() }

// storages are the six kinds of stream.
func kinds(t *testing.T, f func(t *testing.T, cfg jetstream.StreamConfig)) {
	t.Helper()
	for _, r := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.InterestPolicy, jetstream.WorkQueuePolicy} {
		for _, s := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
			t.Run(fmt.Sprintf("%v-%v", r, s), func(t *testing.T) { f(t, jetstream.StreamConfig{Retention: r, Storage: s}) })
		}
	}
}
