package parti

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/core"
)

func TestStopBeforeStart(t *testing.T) {
	m := newTestManager(t)
	m.mustStop(t)
	<-m.Done()
	if err := m.Start(t.Context()); !errors.Is(err, ErrStopped) {
		t.Errorf("Start: %v", err)
	}
	if m.State() != StateShutdown || m.Err() != nil {
		t.Errorf("%v %v", m.State(), m.Err())
	}
}

func TestStopDuringStart(t *testing.T) {
	for name, prepare := range map[string]func(*testManager){
		"before the buckets are open": func(m *testManager) { m.conn.status = nats.RECONNECTING },
		"while the core works":        func(m *testManager) { m.silent() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newTestManager(t)
				prepare(m)
				started := make(chan error)
				go func() { started <- m.Start(t.Context()) }()
				synctest.Wait()
				m.mustStop(t)
				if err := <-started; !errors.Is(err, ErrStopped) {
					t.Errorf("Start: %v", err)
				}
				<-m.Done()
				if m.State() != StateShutdown || m.conn.listening() != 0 {
					t.Errorf("state %v", m.State())
				}
			})
		})
	}
}

func TestConcurrentStopsAllWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			switch ev.(type) {
			case core.Stop:
				time.AfterFunc(3*time.Second, func() { m.post(cue(0)) })
				return nil, true
			case core.Applied:
				return []core.Effect{core.Ended{}}, true
			}
			return nil, false
		}
		m.mustStart(t)
		began := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				m.mustStop(t)
				if time.Since(began) != 3*time.Second {
					t.Errorf("returned after %v", time.Since(began))
				}
			})
		}
		wg.Wait()
		if n := len(seen[core.Stop](m.core)); n != 1 {
			t.Errorf("%d Stop events", n)
		}
	})
}

func TestStopIsBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		within time.Duration // of ctx; 0: only ShutdownTimeout
		abort  bool          // the core obeys Abort
		want   time.Duration
	}{
		"by its context":              {2 * time.Second, true, 2 * time.Second},
		"by ShutdownTimeout":          {0, true, 10 * time.Second},
		"by force, context":           {2 * time.Second, false, 2*time.Second + abortGrace},
		"by force, ShutdownTimeout":   {time.Minute, false, 10*time.Second + abortGrace},
		"by a context that has ended": {time.Nanosecond, true, time.Nanosecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				m := newTestManager(t, WithHooks(&Hooks{OnError: func(context.Context, error) error {
					<-release // ignores its context
					return nil
				}}))
				m.core.on = func(ev core.Event) ([]core.Effect, bool) {
					switch ev.(type) {
					case core.Stop:
						return []core.Effect{core.Report{Fault: core.Fault{Kind: core.FaultKV}}}, true
					case core.Abort:
						return nil, !tc.abort
					}
					return nil, false
				}
				m.mustStart(t)
				ctx := t.Context()
				if tc.within != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.within)
					defer cancel()
				}
				began := time.Now()
				err := m.Stop(ctx)
				if d := time.Since(began); d != tc.want+usersGrace {
					t.Errorf("took %v, want %v", d, tc.want+usersGrace)
				}
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "OnError") {
					t.Errorf("got %v", err)
				}
				if m.Err() == nil {
					t.Error("Err says that all was well")
				}
				<-m.Done()
				close(release)
			})
		})
	}
}

func TestStopReturnsNilThoughAHookHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		m := newTestManager(t, WithHooks(&Hooks{OnStateChanged: func(context.Context, State, State) error {
			<-release
			return nil
		}}))
		m.mustStart(t)
		began := time.Now()
		m.mustStop(t)
		if d := time.Since(began); d != m.cfg.ShutdownTimeout {
			t.Errorf("took %v", d)
		}
		close(release)
	})
}

func TestStopEndsTheContextOfHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late error
		m := newTestManager(t, WithHooks(&Hooks{OnStateChanged: func(ctx context.Context, _, to State) error {
			if to == StateStable {
				<-ctx.Done()
			} else {
				late = ctx.Err()
			}
			return nil
		}}))
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			switch ev.(type) {
			case core.Stop:
				time.AfterFunc(time.Second, func() { m.post(cue(0)) })
				return []core.Effect{m.core.state(core.Shutdown)}, true
			case core.Applied:
				return []core.Effect{core.Ended{}}, true
			}
			return nil, false
		}
		m.mustStart(t)
		synctest.Wait() // the hook runs
		began := time.Now()
		m.mustStop(t)
		if d := time.Since(began); d != time.Second {
			t.Errorf("took %v", d)
		}
		if late != nil {
			t.Errorf("the call that Stop caused began with a context that had ended: %v", late)
		}
	})
}

func TestStopFromAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m *testManager
		stopped := make(chan error, 1)
		m = newTestManager(t, WithHooks(&Hooks{OnStateChanged: func(ctx context.Context, _, to State) error {
			if to == StateStable {
				if err := m.WaitState(ctx, StateShutdown); !errors.Is(err, ErrInHook) {
					t.Errorf("WaitState: %v", err)
				}
				stopped <- m.Stop(ctx)
			}
			return nil
		}}))
		began := time.Now()
		m.mustStart(t)
		if err := <-stopped; err != nil || time.Since(began) != 0 {
			t.Errorf("Stop: %v after %v", err, time.Since(began))
		}
		<-m.Done()
	})
}

func TestStopFromTheAssignmentHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m *testManager
		stopped := make(chan error, 1)
		var calls []string
		m = newTestManager(t, WithHooks(&Hooks{OnAssignmentChanged: func(ctx context.Context, added, removed []Partition) error {
			calls = append(calls, "+"+strings.Join(idsOf(added), ",")+" -"+strings.Join(idsOf(removed), ","))
			if len(added) > 0 {
				stopped <- m.Stop(ctx)
			}
			return nil
		}}))
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			switch ev := ev.(type) {
			case core.Start:
				return []core.Effect{core.Apply{Seq: 1, Owned: owned("a")}, core.Started{}}, true
			case core.Stop: // drain
				return []core.Effect{core.Apply{Seq: 2}}, true
			case core.Applied:
				if ev.Seq == 2 {
					return []core.Effect{core.Ended{}}, true
				}
			}
			return nil, false
		}
		began := time.Now()
		m.mustStart(t)
		if err := <-stopped; err != nil || time.Since(began) != 0 {
			t.Errorf("Stop: %v after %v", err, time.Since(began))
		}
		synctest.Wait()
		if len(calls) != 2 || calls[1] != "+ -a" {
			t.Errorf("hook calls %q", calls)
		}
	})
}
