package parti

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

	"github.com/arloliu/parti/internal/core"
)

// applyScript is a manager whose core emits the assignments of a test: cue(n)
// brings the assignment n of a list.
type applyScript struct {
	*testManager
	mu    sync.Mutex
	calls []string // of updater and hook, in order
}

func (s *applyScript) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *applyScript) got() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.calls, "; ")
}

func newApplyScript(t *testing.T, update func(ctx context.Context, ids []string) error, assignments ...core.Apply) *applyScript {
	t.Helper()
	s := &applyScript{}
	s.testManager = newTestManager(t,
		WithWorkerConsumerUpdater(updaterFunc(func(ctx context.Context, worker string, ps []Partition) error {
			s.note("%s=%s", worker, strings.Join(idsOf(ps), ","))
			if update == nil {
				return nil
			}
			return update(ctx, idsOf(ps))
		})),
		WithHooks(&Hooks{
			OnAssignmentChanged: func(_ context.Context, added, removed []Partition) error {
				s.note("+%s -%s", strings.Join(idsOf(added), ","), strings.Join(idsOf(removed), ","))
				return nil
			},
			OnError: func(_ context.Context, err error) error {
				s.note("%v", errors.Is(err, ErrConsumerUpdate))
				return nil
			},
		}))
	s.core.set(func(snap *core.Snapshot) { snap.Worker = "worker-1" })
	s.onCue(func(n uint64) []core.Effect {
		a := assignments[n]
		a.Seq, a.Version = n+1, n+1
		return []core.Effect{a}
	})
	return s
}

func (s *applyScript) applied() []uint64 {
	var seqs []uint64
	for _, a := range seen[core.Applied](s.core) {
		if a.Seq < cueBase {
			seqs = append(seqs, a.Seq)
		}
	}
	return seqs
}

func apply(ids ...string) core.Apply { return core.Apply{Owned: owned(ids...)} }

func TestAssignmentsAreAppliedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heavier := apply("b", "c")
		heavier.Owned[0].Weight = 9
		s := newApplyScript(t, nil, apply("a", "b"), apply("b", "c"), apply("b", "c"), heavier, apply())
		s.mustStart(t)
		for n := range uint64(5) {
			s.post(cue(n))
			synctest.Wait()
			if a := s.CurrentAssignment(); a.Version != n+1 {
				t.Errorf("version %d after assignment %d", a.Version, n)
			}
		}
		want := "worker-1=a,b; +a,b -; worker-1=b,c; +c -a; worker-1=b,c; worker-1=; + -b,c"
		if got := s.got(); got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		if got := s.applied(); !slices.Equal(got, []uint64{1, 2, 3, 4, 5}) {
			t.Errorf("applied %v", got)
		}
		s.mustStop(t)
	})
}

// TestAnEmptyFirstAssignment: the updater is told that nothing may be consumed,
// since an earlier process may have left something; the hook has no change.
func TestAnEmptyFirstAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newApplyScript(t, nil, apply())
		s.mustStart(t)
		s.post(cue(0))
		synctest.Wait()
		if got := s.got(); got != "worker-1=" || len(s.applied()) != 1 {
			t.Errorf("calls %s, applied %v", got, s.applied())
		}
		s.mustStop(t)
	})
}

func TestOfSeveralAssignmentsTheLastIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := make(chan struct{})
		s := newApplyScript(t, func(_ context.Context, ids []string) error {
			if slices.Contains(ids, "a") {
				<-first
			}
			return nil
		}, apply("a"), apply("b"), apply("c"), apply("d"))
		s.mustStart(t)
		for n := range uint64(4) {
			s.post(cue(n))
			synctest.Wait()
		}
		close(first)
		synctest.Wait()
		if got, want := s.got(), "worker-1=a; +a -; worker-1=d; +d -a"; got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		if got := s.applied(); !slices.Equal(got, []uint64{1, 4}) {
			t.Errorf("applied %v", got)
		}
		s.mustStop(t)
	})
}

func TestUpdaterIsRetriedUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 3
		s := newApplyScript(t, func(context.Context, []string) error {
			if failures--; failures == 0 {
				panic("not yet")
			} else if failures > 0 {
				return errors.New("not yet")
			}
			return nil
		}, apply("a"), apply("a"))
		s.mustStart(t)
		s.post(cue(0))
		pass(time.Minute)
		if got, want := s.got(), "worker-1=a; true; worker-1=a; true; worker-1=a; true; worker-1=a; +a -"; got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		s.mustStop(t)
	})
}

func TestUpdaterThatFailsIsSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newApplyScript(t, func(_ context.Context, ids []string) error {
			if slices.Contains(ids, "bad") {
				return errors.New("no")
			}
			return nil
		}, apply("bad"), apply("good"), apply("bad"), apply("good"))
		s.mustStart(t)
		for n := range uint64(4) {
			s.post(cue(n))
			pass(time.Millisecond)
		}
		// After a failure nobody knows what is consumed: "good" is set again.
		want := "worker-1=bad; true; worker-1=good; +good -; worker-1=bad; true; worker-1=good"
		if got := s.got(); got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		if got := s.applied(); !slices.Equal(got, []uint64{2, 4}) {
			t.Errorf("applied %v", got)
		}
		s.mustStop(t)
	})
}

