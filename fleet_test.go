package parti_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// worker is a manager with a record of what its hooks were told.
type worker struct {
	*parti.Manager
	link *partitest.Link

	mu     sync.Mutex
	owned  map[string]bool
	moves  int // partitions gained or lost after the first assignment
	calls  int
	states []parti.State
	errs   []error
	alerts []string
	bad    []string
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
	w := &worker{link: srv.NewLink(t), owned: map[string]bool{}}
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
			if n := len(w.states); n > 0 && w.states[n-1] != from {
				w.bad = append(w.bad, fmt.Sprintf("state changed from %v after %v", from, w.states[n-1]))
			}
			w.states = append(w.states, to)
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
			return nil
		},
	}
	w.Manager = fleettest.NewManagerWith(t, w.link.Connect(t, parti.NATSOptions()...), cfg, src, strat,
		append([]parti.Option{parti.WithHooks(hooks), parti.WithLogger(partitest.NewLogger(t))}, opts...)...)
	return w
}

// startAll starts workers together.
func startAll(t *testing.T, ws ...*worker) {
	t.Helper()
	var wg sync.WaitGroup
	for _, w := range ws {
		wg.Go(func() {
			if err := w.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	synctest.Wait()
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

func TestColdStartEndsWhenArrivalsStop(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
		began := time.Now()
		startAll(t, ws...)
		if took := time.Since(began); took < 2*time.Second || took > 3*time.Second {
			t.Errorf("cold start took %v, want ColdStartSettle", took)
		}
		check(t, 100, ws...)
		for _, w := range ws {
			want := []parti.State{
				parti.StateClaimingID, parti.StateElection, parti.StateWaitingAssignment, parti.StateStable,
			}
			if h := w.history(); !slices.Equal(h, want) {
				t.Errorf("%s went through %v, want %v", w.WorkerID(), h, want)
			}
			if a := w.CurrentAssignment(); a.Lifecycle != parti.LifecyclePostColdStart {
				t.Errorf("lifecycle %q after a cold start", a.Lifecycle)
			}
			if es := w.errors(); len(es) > 0 {
				t.Errorf("%s reported %v", w.WorkerID(), es)
			}
		}
	})
}

func TestColdStartWindowWithoutSettle(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 2, parti.Config{ColdStartSettle: 30 * time.Second}, source.NewStatic(fleettest.Numbered(10)))
		began := time.Now()
		startAll(t, ws...)
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("cold start took %v, want ColdStartWindow", took)
		}
		check(t, 10, ws...)
	})
}

func TestJoinWaitsForTheWindow(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(100))
		ws := newWorkers(t, srv, 3, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		late := newWorker(t, srv, parti.Config{}, src)
		began := time.Now()
		startAll(t, late)
		if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
			t.Errorf("join took %v, want PlannedScaleWindow", took)
		}
		time.Sleep(time.Second)
		ws = append(ws, late)
		check(t, 100, ws...)
		moved := 0
		for _, w := range ws {
			moved += w.moved()
		}
		gained := len(late.CurrentAssignment().Partitions)
		if gained < 24 || moved != gained {
			t.Errorf("the newcomer has %d partitions, others gave up %d", gained, moved)
		}
		leader, _ := leaderOf(t, ws...)
		if h := leader.history(); !slices.Contains(h, parti.StateScaling) || !slices.Contains(h, parti.StateRebalancing) {
			t.Errorf("the leader went through %v", h)
		}
		if l := leader.CurrentAssignment().Lifecycle; l != parti.LifecycleStable {
			t.Errorf("lifecycle %q after the second plan", l)
		}
	})
}

// TestRollingRestartMovesNothing replaces every worker, the leader too, by a new
// one within the window.
func TestRollingRestartMovesNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(100))
		ws := newWorkers(t, srv, 4, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		before := map[string][]parti.Partition{}
		for _, w := range ws {
			before[w.WorkerID()] = w.CurrentAssignment().Partitions
		}
		for i := range ws {
			id := ws[i].WorkerID()
			old := ws[i].CurrentAssignment().Partitions
			tok, _ := ws[i].Owns(old[0])
			ws[i].stop(t)
			time.Sleep(4 * time.Second)
			ws[i] = newWorker(t, srv, parti.Config{}, src)
			startAll(t, ws[i])
			if got := ws[i].WorkerID(); got != id {
				t.Errorf("the replacement of %s is %s", id, got)
			}
			if now, ok := ws[i].Owns(old[0]); !ok || !tok.Less(now) {
				t.Errorf("token of %s: %v before, %v (%v) after the restart", old[0], tok, now, ok)
			}
			time.Sleep(time.Minute)
		}
		check(t, 100, ws...)
		for _, w := range ws {
			if n := w.moved(); n != 0 {
				t.Errorf("%s: %d partitions moved", w.WorkerID(), n)
			}
			if !slices.EqualFunc(before[w.WorkerID()], w.CurrentAssignment().Partitions, samePartition) {
				t.Errorf("%s owns other partitions than before", w.WorkerID())
			}
		}
	})
}

