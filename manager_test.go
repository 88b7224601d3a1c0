package parti

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/core"
)

func TestNewManagerNamesWhatIsMissing(t *testing.T) {
	js := fakeJS{nc: &nats.Conn{}}
	src := sourceFunc(func(context.Context) ([]Partition, error) { return nil, nil })
	strat := strategyFunc(func([]string, []Partition) (map[string][]Partition, error) { return nil, nil })
	var noJS *fakeJS
	for name, tc := range map[string]struct {
		make func() (*Manager, error)
		want error
	}{
		"no JetStream":         {func() (*Manager, error) { return NewManager(&Config{}, nil, src, strat) }, ErrNATSConnectionRequired},
		"nil JetStream inside": {func() (*Manager, error) { return NewManager(&Config{}, noJS, src, strat) }, ErrNATSConnectionRequired},
		"no connection":        {func() (*Manager, error) { return NewManager(&Config{}, fakeJS{}, src, strat) }, ErrNATSConnectionRequired},
		"no source":            {func() (*Manager, error) { return NewManager(&Config{}, js, nil, strat) }, ErrPartitionSourceRequired},
		"nil source inside":    {func() (*Manager, error) { return NewManager(&Config{}, js, sourceFunc(nil), strat) }, ErrPartitionSourceRequired},
		"no strategy":          {func() (*Manager, error) { return NewManager(&Config{}, js, src, nil) }, ErrAssignmentStrategyRequired},
		"nil strategy inside":  {func() (*Manager, error) { return NewManager(&Config{}, js, src, strategyFunc(nil)) }, ErrAssignmentStrategyRequired},
	} {
		if m, err := tc.make(); !errors.Is(err, tc.want) || m != nil {
			t.Errorf("%s: got %v, %v; want %v", name, m, err, tc.want)
		}
	}
}

func TestNewManagerCopiesTheConfig(t *testing.T) {
	cfg := &Config{WorkerIDPrefix: "w"}
	m, err := NewManager(cfg, fakeJS{nc: &nats.Conn{}}, sourceFunc(func(context.Context) ([]Partition, error) { return nil, nil }),
		strategyFunc(func([]string, []Partition) (map[string][]Partition, error) { return nil, nil }),
		nil, WithElectionAgent((*scriptAgent)(nil)), WithWorkerConsumerUpdater(updaterFunc(nil)), WithMetrics((*NopMetrics)(nil)), WithLogger((*logLines)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.OperationTimeout != 0 {
		t.Error("the caller's Config was changed")
	}
	cfg.WorkerIDPrefix = "changed"
	if m.cfg.WorkerIDPrefix != "w" || m.cfg.OperationTimeout != 10*time.Second {
		t.Errorf("config of the manager: %+v", m.cfg)
	}
	if m.opts.agent != nil || m.opts.updater != nil || m.opts.metrics != (NopMetrics{}) || m.opts.logger != (nopLogger{}) {
		t.Errorf("nil pointers count as collaborators: %+v", m.opts)
	}
}

func TestAccessorsBeforeStart(t *testing.T) {
	m := newTestManager(t)
	if m.WorkerID() != "" || m.IsLeader() || m.State() != StateInit || m.Err() != nil {
		t.Error("a manager that was not started shows something")
	}
	if a := m.CurrentAssignment(); a.Version != 0 || a.Partitions == nil || len(a.Partitions) != 0 {
		t.Errorf("assignment %+v", a)
	}
	if _, ok := m.Owns(Partition{Keys: []string{"a"}}); ok {
		t.Error("owns something")
	}
	if err := m.RefreshPartitions(t.Context()); !errors.Is(err, ErrNotStarted) {
		t.Errorf("RefreshPartitions: %v", err)
	}
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var states []State
		m := newTestManager(t, WithHooks(&Hooks{OnStateChanged: func(_ context.Context, _, to State) error {
			mu.Lock()
			defer mu.Unlock()
			states = append(states, to)
			return nil
		}}))
		m.core.set(func(s *core.Snapshot) { s.Worker = "worker-3"; s.Leader = true })
		m.mustStart(t)
		if m.State() != StateStable || m.WorkerID() != "worker-3" || !m.IsLeader() {
			t.Error("the accessors do not show what the core says")
		}
		if err := m.Start(t.Context()); !errors.Is(err, ErrAlreadyStarted) {
			t.Errorf("second Start: %v", err)
		}
		synctest.Wait()
		if c := seen[core.Connected](m.core); len(c) != 1 || c[0].Server != "server-1" || c[0].Allowance != time.Second {
			t.Errorf("Connected events %+v", c)
		}
		if c := m.core.cfg; c.Buckets[3] != "t3" || c.Process.PID == 0 || c.StartupTimeout != m.cfg.StartupTimeout {
			t.Errorf("config of the core %+v", c)
		}
		if names, _ := m.run.own.names(""); len(names) != 1 {
			t.Errorf("idle goroutines: %v", names)
		}
		m.mustStop(t)
		m.mustStop(t)
		<-m.Done()
		if m.Err() != nil || m.State() != StateShutdown || m.WorkerID() != "" || m.IsLeader() {
			t.Errorf("after Stop: %v %v", m.Err(), m.State())
		}
		if err := m.Start(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("Start after Stop: %v", err)
		}
		if err := m.RefreshPartitions(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("RefreshPartitions after Stop: %v", err)
		}
		if m.conn.listening() != 0 {
			t.Error("a status listener is left")
		}
		synctest.Wait()
		if len(states) != 2 || states[1] != StateShutdown {
			t.Errorf("states told: %v", states)
		}
	})
}

func TestManagerThatEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.onCue(func(uint64) []core.Effect {
			return []core.Effect{core.Ended{Fault: &core.Fault{Kind: core.FaultForeignApp, Text: "billing at nats://me:secret@host"}}}
		})
		m.mustStart(t)
		if s := m.Status(); !s.Live {
			t.Errorf("not live: %s", s.NotLive)
		}
		m.post(cue(0))
		<-m.Done()
		want := "ended by itself: " + ErrForeignApp.Error() + ": billing at nats://xxxxx@host"
		if s := m.Status(); s.Live || s.NotLive != want {
			t.Errorf("live %v, %q, want %q", s.Live, s.NotLive, want)
		}
		if err := m.Err(); !errors.Is(err, ErrForeignApp) {
			t.Errorf("Err: %v", err)
		}
		m.mustStop(t)
		if err := m.Start(t.Context()); !errors.Is(err, ErrStopped) {
			t.Errorf("Start: %v", err)
		}
	})
}

func TestTickComesWhenTheCoreWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.core.setWake(7 * time.Second)
		var at time.Duration
		began := time.Now()
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			if _, ok := ev.(core.Tick); ok {
				at = time.Since(began)
				m.core.setWake(0)
			}
			return nil, false
		}
		m.mustStart(t)
		pass(time.Minute)
		if at != 7*time.Second || len(seen[core.Tick](m.core)) != 1 {
			t.Errorf("Tick at %v", at)
		}
		m.mustStop(t)
	})
}

func TestConnectionChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.mustStart(t)
		synctest.Wait()
		m.conn.turn(nats.DISCONNECTED)
		m.conn.turn(nats.RECONNECTING)
		m.conn.turn(nats.CONNECTED)
		synctest.Wait()
		if up, down := len(seen[core.Connected](m.core)), len(seen[core.Disconnected](m.core)); up != 2 || down != 2 {
			t.Errorf("%d times connected, %d disconnected", up, down)
		}
		// A change that found the channel full is seen with the next one.
		m.conn.mu.Lock()
		m.conn.listeners[0] <- nats.RECONNECTING
		m.conn.mu.Unlock()
		synctest.Wait()
		if up, down := len(seen[core.Connected](m.core)), len(seen[core.Disconnected](m.core)); up != 3 || down != 3 {
			t.Errorf("%d times connected, %d disconnected", up, down)
		}
		m.mustStop(t)
	})
}

func TestWaitState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.onCue(func(n uint64) []core.Effect {
			return []core.Effect{m.core.state(core.Scaling), m.core.state(core.Stable)}
		})
		early, scaling, never := make(chan error, 1), make(chan error, 1), make(chan error, 1)
		go func() { early <- m.WaitState(t.Context(), StateStable) }()
		synctest.Wait()
		m.mustStart(t)
		if err := <-early; err != nil {
			t.Errorf("before Start: %v", err)
		}
		go func() { scaling <- m.WaitState(t.Context(), StateScaling) }()
		go func() { never <- m.WaitState(t.Context(), StateEmergency) }()
		synctest.Wait()
		m.post(cue(0))
		if err := <-scaling; err != nil {
			t.Errorf("a state that stayed for a moment: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.WaitState(ctx, StateDegraded); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
		m.mustStop(t)
		if err := <-never; !errors.Is(err, ErrStopped) {
			t.Errorf("over the end: %v", err)
		}
		if err := m.WaitState(t.Context(), StateShutdown); err != nil {
			t.Errorf("after the end: %v", err)
		}
		if len(m.waiters.all) != 0 {
			t.Error("waiters are left")
		}
	})
}

func TestRefreshPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		answer := true
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			if r, ok := ev.(core.Refresh); ok {
				if !answer {
					return nil, true
				}
				if r.ID == 1 {
					return []core.Effect{core.Refreshed{ID: r.ID}}, true
				}
				return []core.Effect{core.Refreshed{ID: r.ID, Fault: &core.Fault{Kind: core.FaultSource, Text: "no"}}}, true
			}
			return nil, false
		}
		m.mustStart(t)
		if err := m.RefreshPartitions(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.RefreshPartitions(t.Context()); !errors.Is(err, ErrSource) {
			t.Errorf("got %v", err)
		}
		answer = false
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.RefreshPartitions(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if n := len(m.run.refresh.waiting); n != 0 {
			t.Errorf("%d calls wait", n)
		}
		late := make(chan error, 1)
		go func() { late <- m.RefreshPartitions(t.Context()) }()
		synctest.Wait()
		m.mustStop(t)
		if err := <-late; !errors.Is(err, ErrStopped) {
			t.Errorf("got %v", err)
		}
	})
}
