package parti_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// worker is a manager with a record of what its hooks were told.
type worker struct {
	*parti.Manager
	link *partitest.Link

	mu      sync.Mutex
	owned   map[string]bool
	moves   int // partitions gained or lost after the first assignment
	calls   int
	states  []parti.State
	when    []time.Time // of states
	errs    []error
	alerts  []string
	alerted []time.Time // of alerts
	back    []time.Time // when the connection was up again
	bad     []string
}

// newWorker makes a manager on a link of its own; it is not started.
func newWorker(t *testing.T, srv *partitest.Server, cfg parti.Config, src parti.PartitionSource, opts ...parti.Option) *worker {
	t.Helper()
	return newWorkerWith(t, srv, cfg, src, strategy.NewConsistentHash(), opts...)
}

func newWorkerWith(t *testing.T, srv *partitest.Server, cfg parti.Config, src parti.PartitionSource,
	strat parti.AssignmentStrategy, opts ...parti.Option,
) *worker {
	t.Helper()
	return newWorkerOn(t, srv.NewLink(t), parti.NATSOptions(), cfg, src, strat, opts...)
}

// newWorkerOn is newWorkerWith on a link, with these options of the connection.
func newWorkerOn(t *testing.T, link *partitest.Link, conn []nats.Option, cfg parti.Config, src parti.PartitionSource,
	strat parti.AssignmentStrategy, opts ...parti.Option,
) *worker {
	t.Helper()
	w := &worker{link: link, owned: map[string]bool{}}
	hooks := &parti.Hooks{
		OnAssignmentChanged: func(_ context.Context, added, removed []parti.Partition) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(added)+len(removed) == 0 {
				w.bad = append(w.bad, "called without a difference")
			}
			for _, p := range removed {
				if !w.owned[p.ID()] {
					w.bad = append(w.bad, "removed what was not owned: "+p.ID())
				}
				delete(w.owned, p.ID())
			}
			for _, p := range added {
				if w.owned[p.ID()] {
					w.bad = append(w.bad, "added what was owned: "+p.ID())
				}
				w.owned[p.ID()] = true
			}
			if w.calls > 0 {
				w.moves += len(added) + len(removed)
			}
			w.calls++
			return nil
		},
		OnStateChanged: func(_ context.Context, from, to parti.State) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			last := parti.StateInit
			if n := len(w.states); n > 0 {
				last = w.states[n-1]
			}
			if from != last || to == last {
				w.bad = append(w.bad, fmt.Sprintf("state changed from %v to %v after %v", from, to, last))
			}
			w.states, w.when = append(w.states, to), append(w.when, time.Now())
			return nil
		},
		OnError: func(_ context.Context, err error) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.errs = append(w.errs, err)
			return nil
		},
		OnDegradedAlert: func(_ context.Context, level string, d time.Duration) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.alerts = append(w.alerts, fmt.Sprintf("%s %v", level, d.Round(time.Second)))
			w.alerted = append(w.alerted, time.Now())
			return nil
		},
	}
	conn = append(slices.Clip(conn), nats.ReconnectHandler(func(*nats.Conn) { // as applications have one
		w.mu.Lock()
		defer w.mu.Unlock()
		w.back = append(w.back, time.Now())
	}))
	w.Manager = fleettest.NewManagerWith(t, w.link.Connect(t, conn...), cfg, src, strat,
		append([]parti.Option{parti.WithHooks(hooks), parti.WithLogger(partitest.NewLogger(t))}, opts...)...)
	return w
}

// startAll starts workers together.
func startAll(t *testing.T, ws ...*worker) {
	t.Helper()
	fleettest.StartAll(t, ws...)
}

// stop stops a worker.
func (w *worker) stop(t *testing.T) {
	t.Helper()
	if err := w.Stop(t.Context()); err != nil {
		t.Errorf("stop %s: %v", w.WorkerID(), err)
	}
}

func (w *worker) moved() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.moves
}

func (w *worker) errors() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.errs)
}

func (w *worker) reported(target error) bool {
	return slices.ContainsFunc(w.errors(), func(err error) bool { return errors.Is(err, target) })
}

func (w *worker) history() []parti.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.states)
}

// check fails unless the fleet is at rest: every partition owned once, every
// worker Stable, exactly one leader, and hooks that were told the truth.
func check(t *testing.T, parts int, ws ...*worker) {
	t.Helper()
	synctest.Wait()
	ms := make([]*parti.Manager, len(ws))
	leaders := 0
	for i, w := range ws {
		ms[i] = w.Manager
		if s := w.State(); s != parti.StateStable {
			t.Errorf("%s is %v", w.WorkerID(), s)
		}
		if w.IsLeader() {
			leaders++
		}
		w.mu.Lock()
		for _, b := range w.bad {
			t.Errorf("%s: %s", w.WorkerID(), b)
		}
		a := w.CurrentAssignment()
		for _, p := range a.Partitions {
			if !w.owned[p.ID()] {
				t.Errorf("%s owns %s and was not told", w.WorkerID(), p)
			}
			if _, ok := w.Owns(p); !ok {
				t.Errorf("%s does not own %s of its assignment", w.WorkerID(), p)
			}
		}
		if len(a.Partitions) != len(w.owned) {
			t.Errorf("%s owns %d partitions and was told of %d", w.WorkerID(), len(a.Partitions), len(w.owned))
		}
		w.mu.Unlock()
	}
	if leaders != 1 {
		t.Errorf("%d leaders", leaders)
	}
	fleettest.OwnedOnce(t, ms, parts)
}

func leaderOf(t *testing.T, ws ...*worker) (leader *worker, others []*worker) {
	t.Helper()
	for _, w := range ws {
		if w.IsLeader() {
			leader = w
		} else {
			others = append(others, w)
		}
	}
	if leader == nil {
		t.Fatal("no leader")
	}
	return leader, others
}

func newWorkers(t *testing.T, srv *partitest.Server, n int, cfg parti.Config, src parti.PartitionSource) []*worker {
	t.Helper()
	ws := make([]*worker, n)
	for i := range ws {
		ws[i] = newWorker(t, srv, cfg, src)
	}
	return ws
}
