package parti

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

	"github.com/arloliu/parti/internal/core"
)

// scriptAgent records its calls.
type scriptAgent struct {
	mu    sync.Mutex
	calls []string
	do    func(ctx context.Context, call string) (bool, error)
}

func (a *scriptAgent) call(ctx context.Context, name string) (bool, error) {
	a.mu.Lock()
	a.calls = append(a.calls, name)
	a.mu.Unlock()
	if a.do == nil {
		return true, nil
	}
	return a.do(ctx, name)
}

func (a *scriptAgent) RequestLeadership(ctx context.Context, worker string, lease time.Duration) (bool, error) {
	return a.call(ctx, fmt.Sprintf("request %s %v", worker, lease))
}

func (a *scriptAgent) RenewLeadership(ctx context.Context) error {
	_, err := a.call(ctx, "renew")
	return err
}

func (a *scriptAgent) ReleaseLeadership(ctx context.Context) error {
	_, err := a.call(ctx, "release")
	return err
}

func (a *scriptAgent) IsLeader(ctx context.Context) bool {
	yes, _ := a.call(ctx, "is leader")
	return yes
}

// doneOf returns the results told so far, by operation.
func doneOf(c *scriptCore) map[core.OpID]core.Done {
	all := map[core.OpID]core.Done{}
	for _, d := range seen[core.Done](c) {
		all[d.Op] = d
	}
	return all
}

// TestUsersErrors: an error of users' code can be matched in what OnError gets.
func TestUsersErrors(t *testing.T) {
	errDB := errors.New("database is gone")
	for name, tc := range map[string]struct {
		source   func(context.Context) ([]Partition, error)
		strategy func() error
		agent    func(context.Context) (bool, error)
		effect   core.Effect
		kind     core.FaultKind
		want     []error
		text     string
		took     time.Duration
	}{
		"source fails": {
			source: func(context.Context) ([]Partition, error) { return nil, errDB },
			effect: core.Source{Op: 1}, kind: core.FaultSource, want: []error{ErrSource, errDB},
		},
		"source panics": {
			source: func(context.Context) ([]Partition, error) { panic(errDB) },
			effect: core.Source{Op: 1}, kind: core.FaultSource, want: []error{ErrSource, errDB}, text: "ListPartitions: panic",
		},
		"source ignores its context": {
			source: func(context.Context) ([]Partition, error) { time.Sleep(time.Minute); return nil, nil },
			effect: core.Source{Op: 1}, kind: core.FaultSource, want: []error{ErrSource, context.DeadlineExceeded},
			text: "ListPartitions: no answer", took: 10 * time.Second,
		},
		"source lists a partition without keys": {
			source: func(context.Context) ([]Partition, error) { return []Partition{{}}, nil },
			effect: core.Source{Op: 1}, kind: core.FaultSource, want: []error{ErrSource}, text: "without keys",
		},
		"strategy fails": {
			strategy: func() error { return errDB },
			effect:   core.Plan{Op: 1, Workers: []string{"w0"}, Capacity: []float64{1}, Labels: make([]map[string]string, 1), List: &core.List{}}, kind: core.FaultStrategy, want: []error{ErrStrategy, errDB},
		},
		"strategy panics": {
			strategy: func() error { panic("at the disco") },
			effect:   core.Plan{Op: 1, Workers: []string{"w0"}, Capacity: []float64{1}, Labels: make([]map[string]string, 1), List: &core.List{}}, kind: core.FaultStrategy, want: []error{ErrStrategy}, text: "at the disco",
		},
		"strategy hangs": {
			strategy: func() error { time.Sleep(time.Minute); return nil },
			effect:   core.Plan{Op: 1, Workers: []string{"w0"}, Capacity: []float64{1}, Labels: make([]map[string]string, 1), List: &core.List{}}, kind: core.FaultStrategy, want: []error{ErrStrategy, context.DeadlineExceeded},
			took: 10 * time.Second,
		},
		"agent fails": {
			agent:  func(context.Context) (bool, error) { return false, errDB },
			effect: core.Agent{Op: 1, Verb: core.AgentRenew}, kind: core.FaultElection, want: []error{ErrElectionFailed, errDB},
		},
		"agent obeys its context": {
			agent:  func(ctx context.Context) (bool, error) { <-ctx.Done(); return false, ctx.Err() },
			effect: core.Agent{Op: 1}, kind: core.FaultElection, want: []error{ErrElectionFailed, context.DeadlineExceeded},
			took: 5 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := make(chan error, 1)
				agent := &scriptAgent{do: func(ctx context.Context, _ string) (bool, error) { return tc.agent(ctx) }}
				m := newTestManager(t, WithElectionAgent(agent), WithHooks(&Hooks{OnError: func(_ context.Context, err error) error {
					told <- err
					return nil
				}}))
				m.source = sourceFunc(tc.source)
				strat := strategyFunc(func([]string, []Partition) (map[string][]Partition, error) { return nil, tc.strategy() })
				m.strategy = strat
				m.core.on = func(ev core.Event) ([]core.Effect, bool) {
					switch ev := ev.(type) {
					case core.Applied:
						return []core.Effect{tc.effect}, true
					case core.Done:
						return []core.Effect{core.Report{Fault: core.Fault{Kind: tc.kind, Text: "cannot go on: " + ev.Text}}}, true
					}
					return nil, false
				}
				m.mustStart(t)
				began := time.Now()
				m.post(cue(0))
				err := <-told
				for _, want := range tc.want {
					if !errors.Is(err, want) {
						t.Errorf("%v does not match %v", err, want)
					}
				}
				if !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%v lacks %q", err, tc.text)
				}
				if d := time.Since(began); d != tc.took {
					t.Errorf("took %v", d)
				}
				m.mustStop(t)
				pass(time.Minute)
			})
		})
	}
}

func TestSourceIsNotCalledTwiceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		calls := 0
		m.source = sourceFunc(func(context.Context) ([]Partition, error) {
			calls++
			if calls == 1 {
				time.Sleep(time.Minute)
			}
			return []Partition{{Keys: []string{"a"}}}, nil
		})
		m.onCue(func(n uint64) []core.Effect { return []core.Effect{core.Source{Op: core.OpID(n)}} })
		m.mustStart(t)
		m.post(cue(1))
		pass(30 * time.Second)
		m.post(cue(2))
		synctest.Wait()
		if d := doneOf(m.core)[2]; d.List != nil || !strings.Contains(d.Text, "has not returned after 30s") {
			t.Errorf("while the first hangs: %+v", d)
		}
		pass(time.Minute)
		m.post(cue(3))
		synctest.Wait()
		if d := doneOf(m.core)[3]; d.List == nil || calls != 2 {
			t.Errorf("after the first returned: %+v, %d calls", d, calls)
		}
		m.mustStop(t)
	})
}

func TestPlanUsesTheListOfTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		parts := []Partition{{Keys: []string{"b", "1.x"}, Weight: 3}, {Keys: []string{"a"}, Weight: 4}}
		m.source = sourceFunc(func(context.Context) ([]Partition, error) { return parts, nil })
		m.strategy = strategyFunc(func(ws []string, ps []Partition) (map[string][]Partition, error) {
			return map[string][]Partition{ws[0]: ps[:1], ws[1]: ps[1:]}, nil
		})
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			switch ev := ev.(type) {
			case core.Applied:
				return []core.Effect{core.Source{Op: 1}}, true
			case core.Done:
				if ev.Op == 1 {
					published := *ev.List // as a new leader has it: not from our source
					plan := core.Plan{Workers: []string{"w0", "w1"}, Capacity: []float64{1, 1}, Labels: make([]map[string]string, 2), PrevOwner: []int32{-1, -1}}
					mine, theirs := plan, plan
					mine.Op, mine.List = 2, ev.List
					theirs.Op, theirs.List = 3, &published
					return []core.Effect{mine, theirs}, true
				}
			}
			return nil, false
		}
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait()
		done := doneOf(m.core)
		// One of the two found the other one running, or both came in turn.
		good := 0
		for _, op := range []core.OpID{2, 3} {
			if d := done[op]; len(d.Owners) == 2 && d.Owners[0] != d.Owners[1] {
				good++
			} else if !strings.Contains(d.Text, "has not returned") {
				t.Errorf("plan %d: %+v", op, d)
			}
		}
		if good == 0 {
			t.Error("no plan")
		}
		m.mustStop(t)
	})
}