func samePartition(a, b parti.Partition) bool { return a.Compare(b) == 0 }

func TestLeaveThatDoesNotReturn(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		_, others := leaderOf(t, ws...)
		gone := others[0]
		had := len(gone.CurrentAssignment().Partitions)
		gone.stop(t)
		rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == gone })
		time.Sleep(9 * time.Second)
		for _, w := range rest {
			if w.moved() != 0 {
				t.Errorf("%s got partitions before the leaver's window had passed", w.WorkerID())
			}
		}
		time.Sleep(3 * time.Second)
		check(t, 100, rest...)
		moved := 0
		for _, w := range rest {
			moved += w.moved()
		}
		if moved != had {
			t.Errorf("%d moves, the leaver had %d", moved, had)
		}
	})
}

func TestCrashIsAnEmergency(t *testing.T) {
	for _, who := range []string{"follower", "leader"} {
		t.Run(who, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(100)))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				leader, others := leaderOf(t, ws...)
				dead := others[0]
				if who == "leader" {
					dead = leader
				}
				had := len(dead.CurrentAssignment().Partitions)
				dead.link.Cut()
				time.Sleep(17 * time.Second) // lease, election, and for the new leader a lease and the grace
				rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == dead })
				check(t, 100, rest...)
				moved := 0
				for _, w := range rest {
					moved += w.moved()
				}
				if moved != had {
					t.Errorf("%d moves, the dead worker had %d", moved, had)
				}
				leader, _ = leaderOf(t, rest...)
				if h := leader.history(); !slices.Contains(h, parti.StateEmergency) {
					t.Errorf("the leader went through %v", h)
				}
				// The dead worker was only cut off: it comes back, owns nothing
				// at once, and is given its share again.
				dead.link.Heal()
				time.Sleep(30 * time.Second)
				check(t, 100, ws...)
			})
		})
	}
}

func TestRefreshFromAnyWorker(t *testing.T) {
	for _, who := range []string{"leader", "follower"} {
		t.Run(who, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				src := source.NewStatic(fleettest.Numbered(50))
				ws := newWorkers(t, srv, 3, parti.Config{}, src)
				startAll(t, ws...)
				time.Sleep(time.Minute)
				leader, others := leaderOf(t, ws...)
				w := others[0]
				if who == "leader" {
					w = leader
				}
				if err := w.RefreshPartitions(t.Context()); err != nil {
					t.Errorf("refresh of an unchanged list: %v", err)
				}
				src.Update(fleettest.Numbered(80))
				began := time.Now()
				if err := w.RefreshPartitions(t.Context()); err != nil {
					t.Fatalf("refresh: %v", err)
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("refresh took %v", took)
				}
				time.Sleep(time.Second)
				check(t, 80, ws...)
			})
		})
	}
}

// keys lists the keys of a bucket that are not deleted.
func keys(t *testing.T, js jetstream.JetStream, bucket string) []string {
	t.Helper()
	kv, err := js.KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	all, err := kv.Keys(t.Context())
	if err != nil && !errors.Is(err, jetstream.ErrNoKeysFound) {
		t.Fatal(err)
	}
	return all
}

// nothingLeft fails if a bucket has keys other than the head and the heartbeats
// of leavers, or consumers.
func nothingLeft(t *testing.T, srv *partitest.Server) {
	t.Helper()
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // ephemeral consumers end a moment after their subscription
	for _, b := range []string{"parti-stableid", "parti-election", "parti-heartbeat", "parti-assignment"} {
		if b == "parti-stableid" || b == "parti-election" {
			if ks := keys(t, js, b); len(ks) > 0 {
				t.Errorf("%s holds %v", b, ks)
			}
		}
		s, err := js.Stream(t.Context(), "KV_"+b)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.ConsumerNames(t.Context()).Name() {
			t.Errorf("%s has the consumer %s", b, name)
		}
	}
}