// TestUpdaterGivesWay: a call that still waits for "a" ends as soon as a newer
// assignment has come; that is no error, and only the last one is acknowledged.
func TestUpdaterGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		released := make(chan struct{})
		s := newApplyScript(t, func(ctx context.Context, ids []string) error {
			if slices.Contains(ids, "a") {
				return nil
			}
			select {
			case <-released:
				return nil
			case <-Superseded(ctx):
				return ErrSuperseded
			}
		}, apply("a"), apply("b"), apply("b", "c"))
		s.mustStart(t)
		s.post(cue(0))
		synctest.Wait()
		s.post(cue(1))
		pass(time.Second)
		s.post(cue(2))
		pass(time.Second)
		if got, want := s.got(), "worker-1=a; +a -; worker-1=b; worker-1=b,c"; got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		close(released)
		synctest.Wait()
		if got, want := s.got(), "worker-1=a; +a -; worker-1=b; worker-1=b,c; +b,c -a"; got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		if got := s.applied(); !slices.Equal(got, []uint64{1, 3}) {
			t.Errorf("applied %v", got)
		}
		s.mustStop(t)
	})
	if Superseded(t.Context()) != nil {
		t.Error("a context that no updater was given can be superseded")
	}
}

// TestUpdaterGivesWayForNothing: the error is one when no newer assignment waits.
func TestUpdaterGivesWayForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := newApplyScript(t, func(context.Context, []string) error {
			if calls++; calls == 1 {
				return ErrSuperseded
			}
			return nil
		}, apply("a"))
		s.mustStart(t)
		s.post(cue(0))
		pass(time.Second)
		if got, want := s.got(), "worker-1=a; true; worker-1=a; +a -"; got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
		s.mustStop(t)
	})
}

func TestUpdaterHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended []time.Duration
		began := time.Now()
		s := newApplyScript(t, func(ctx context.Context, _ []string) error {
			if len(ended) > 0 {
				return nil
			}
			<-ctx.Done()
			ended = append(ended, time.Since(began))
			return ctx.Err()
		}, apply("a"))
		s.mustStart(t)
		s.post(cue(0))
		pass(time.Minute)
		if len(ended) != 1 || ended[0] != s.cfg.HandoffTimeout+s.cfg.OperationTimeout || len(s.applied()) != 1 {
			t.Errorf("ended %v, applied %v", ended, s.applied())
		}
		s.mustStop(t)
	})
}

func TestStopEndsAnUpdaterThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newApplyScript(t, func(context.Context, []string) error { return errors.New("no") }, apply("a"))
		s.mustStart(t)
		s.post(cue(0))
		synctest.Wait()
		began := time.Now()
		s.mustStop(t)
		if time.Since(began) != 0 || len(s.applied()) != 0 {
			t.Errorf("took %v", time.Since(began))
		}
	})
}

// TestOwnsFollowsTheAssignment: what is lost is lost when the assignment comes,
// also while an earlier one is being applied; what is gained counts from when
// its turn comes, before the updater is called.
func TestOwnsFollowsTheAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var s *applyScript
		owns := func(id string) bool {
			_, ok := s.Owns(Partition{Keys: []string{id}})
			return ok
		}
		s = newApplyScript(t, func(_ context.Context, ids []string) error {
			for _, id := range ids {
				if !owns(id) {
					t.Errorf("the updater gets %s before Owns knows of it", id)
				}
			}
			<-gate
			return nil
		}, apply("a", "b"), apply("b", "c"), apply("c", "d"))
		s.mustStart(t)
		s.post(cue(0))
		synctest.Wait()
		if !owns("a") || !owns("b") {
			t.Error("what was granted is not owned")
		}
		s.post(cue(1)) // waits
		synctest.Wait()
		if owns("a") || !owns("b") || owns("c") {
			t.Error("after the arrival of b, c")
		}
		if a := s.CurrentAssignment(); a.Version != 1 || !slices.Equal(idsOf(a.Partitions), []string{"b"}) {
			t.Errorf("assignment %+v", a)
		}
		gate <- struct{}{} // the first is in force, the second begins
		synctest.Wait()
		if !owns("b") || !owns("c") {
			t.Error("b, c has begun")
		}
		s.post(cue(2)) // waits
		synctest.Wait()
		if owns("b") || !owns("c") || owns("d") {
			t.Error("after the arrival of c, d")
		}
		close(gate)
		synctest.Wait()
		if !owns("c") || !owns("d") {
			t.Error("c, d is in force")
		}
		s.mustStop(t)
		if owns("c") || len(s.CurrentAssignment().Partitions) != 0 {
			t.Error("after Stop")
		}
	})
}

func TestBadIdsAreLeftOutAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan error, 1)
		m := newTestManager(t, WithHooks(&Hooks{OnError: func(_ context.Context, err error) error { told <- err; return nil }}))
		m.onCue(func(uint64) []core.Effect { return []core.Effect{apply("a", "b%zz")} })
		m.mustStart(t)
		m.post(cue(0))
		if err := <-told; !errors.Is(err, ErrForeignValue) || !strings.Contains(err.Error(), "b%zz") {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if got := idsOf(m.CurrentAssignment().Partitions); !slices.Equal(got, []string{"a"}) {
			t.Errorf("got %v", got)
		}
		m.mustStop(t)
	})
}

func TestOfTwoAssignmentsInOneStepTheLastIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newApplyScript(t, nil)
		s.onCue(func(uint64) []core.Effect {
			void, again := apply(), apply("a")
			void.Seq, again.Seq = 1, 2
			return []core.Effect{void, again}
		})
		s.mustStart(t)
		s.post(cue(0))
		synctest.Wait()
		if got := s.applied(); !slices.Equal(got, []uint64{2}) {
			t.Errorf("applied %v", got)
		}
		s.mustStop(t)
	})
}