func TestListCacheRebuildsAPublishedList(t *testing.T) {
	var c listCache
	want := &core.List{IDs: []string{"b.1%2Ex", "a"}, Weights: []int64{3, 4}}
	l, err := c.find(want)
	if err != nil || l.core != want {
		t.Fatalf("%v %v", l, err)
	}
	if again, _ := c.find(want); again != l {
		t.Error("built twice")
	}
	for i := range 2 * keptLists {
		l, err := newPartitionList([]Partition{{Keys: []string{"a", strconv.Itoa(i)}}})
		if err != nil {
			t.Fatal(err)
		}
		c.keep(l)
	}
	if len(c.last) != keptLists {
		t.Errorf("%d lists kept", len(c.last))
	}
	if _, err := c.find(&core.List{IDs: []string{"a%"}, Weights: []int64{1}}); err == nil {
		t.Error("a bad id was taken")
	}
}

// A list that is read again and is the same takes no memory, and what a strategy
// remembers of it stays good.
func TestListCacheKeepsOneOfTheSame(t *testing.T) {
	var c listCache
	list := func(parts ...Partition) *partitionList {
		t.Helper()
		l, err := newPartitionList(parts)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	a, b := Partition{Keys: []string{"a"}}, Partition{Keys: []string{"b"}}
	first := c.keep(list(a, b))
	if c.keep(list(a, b)) != first || len(c.last) != 1 {
		t.Error("the same list is kept twice")
	}
	if l, err := c.find(&core.List{IDs: []string{"a", "b"}, Weights: []int64{100, 100}}); err != nil || l != first {
		t.Errorf("a published list is not recognised: %v", err)
	}
	for _, other := range []*partitionList{list(b, a), list(a), list(a, Partition{Keys: b.Keys, Weight: 7}), list(a, Partition{Keys: b.Keys, Weight: 100})} {
		if c.keep(other) == first {
			t.Errorf("%v with weights %v is taken for the first list", other.core.IDs, other.weights)
		}
	}
}

func TestAgentIsCalledInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		agent := &scriptAgent{do: func(_ context.Context, call string) (bool, error) {
			time.Sleep(time.Second)
			return call != "is leader", nil
		}}
		m := newTestManager(t, WithElectionAgent(agent))
		m.onCue(func(uint64) []core.Effect {
			return []core.Effect{
				core.Agent{Op: 1, Verb: core.AgentRequest, Worker: "w", Lease: 6 * time.Second},
				core.Agent{Op: 2, Verb: core.AgentRenew},
				core.Agent{Op: 3, Verb: core.AgentRelease},
			}
		})
		m.mustStart(t)
		if !m.core.cfg.Agent {
			t.Error("the core does not know of the agent")
		}
		m.post(cue(0))
		pass(10 * time.Second)
		if got := strings.Join(agent.calls, ", "); got != "request w 6s, renew, is leader, release" {
			t.Errorf("calls: %s", got)
		}
		if d := doneOf(m.core); !d[1].Yes || d[2].Yes || !d[3].Yes {
			t.Errorf("results %+v", d)
		}
		m.mustStop(t)
	})
}

func TestProcessesOfOthersAreNotDead(t *testing.T) {
	d := deadProcesses(core.Processes{Op: 4, All: map[string]core.Process{"me": currentProcess(), "other": {PID: 1, Boot: "x", Start: 1}}})
	if d.Op != 4 || d.Dead != nil {
		t.Errorf("%+v", d)
	}
}

// recorder is a collector that records its calls.
type recorder struct {
	NopMetrics
	got *[]string
}

func (r recorder) add(name string, v any) { *r.got = append(*r.got, fmt.Sprintf("%s %v", name, v)) }

