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

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// lock is a lock outside of NATS that agents share.
type lock struct {
	mu     sync.Mutex
	holder *lockAgent
	broken error // every call fails with it
	yes    bool  // yes to everybody
}

// lockAgent is one worker's view of a lock.
type lockAgent struct {
	*lock
	calls []string
	lease time.Duration
	held  bool
}

func (a *lockAgent) called(what string) func() {
	a.mu.Lock()
	a.calls = append(a.calls, what)
	return a.mu.Unlock
}

func (a *lockAgent) RequestLeadership(_ context.Context, _ string, lease time.Duration) (bool, error) {
	defer a.called("request")()
	a.lease = lease
	if a.broken != nil {
		return false, a.broken
	}
	if a.holder == nil || a.holder == a || a.yes {
		a.holder, a.held = a, true
	}
	return a.held, nil
}

func (a *lockAgent) RenewLeadership(context.Context) error {
	defer a.called("renew")()
	if a.broken != nil {
		return a.broken
	}
	if !a.held {
		return errors.New("not held")
	}
	return nil
}

func (a *lockAgent) ReleaseLeadership(context.Context) error {
	defer a.called("release")()
	if a.held = false; a.holder == a {
		a.holder = nil
	}
	return nil
}

func (a *lockAgent) IsLeader(context.Context) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

func (a *lockAgent) count(what string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, c := range a.calls {
		if c == what {
			n++
		}
	}
	return n
}

func newWithAgents(t *testing.T, srv *partitest.Server, l *lock, n int) ([]*worker, []*lockAgent) {
	t.Helper()
	src := source.NewStatic(fleettest.Numbered(20))
	ws, as := make([]*worker, n), make([]*lockAgent, n)
	for i := range ws {
		as[i] = &lockAgent{lock: l}
		ws[i] = newWorker(t, srv, parti.Config{}, src, parti.WithElectionAgent(as[i]))
	}
	return ws, as
}

// TestElectionAgentDecides: whom the agent does not let lead does not lead.
func TestElectionAgentDecides(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		outsider := &lockAgent{}
		l := &lock{holder: outsider}
		ws, as := newWithAgents(t, srv, l, 3)
		var wg sync.WaitGroup
		for _, w := range ws {
			wg.Go(func() {
				if err := w.Start(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		for i, w := range ws {
			if w.IsLeader() || w.State() != parti.StateElection {
				t.Errorf("%s leads or is %v while the agent says no", w.WorkerID(), w.State())
			}
			if as[i].count("request") < 2 || as[i].lease != 6*time.Second {
				t.Errorf("%s asked %d times for a lease of %v", w.WorkerID(), as[i].count("request"), as[i].lease)
			}
		}
		l.mu.Lock()
		l.holder = nil
		l.mu.Unlock()
		wg.Wait()
		check(t, 20, ws...)
		leader, _ := leaderOf(t, ws...)
		mine := as[slices.Index(ws, leader)]
		if l.holder != mine {
			t.Errorf("%s leads without the lock", leader.WorkerID())
		}
		// A healthy leader costs its followers no call.
		time.Sleep(time.Second)
		var before int
		for _, a := range as {
			before += a.count("request")
		}
		time.Sleep(time.Minute)
		var after int
		for _, a := range as {
			after += a.count("request")
		}
		if after != before {
			t.Errorf("%d campaigns in a minute with a healthy leader", after-before)
		}
		if n := mine.count("renew"); n < 28 {
			t.Errorf("the lease was renewed %d times in a minute", n)
		}
		// The agent takes it away.
		l.mu.Lock()
		mine.held, l.holder = false, outsider
		l.mu.Unlock()
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if leader.IsLeader() {
			t.Error("leads on although the agent does not renew")
		}
		l.mu.Lock()
		l.holder = nil
		l.mu.Unlock()
		time.Sleep(10 * time.Second)
		check(t, 20, ws...)
		// Stop gives the lock back.
		leader, others := leaderOf(t, ws...)
		leader.stop(t)
		if a := as[slices.Index(ws, leader)]; a.count("release") == 0 {
			t.Error("the lock was not released")
		}
		time.Sleep(15 * time.Second)
		check(t, 20, others...)
	})
}

func TestElectionAgentThatFails(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		down := errors.New("consul is down")
		l := &lock{broken: down}
		ws, _ := newWithAgents(t, srv, l, 2)
		var wg sync.WaitGroup
		for _, w := range ws {
			wg.Go(func() { _ = w.Start(t.Context()) })
		}
		time.Sleep(5 * time.Second)
		for _, w := range ws {
			if !w.reported(parti.ErrElectionFailed) || !w.reported(down) {
				t.Errorf("%s reported %v", w.WorkerID(), w.errors())
			}
		}
		l.mu.Lock()
		l.broken = nil
		l.mu.Unlock()
		wg.Wait()
		check(t, 20, ws...)
	})
}

