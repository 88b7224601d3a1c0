package testing_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

func part(keys ...string) parti.Partition { return parti.Partition{Keys: keys} }

// journal is code under test: it writes down what it is told, in order.
type journal struct {
	mu      sync.Mutex
	entries []string
	updater func(ctx context.Context) error             // fails or blocks an update
	hook    func(ctx context.Context) error             // the same of the hook
	owns    func(p parti.Partition) (parti.Token, bool) // asked by the updater
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries = append(j.entries, fmt.Sprintf(format, args...))
}

// take returns what has been written since the last time.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.entries
	j.entries = nil
	return e
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	if got := j.take(); !slices.Equal(got, want) {
		t.Errorf("want %q\n got %q", want, got)
	}
}

func (j *journal) UpdateWorkerConsumer(ctx context.Context, id string, ps []parti.Partition) error {
	j.add("update %s %v", id, ps)
	if j.owns != nil {
		_, a := j.owns(part("a"))
		_, b := j.owns(part("b"))
		j.add("owns %v %v", a, b)
	}
	if j.updater != nil {
		return j.updater(ctx)
	}
	return nil
}

func (j *journal) hooks() *parti.Hooks {
	return &parti.Hooks{
		OnAssignmentChanged: func(ctx context.Context, added, removed []parti.Partition) error {
			j.add("+%v -%v", added, removed)
			if j.hook != nil {
				return j.hook(ctx)
			}
			return nil
		},
		OnStateChanged: func(_ context.Context, from, to parti.State) error {
			j.add("%v→%v", from, to)
			return nil
		},
		OnError: func(_ context.Context, err error) error {
			j.add("error %v", err)
			return nil
		},
		OnDegradedAlert: func(_ context.Context, level string, d time.Duration) error {
			j.add("alert %s %v", level, d)
			return nil
		},
	}
}

