package parti_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestAgentIsBadForLong: an agent that errs or hangs while the fleet works is
// reported; nobody leads, nobody loses anything, and the first one that it lets
// leads.
func TestAgentIsBadForLong(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			down := errors.New("consul is down")
			l := &lock{}
			ws, as := make([]*worker, 3), make([]*hangingAgent, 3)
			src := source.NewStatic(fleettest.Numbered(20))
			for i := range ws {
				as[i] = &hangingAgent{lockAgent: &lockAgent{lock: l}}
				ws[i] = newWorker(t, srv, parti.Config{}, src, parti.WithElectionAgent(as[i]))
			}
			startAll(t, ws...)
			time.Sleep(time.Minute)
			leader, _ := leaderOf(t, ws...)
			if hangs {
				for _, a := range as {
					a.hang(true)
				}
			} else {
				l.mu.Lock()
				l.broken = down
				l.mu.Unlock()
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			if n := countLeaders(ws...); n != 0 {
				t.Errorf("hangs %v: %d leaders whom the agent does not confirm", hangs, n)
			}
			if !leader.reported(parti.ErrElectionFailed) || !hangs && !leader.reported(down) || hangs && !leader.reported(context.DeadlineExceeded) {
				t.Errorf("hangs %v: reported %v", hangs, leader.errors())
			}
			for _, w := range ws {
				if s := w.State(); s != parti.StateStable {
					t.Errorf("%s is %v", w.WorkerID(), s)
				}
				if n := len(w.errors()); n > 300 {
					t.Errorf("%s reported %d errors in 5 min", w.WorkerID(), n)
				}
			}
			nothingHappened(t, ws...)
			for _, a := range as {
				a.hang(false)
			}
			l.mu.Lock()
			l.broken = nil
			l.mu.Unlock()
			time.Sleep(20 * time.Second)
			kept(t, 20, ws...)
		})
	}
}

// hangingAgent is a lockAgent whose calls may hang until their time is up.
type hangingAgent struct {
	*lockAgent
	mu2   sync.Mutex
	hangs bool
}

func (a *hangingAgent) hang(yes bool) {
	a.mu2.Lock()
	defer a.mu2.Unlock()
	a.hangs = yes
}

func (a *hangingAgent) wait(ctx context.Context) error {
	a.mu2.Lock()
	hangs := a.hangs
	a.mu2.Unlock()
	if !hangs {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

func (a *hangingAgent) RequestLeadership(ctx context.Context, worker string, lease time.Duration) (bool, error) {
	if err := a.wait(ctx); err != nil {
		return false, err
	}
	return a.lockAgent.RequestLeadership(ctx, worker, lease)
}

func (a *hangingAgent) RenewLeadership(ctx context.Context) error {
	if err := a.wait(ctx); err != nil {
		return err
	}
	return a.lockAgent.RenewLeadership(ctx)
}

// TestAgentThatSaysYesToTwoWhileTheLeaderCrashes: the leader key decides who leads;
// each crash costs one change of the leader.
func TestAgentThatSaysYesToTwoWhileTheLeaderCrashes(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws, _ := newWithAgents(t, srv, &lock{yes: true}, 4)
		startAll(t, ws...)
		time.Sleep(time.Minute)
		first := ws[0].CurrentAssignment().Term
		for i := range 6 {
			leader, others := leaderOf(t, ws...)
			if i%2 == 0 {
				leader.link.Cut()
			} else {
				leader.link.Blackhole()
			}
			time.Sleep(30 * time.Second)
			check(t, 20, others...)
			leader.link.Heal()
			time.Sleep(time.Minute)
			check(t, 20, ws...)
		}
		if n := ws[0].CurrentAssignment().Term - first; n < 6 || n > 9 {
			t.Errorf("6 crashes, %d changes of the leader", n)
		}
	})
}

// TestLifecycleOfAssignments: the first plan of a fleet is of its cold start, what
// follows it is stable, over a change of the leader too; and a fleet all of whose
// workers are gone starts cold again.
func TestLifecycleOfAssignments(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		src := source.NewStatic(fleettest.Numbered(20))
		ws := newWorkers(t, srv, 3, parti.Config{}, src)
		is := func(when string, want parti.Lifecycle, ws ...*worker) {
			t.Helper()
			synctest.Wait()
			for _, w := range ws {
				if got := w.CurrentAssignment().Lifecycle; got != want {
					t.Errorf("%s: %s has lifecycle %q, want %q", when, w.WorkerID(), got, want)
				}
			}
		}
		var wg sync.WaitGroup
		for _, w := range ws[:2] {
			wg.Go(func() {
				if err := w.Start(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		is("before the first plan", parti.LifecycleColdStart, ws[:2]...)
		wg.Wait()
		is("after the first plan", parti.LifecyclePostColdStart, ws[:2]...)
		time.Sleep(time.Minute)
		is("after a minute", parti.LifecyclePostColdStart, ws[:2]...)
		startAll(t, ws[2])
		time.Sleep(time.Minute)
		is("after a join", parti.LifecycleStable, ws...)
		leader, others := leaderOf(t, ws...)
		leader.link.Cut()
		time.Sleep(30 * time.Second)
		is("after a change of the leader", parti.LifecycleStable, others...)
		leader.link.Heal()
		time.Sleep(time.Minute)
		check(t, 20, ws...)
		is("after its return", parti.LifecycleStable, ws...)
	})
}