func TestStopLeavesNothing(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 3, parti.Config{}, source.NewStatic(fleettest.Numbered(10)))
		startAll(t, ws...)
		for _, w := range ws {
			w.stop(t)
			if err := w.Start(t.Context()); !errors.Is(err, parti.ErrStopped) {
				t.Errorf("start after stop: %v", err)
			}
			if w.State() != parti.StateShutdown || w.Err() != nil {
				t.Errorf("state %v, err %v after stop", w.State(), w.Err())
			}
			<-w.Done()
			w.mu.Lock()
			if len(w.owned) > 0 {
				t.Errorf("%d partitions were not taken away before the end", len(w.owned))
			}
			w.mu.Unlock()
		}
		nothingLeft(t, srv)
	})
}

func TestStartThatFailsLeavesNothing(t *testing.T) {
	type start struct {
		cfg  parti.Config
		ctx  func(context.Context) (context.Context, context.CancelFunc)
		want error
		text string
	}
	after := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, d)
		}
	}
	for name, s := range map[string]start{
		"deadline in the window": {cfg: parti.Config{}, ctx: after(time.Second), want: context.DeadlineExceeded, text: "assignment"},
		"cancelled at once": {ctx: func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx, cancel
		}, want: context.Canceled},
		"startup timeout": {
			cfg: parti.Config{StartupTimeout: 2 * time.Second, ColdStartWindow: time.Hour, ColdStartSettle: time.Hour, PlannedScaleWindow: time.Second},
			ctx: after(3 * time.Hour), want: context.DeadlineExceeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				// Without partitions to plan for, the fleet of one waits for ever.
				src := sourceFunc(func(context.Context) ([]parti.Partition, error) { return nil, errors.New("no list") })
				w := newWorker(t, srv, s.cfg, src)
				ctx, cancel := s.ctx(t.Context())
				defer cancel()
				err := w.Start(ctx)
				if !errors.Is(err, s.want) || !strings.Contains(err.Error(), s.text) {
					t.Errorf("start: %v, want %v with %q", err, s.want, s.text)
				}
				if !errors.Is(s.want, context.Canceled) {
					nothingLeft(t, srv)
				}
				// The id can be claimed at once, by the same manager too.
				ok := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(3)))
				startAll(t, ok)
				if id := ok.WorkerID(); id != "worker-0" {
					t.Errorf("the next worker is %s", id)
				}
			})
		})
	}
}

type sourceFunc func(context.Context) ([]parti.Partition, error)

func (f sourceFunc) ListPartitions(ctx context.Context) ([]parti.Partition, error) { return f(ctx) }

func TestIDsExhausted(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{WorkerIDMin: 1, WorkerIDMax: 3}
		src := source.NewStatic(fleettest.Numbered(10))
		ws := newWorkers(t, srv, 3, cfg, src)
		startAll(t, ws...)
		time.Sleep(30 * time.Second)
		began := time.Now()
		err := newWorker(t, srv, cfg, src).Start(t.Context())
		if !errors.Is(err, parti.ErrStableIDExhausted) || !strings.Contains(err.Error(), "worker-1 to worker-3") {
			t.Errorf("start: %v", err)
		}
		if took := time.Since(began); took > 2200*time.Millisecond {
			t.Errorf("said so after %v, want 1.1 × HeartbeatInterval", took)
		}
		check(t, 10, ws...)
	})
}

func TestStaleHolderOfAnIDStops(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		ws := newWorkers(t, srv, 2, parti.Config{}, src)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		_, others := leaderOf(t, ws...)
		w := others[0]
		was := w.WorkerID()
		js, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		kv, err := js.KeyValue(t.Context(), "parti-stableid")
		if err != nil {
			t.Fatal(err)
		}
		key := "worker.id." + strings.TrimPrefix(was, "worker-")
		if _, err := kv.Put(t.Context(), key, []byte(`{"f":1,"inc":"ANOTHER","ttl":30000}`)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second) // the next renewal of the id
		synctest.Wait()
		if !w.reported(parti.ErrIDLost) {
			t.Errorf("reported %v", w.errors())
		}
		if now := w.WorkerID(); now == was || now == "" {
			t.Errorf("id is %q after %q was lost", now, was)
		}
		time.Sleep(30 * time.Second)
		check(t, 20, ws...)
	})
}