// started returns a started fake and its journal, emptied.
func started(t *testing.T, ps ...parti.Partition) (*partitest.Fake, *journal) {
	t.Helper()
	j := &journal{}
	f := partitest.NewFake(partitest.FakeOptions{Partitions: ps, Hooks: j.hooks(), Updater: j})
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	j.take()
	return f, j
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFakeStartAndStop(t *testing.T) {
	j := &journal{}
	f := partitest.NewFake(partitest.FakeOptions{WorkerID: "w-7", Partitions: []parti.Partition{part("b"), part("a")}, Hooks: j.hooks(), Updater: j})
	if f.WorkerID() != "" || f.State() != parti.StateInit || f.CurrentAssignment().Version != 0 {
		t.Errorf("before Start: %q, %v, %v", f.WorkerID(), f.State(), f.CurrentAssignment())
	}
	if err := f.RefreshPartitions(t.Context()); !errors.Is(err, parti.ErrNotStarted) {
		t.Errorf("refresh before Start: %v", err)
	}
	if err := f.Grant(part("x")); !errors.Is(err, parti.ErrNotStarted) {
		t.Errorf("grant before Start: %v", err)
	}
	ok(t, f.Start(t.Context()))
	j.want(t, "Init→ClaimingID", "ClaimingID→Election", "Election→WaitingAssignment",
		"update w-7 [a b]", "+[a b] -[]", "WaitingAssignment→Stable")
	if err := f.Start(t.Context()); !errors.Is(err, parti.ErrAlreadyStarted) {
		t.Errorf("second Start: %v", err)
	}
	want := parti.Assignment{Term: 1, Version: 1, Lifecycle: parti.LifecyclePostColdStart, Partitions: []parti.Partition{part("a"), part("b")}}
	if got := f.CurrentAssignment(); !reflect.DeepEqual(got, want) {
		t.Errorf("assignment %v", got)
	}

	ok(t, f.Stop(t.Context()))
	j.want(t, "Stable→Shutdown", "update w-7 []", "+[] -[a b]")
	ok(t, f.Stop(t.Context()))
	<-f.Done()
	if f.Err() != nil || f.WorkerID() != "" || len(f.CurrentAssignment().Partitions) != 0 {
		t.Errorf("after Stop: %v, %q, %v", f.Err(), f.WorkerID(), f.CurrentAssignment())
	}
	for name, err := range map[string]error{
		"Start": f.Start(t.Context()), "RefreshPartitions": f.RefreshPartitions(t.Context()), "Grant": f.Grant(part("x")),
		"Revoke": f.Revoke(part("x")), "Recover": f.Recover(), "LoseID": f.LoseID(), "Retry": f.Retry(),
		"WaitState": f.WaitState(t.Context(), parti.StateStable),
	} {
		if !errors.Is(err, parti.ErrStopped) {
			t.Errorf("%s after Stop: %v", name, err)
		}
	}
	f.SetState(parti.StateStable)
	f.Degrade("Info", time.Minute)
	f.ReportError(errors.New("x"))
	j.want(t)
}

func TestFakeStartFails(t *testing.T) {
	f := partitest.NewFake(partitest.FakeOptions{StartErr: parti.ErrStableIDExhausted})
	if err := f.Start(t.Context()); !errors.Is(err, parti.ErrStableIDExhausted) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := partitest.NewFake(partitest.FakeOptions{}).Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	never := partitest.NewFake(partitest.FakeOptions{})
	ok(t, never.Stop(t.Context())) // before Start
	if err := never.Start(t.Context()); !errors.Is(err, parti.ErrStopped) {
		t.Errorf("got %v", err)
	}
}

func TestFakeGrantAndRevoke(t *testing.T) {
	f, j := started(t)
	j.owns = f.Owns
	ok(t, f.Grant(part("a"), part("b")))
	j.want(t, "update worker-0 [a b]", "owns true true", "+[a b] -[]")
	first, _ := f.Owns(part("b"))

	ok(t, f.Grant(part("b"))) // again: a new token, no difference
	j.want(t, "update worker-0 [a b]", "owns true true")
	second, _ := f.Owns(part("b"))
	if !first.Less(second) {
		t.Errorf("token %v, then %v", first, second)
	}

	ok(t, f.Revoke(part("a"), part("stranger")))
	j.want(t, "update worker-0 [b]", "owns false true", "+[] -[a]")

	f.NewLeader()
	ok(t, f.Grant(part("a")))
	third, owned := f.Owns(part("a"))
	if !second.Less(third) || third.Term <= second.Term || !owned {
		t.Errorf("token %v after a new leader, before %v", third, second)
	}
	if l := f.CurrentAssignment().Lifecycle; l != parti.LifecycleStable {
		t.Errorf("lifecycle %v", l)
	}
	f.SetLeader(true)
	if !f.IsLeader() {
		t.Error("not leader")
	}
}

func TestFakeAssignmentCannotBeChanged(t *testing.T) {
	p := part("a")
	f, _ := started(t, p)
	p.Keys[0] = "changed"
	f.CurrentAssignment().Partitions[0].Keys[0] = "changed"
	if _, owned := f.Owns(part("a")); !owned || f.CurrentAssignment().Partitions[0].Keys[0] != "a" {
		t.Errorf("the fake now owns %v", f.CurrentAssignment().Partitions)
	}
}

func TestFakeUpdaterFails(t *testing.T) {
	f, j := started(t)
	broken := errors.New("broken")
	j.updater = func(context.Context) error { return broken }
	err := f.Grant(part("a"))
	if !errors.Is(err, broken) || !errors.Is(err, parti.ErrConsumerUpdate) {
		t.Errorf("got %v", err)
	}
	j.want(t, "update worker-0 [a]", fmt.Sprintf("error %v", err))

	j.updater = nil
	ok(t, f.Retry())
	j.want(t, "update worker-0 [a]", "+[a] -[]")

	// A newer assignment replaces the one that could not be applied.
	j.updater = func(context.Context) error { return broken }
	_ = f.Grant(part("b"))
	j.updater = nil
	j.take()
	ok(t, f.Revoke(part("a"), part("b")))
	j.want(t, "update worker-0 []", "+[] -[a]")
}

func TestFakeHookFails(t *testing.T) {
	f, j := started(t)
	broken := errors.New("broken")
	j.hook = func(context.Context) error { return broken }
	if err := f.Grant(part("a")); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	j.hook = func(context.Context) error { panic("help") }
	if err := f.Grant(part("b")); err == nil || err.Error() != "panic: help" {
		t.Errorf("got %v", err)
	}
	j.hook = nil
	j.take()
	ok(t, f.Grant(part("c"))) // all the same, what was told was told
	j.want(t, "update worker-0 [a b c]", "+[c] -[]")
}

func TestFakeDegraded(t *testing.T) {
	f, j := started(t, part("a"), part("b"))
	f.Degrade("Info", time.Minute)
	f.Degrade("Warn", 5*time.Minute)
	f.Degrade("", 0)
	j.want(t, "Stable→Degraded", "alert Info 1m0s", "alert Warn 5m0s")
	ok(t, f.Grant(part("c"), part("d"))) // frozen
	j.want(t)
	ok(t, f.Revoke(part("a"), part("d"))) // obeyed
	j.want(t, "update worker-0 [b]", "+[] -[a]")
	ok(t, f.Recover())
	j.want(t, "Degraded→Stable", "update worker-0 [b c]", "+[c] -[]")
	ok(t, f.Recover())
	j.want(t)
}

func TestFakeEvents(t *testing.T) {
	f, j := started(t)
	f.SetState(parti.StateScaling)
	f.SetState(parti.StateScaling)
	f.ReportError(parti.ErrKV)
	j.want(t, "Stable→Scaling", "error "+parti.ErrKV.Error())
	ok(t, f.RefreshPartitions(t.Context()))
	if f.Refreshes() != 1 {
		t.Errorf("%d refreshes", f.Refreshes())
	}
	g := partitest.NewFake(partitest.FakeOptions{OnRefresh: func(context.Context) error { return parti.ErrSource }})
	ok(t, g.Start(t.Context()))
	if err := g.RefreshPartitions(t.Context()); !errors.Is(err, parti.ErrSource) {
		t.Errorf("got %v", err)
	}
	ok(t, g.Stop(t.Context()))
}

func TestFakeLosesItsID(t *testing.T) {
	f, j := started(t, part("a"))
	before, _ := f.Owns(part("a"))
	ok(t, f.LoseID())
	j.want(t, "error renew worker-0: "+parti.ErrIDLost.Error(), "update worker-0 []", "+[] -[a]",
		"Stable→ClaimingID", "ClaimingID→Election", "Election→WaitingAssignment", "WaitingAssignment→Stable")
	if f.WorkerID() != "worker-1" {
		t.Errorf("now %q", f.WorkerID())
	}
	ok(t, f.Grant(part("a")))
	if after, _ := f.Owns(part("a")); !before.Less(after) {
		t.Errorf("token %v, then %v", before, after)
	}
}

func TestFakeFails(t *testing.T) {
	f, j := started(t, part("a"))
	if f.Err() != nil {
		t.Errorf("err %v", f.Err())
	}
	broken := errors.New("broken")
	f.Fail(broken)
	<-f.Done()
	if !errors.Is(f.Err(), broken) || f.State() != parti.StateShutdown {
		t.Errorf("%v, %v", f.Err(), f.State())
	}
	j.want(t, "Stable→Shutdown", "update worker-0 []", "+[] -[a]")
}

// A hook's context ends with Stop, which the final calls outlive.
func TestFakeStopEndsHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, j := started(t)
		j.hook = func(ctx context.Context) error {
			if f.State() == parti.StateShutdown {
				j.add("last call: %v", ctx.Err())
				return nil
			}
			<-ctx.Done()
			return ctx.Err()
		}
		granted := make(chan error)
		go func() { granted <- f.Grant(part("a")) }()
		synctest.Wait()
		ok(t, f.Stop(t.Context()))
		if err := <-granted; !errors.Is(err, context.Canceled) {
			t.Errorf("the hook got %v", err)
		}
		j.want(t, "update worker-0 [a]", "+[a] -[]", "Stable→Shutdown", "update worker-0 []", "+[] -[a]", "last call: <nil>")
	})
}

func TestFakeStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j, release := &journal{}, make(chan struct{})
		f := partitest.NewFake(partitest.FakeOptions{Hooks: j.hooks(), Updater: j, ShutdownTimeout: 3 * time.Second})
		ok(t, f.Start(t.Context()))
		j.hook = func(context.Context) error { <-release; return nil }
		granted := make(chan error)
		go func() { granted <- f.Grant(part("a")) }()
		synctest.Wait()
		start := time.Now()
		if err := f.Stop(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		<-f.Done()
		if _, owned := f.Owns(part("a")); owned {
			t.Error("still owns after the end")
		}
		close(release)
		ok(t, <-granted)
	})
}

func TestFakeMethodsInHooks(t *testing.T) {
	f, j := started(t)
	j.hook = func(ctx context.Context) error {
		if f.State() == parti.StateShutdown {
			return nil
		}
		j.add("wait: %v", f.WaitState(ctx, parti.StateStable))
		j.add("refresh: %v", f.RefreshPartitions(ctx))
		j.add("stop: %v", f.Stop(ctx))
		return nil
	}
	ok(t, f.Grant(part("a")))
	<-f.Done()
	got := j.take()
	want := []string{"wait: " + parti.ErrInHook.Error(), "refresh: <nil>", "stop: <nil>", "Stable→Shutdown", "update worker-0 []", "+[] -[a]"}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("%q is missing in %q", w, got)
		}
	}
}

func TestFakeWaitState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := started(t)
		waited := make(chan error)
		go func() { waited <- f.WaitState(t.Context(), parti.StateEmergency) }()
		synctest.Wait()
		f.SetState(parti.StateEmergency)
		ok(t, <-waited)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.WaitState(ctx, parti.StateStable); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		go func() { waited <- f.WaitState(t.Context(), parti.StateStable) }()
		synctest.Wait()
		ok(t, f.Stop(t.Context()))
		if err := <-waited; !errors.Is(err, parti.ErrStopped) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFakeLogsFailedHooks(t *testing.T) {
	log := &errorLog{}
	f := partitest.NewFake(partitest.FakeOptions{Logger: log, Hooks: &parti.Hooks{
		OnError: func(_ context.Context, err error) error { return err },
	}})
	ok(t, f.Start(t.Context()))
	f.ReportError(parti.ErrKV)
	ok(t, f.Stop(t.Context()))
	if !slices.Equal(log.lines, []string{"hook failed[hook OnError error " + parti.ErrKV.Error() + "]"}) {
		t.Errorf("got %q", log.lines)
	}
}

type errorLog struct {
	parti.Logger
	lines []string
}

func (l *errorLog) Error(msg string, kv ...any) {
	l.lines = append(l.lines, fmt.Sprintf("%s%v", msg, kv))
}