// TestElectionAgentThatSaysYesToAll does no harm: the leader key decides.
func TestElectionAgentThatSaysYesToAll(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws, _ := newWithAgents(t, srv, &lock{yes: true}, 4)
		startAll(t, ws...)
		check(t, 20, ws...)
		leader, _ := leaderOf(t, ws...)
		term := leader.CurrentAssignment().Term
		time.Sleep(10 * time.Minute)
		check(t, 20, ws...)
		if now, _ := leaderOf(t, ws...); now != leader || leader.CurrentAssignment().Term != term {
			t.Error("leadership changed for no reason")
		}
	})
}

// updater records what it is told.
type updater struct {
	mu    sync.Mutex
	calls []string
	now   []string
	fail  int // the next calls fail
	slow  time.Duration
	deaf  time.Duration // as slow, whatever the context says
}

func (u *updater) UpdateWorkerConsumer(ctx context.Context, workerID string, ps []parti.Partition) error {
	u.mu.Lock()
	slow, deaf := u.slow, u.deaf
	u.mu.Unlock()
	if deaf > 0 {
		time.Sleep(deaf)
	}
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.calls = append(u.calls, fmt.Sprintf("%s %d", workerID, len(ps)))
	if u.fail > 0 {
		u.fail--
		return errors.New("consumer limit reached")
	}
	u.now = nil
	for _, p := range ps {
		u.now = append(u.now, p.ID())
	}
	return nil
}

func (u *updater) has() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.now)
}

func TestUpdaterIsRetriedAndComesBeforeTheHook(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		u := &updater{fail: 2}
		w := newWorker(t, srv, parti.Config{}, source.NewStatic(fleettest.Numbered(5)), parti.WithWorkerConsumerUpdater(u))
		startAll(t, w)
		check(t, 5, w)
		if !w.reported(parti.ErrConsumerUpdate) {
			t.Errorf("reported %v", w.errors())
		}
		if len(u.has()) != 5 {
			t.Errorf("the updater has %v", u.has())
		}
		w.stop(t)
		if len(u.has()) != 0 {
			t.Errorf("the updater has %v after Stop", u.has())
		}
	})
}

// TestNobodyStartsBeforeTheOtherHasStopped: a giver that takes 3 s to let go
// holds up the taker of its partitions, and nobody else.
func TestNobodyStartsBeforeTheOtherHasStopped(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		us := []*updater{{}, {}, {}}
		ws := make([]*worker, 3)
		for i := range ws {
			ws[i] = newWorker(t, srv, parti.Config{}, src, parti.WithWorkerConsumerUpdater(us[i]))
		}
		startAll(t, ws[:2]...)
		time.Sleep(time.Minute)
		for _, u := range us {
			u.mu.Lock()
			u.slow = 3 * time.Second
			u.mu.Unlock()
		}
		began := time.Now()
		started := make(chan error, 1)
		go func() { started <- ws[2].Start(t.Context()) }()
		for time.Since(began) < 30*time.Second {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			seen := map[string]bool{}
			for _, u := range us {
				for _, id := range u.has() {
					if seen[id] {
						t.Fatalf("T+%v: two workers consume %s", time.Since(began), id)
					}
					seen[id] = true
				}
			}
		}
		if err := <-started; err != nil {
			t.Fatal(err)
		}
		check(t, 20, ws...)
	})
}

// TestHandoffTimeout: a giver that does not let go is overridden after
// HandoffTimeout, counted and reported.
func TestHandoffTimeout(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		cfg := parti.Config{HandoffTimeout: 4 * time.Second, ShutdownTimeout: time.Minute}
		stuck := &updater{}
		counts := &forcedCount{}
		ws := []*worker{
			newWorker(t, srv, cfg, src, parti.WithWorkerConsumerUpdater(stuck), parti.WithMetrics(counts)),
			newWorker(t, srv, cfg, src, parti.WithMetrics(counts)),
			newWorker(t, srv, cfg, src),
		}
		startAll(t, ws[:2]...)
		time.Sleep(time.Minute)
		stuck.mu.Lock()
		stuck.slow = 20 * time.Second
		stuck.mu.Unlock()
		had := len(ws[0].CurrentAssignment().Partitions)
		startAll(t, ws[2])
		time.Sleep(6 * time.Second)
		synctest.Wait()
		leader, _ := leaderOf(t, ws[:2]...)
		if !leader.reported(parti.ErrHandoffForced) || counts.get() == 0 {
			t.Errorf("counted %d, reported %v", counts.get(), leader.errors())
		}
		if n := len(ws[2].CurrentAssignment().Partitions); n < 6 {
			t.Errorf("the newcomer has %d partitions while the giver (%d before) hangs", n, had)
		}
		stuck.mu.Lock()
		stuck.slow = 0
		stuck.mu.Unlock()
		time.Sleep(20 * time.Second)
		check(t, 20, ws...)
	})
}