func (r recorder) SetDegradedMode(v float64)               { r.add("mode", v) }
func (r recorder) SetCacheAge(d time.Duration)             { r.add("age", d) }
func (r recorder) SetAlertLevel(l int)                     { r.add("level", l) }
func (r recorder) ObserveDegradedDuration(d time.Duration) { r.add("degraded", d) }
func (r recorder) IncrementAlertEmitted(l string)          { r.add("alert", l) }
func (r recorder) IncrementCacheFallback()                 { r.add("fallback", "") }
func (r recorder) SetState(s State)                        { r.add("state", s) }
func (r recorder) SetAssignedPartitions(n int)             { r.add("partitions", n) }
func (r recorder) AddMoves(reason string, n int)           { r.add("moves "+reason, n) }
func (r recorder) IncrementRebalance(reason string)        { r.add("rebalance", reason) }
func (r recorder) IncrementForcedHandoff()                 { r.add("forced", "") }
func (r recorder) SetLeader(l bool)                        { r.add("leader", l) }
func (r recorder) IncrementClaimConflict()                 { r.add("conflict", "") }
func (r recorder) IncrementKVError(b string)               { r.add("kv", b) }
func (r recorder) IncrementWatchRestart()                  { r.add("watch", "") }
func (r recorder) ObserveCommit(d time.Duration)           { r.add("commit", d) }
func (r recorder) AddOverlaps(n int)                       { r.add("overlaps", n) }

func TestMeasures(t *testing.T) {
	var got []string
	for m := core.MetricDegraded; m <= core.MetricOverlaps; m++ {
		measure(recorder{got: &got}, core.Measure{Metric: m, Value: 2.5, Label: "L"})
	}
	want := "mode 2.5|age 2.5s|level 2|degraded 2.5s|alert L|fallback |leader true|partitions 2|moves L 2|rebalance L|forced |forced |conflict |watch |kv L|commit 2.5s|overlaps 2"
	if s := strings.Join(got, "|"); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
}

func TestWhatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		var alerts []string
		m := newTestManager(t, WithMetrics(recorder{got: &got}), WithHooks(&Hooks{OnDegradedAlert: func(_ context.Context, level string, d time.Duration) error {
			alerts = append(alerts, level+" "+d.String())
			return nil
		}}))
		m.core.set(func(s *core.Snapshot) { s.Worker = "worker-1" })
		m.onCue(func(uint64) []core.Effect {
			return []core.Effect{
				core.Log{Level: core.Error, Message: "hello", Pairs: []any{"key", 5}},
				core.Alert{Level: core.AlertCritical, Since: time.Hour},
				core.Measure{Metric: core.MetricLeader, Value: 1},
			}
		})
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait()
		lines := m.log.with("hello")
		if len(lines) != 1 || lines[0].level != "error" || lines[0].value("key") != 5 || lines[0].value("worker") != "worker-1" || lines[0].value("group") != "worker" {
			t.Errorf("log %+v", lines)
		}
		if len(alerts) != 1 || alerts[0] != "Critical 1h0m0s" {
			t.Errorf("alerts %v", alerts)
		}
		if s := strings.Join(got, "|"); s != "state Stable|leader true" {
			t.Errorf("metrics %s", s)
		}
		m.mustStop(t)
	})
}

func TestReportsAreLoggedOncePerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		m := newTestManager(t, WithHooks(&Hooks{OnError: func(context.Context, error) error { told++; return nil }}))
		m.onCue(func(uint64) []core.Effect {
			return []core.Effect{core.Report{Fault: core.Fault{Kind: core.FaultKV, Text: "same"}}}
		})
		m.mustStart(t)
		for range 25 {
			m.post(cue(0))
			pass(100 * time.Millisecond)
		}
		lines := m.log.with("recoverable error")
		if len(lines) != 3 || lines[1].value("repeated") != 9 || told != 25 {
			t.Errorf("%d lines %+v, %d told", len(lines), lines, told)
		}
		m.mustStop(t)
	})
}