// TestExclusiveStopThatCannotEndItsWork: the next owner waits for the end of the
// lease, since the work may still run.
func TestExclusiveStopThatCannotEndItsWork(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		parts := fleettest.Numbered(20)
		cfg := parti.Config{
			Ownership: parti.OwnershipExclusive, HandoffTimeout: time.Second, ShutdownTimeout: 3 * time.Second,
			PlannedScaleWindow: time.Second, Assignment: parti.AssignmentConfig{MinRebalanceInterval: time.Second},
		}
		u := &updater{}
		src := source.NewStatic(parts)
		stuck := newWorker(t, srv, cfg, src, parti.WithWorkerConsumerUpdater(u))
		ws := []*worker{newWorker(t, srv, cfg, src), newWorker(t, srv, cfg, src)}
		startAll(t, append(ws, stuck)...)
		time.Sleep(time.Minute)
		u.mu.Lock()
		u.deaf = 8 * time.Second
		u.mu.Unlock()
		had := stuck.CurrentAssignment().Partitions
		if err := stuck.Stop(t.Context()); err == nil {
			t.Error("Stop returned nil although work still runs")
		}
		took := func() int {
			n := 0
			for _, p := range had {
				for _, w := range ws {
					if _, ok := w.Owns(p); ok {
						n++
					}
				}
			}
			return n
		}
		time.Sleep(1500 * time.Millisecond)
		if n := took(); n > 0 {
			t.Errorf("%d of its partitions were granted while its work may still run", n)
		}
		time.Sleep(20 * time.Second)
		if n := took(); n != len(had) {
			t.Errorf("%d of its %d partitions were granted in the end", n, len(had))
		}
	})
}

type forcedCount struct {
	parti.NopMetrics
	mu sync.Mutex
	n  int
}

func (c *forcedCount) IncrementForcedHandoff() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *forcedCount) get() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// TestGuideConfigurationsRun starts fleets with the guide's development and
// production configurations as printed.
func TestGuideConfigurationsRun(t *testing.T) {
	dev := parti.Config{
		WorkerIDPrefix: "dev-worker", WorkerIDMin: 0, WorkerIDMax: 2, WorkerIDTTL: 10 * time.Second,
		HeartbeatInterval: time.Second, HeartbeatTTL: 3 * time.Second,
		ColdStartWindow: 5 * time.Second, PlannedScaleWindow: 2 * time.Second,
		OperationTimeout: 5 * time.Second, ElectionTimeout: 3 * time.Second,
		StartupTimeout: 15 * time.Second, ShutdownTimeout: 5 * time.Second,
		Assignment: parti.AssignmentConfig{MinRebalanceThreshold: 0.1, MinRebalanceInterval: 2 * time.Second},
	}
	prod := parti.Config{
		WorkerIDPrefix: "worker", WorkerIDMin: 0, WorkerIDMax: 199, WorkerIDTTL: 30 * time.Second,
		HeartbeatInterval: 2 * time.Second, HeartbeatTTL: 6 * time.Second,
		ColdStartWindow: 30 * time.Second, PlannedScaleWindow: 10 * time.Second,
		OperationTimeout: 10 * time.Second, ElectionTimeout: 5 * time.Second,
		StartupTimeout: 30 * time.Second, ShutdownTimeout: 10 * time.Second,
		Assignment: parti.AssignmentConfig{MinRebalanceThreshold: 0.15, MinRebalanceInterval: 10 * time.Second},
	}
	for name, cfg := range map[string]parti.Config{"development": dev, "production": prod} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				ws := newWorkers(t, srv, 3, cfg, source.NewStatic(fleettest.Numbered(30)))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				check(t, 30, ws...)
				_, others := leaderOf(t, ws...)
				others[0].link.Cut()
				time.Sleep(15 * time.Second)
				check(t, 30, slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == others[0] })...)
			})
		})
	}
}
