package parti

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti/internal/core"
)

func TestErrorsAreDroppedOldestFirstAndStatesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		var got []string
		m := newTestManager(t, WithHooks(&Hooks{
			OnError: func(_ context.Context, err error) error {
				<-gate
				got = append(got, err.Error())
				return nil
			},
			OnStateChanged: func(_ context.Context, from, to State) error {
				got = append(got, fmt.Sprintf("%v-%v", from, to))
				return nil
			},
		}))
		m.onCue(func(n uint64) []core.Effect {
			effects := []core.Effect{core.Report{Fault: core.Fault{Kind: core.FaultKV, Text: fmt.Sprint(n)}}}
			if n > 0 {
				effects = append(effects, m.core.state(core.Scaling), m.core.state(core.Stable))
			}
			return effects
		})
		m.mustStart(t)
		m.post(cue(0))
		synctest.Wait() // 0 is being told
		for n := range uint64(maxErrors + 5) {
			m.post(cue(n + 1))
		}
		synctest.Wait()
		close(gate)
		synctest.Wait()
		states, errs := 0, []string{}
		for _, g := range got {
			if g[0] == 'p' {
				errs = append(errs, g)
			} else {
				states++
			}
		}
		if states != 1+2*(maxErrors+5) {
			t.Errorf("%d states told", states)
		}
		if len(errs) != 1+maxErrors || errs[1] != ErrKV.Error()+": 6" || errs[maxErrors] != fmt.Sprintf("%v: %d", ErrKV, maxErrors+5) {
			t.Errorf("%d errors told, %q first, %q last", len(errs), errs[1], errs[len(errs)-1])
		}
		if lines := m.log.with("OnError is slower than errors come, the oldest were dropped"); len(lines) != 1 || lines[0].value("dropped") != 5 {
			t.Errorf("log %+v", lines)
		}
		m.mustStop(t)
	})
}

func TestHookErrorsAndPanicsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		m := newTestManager(t, WithHooks(&Hooks{OnAssignmentChanged: func(context.Context, []Partition, []Partition) error {
			if calls++; calls == 1 {
				panic("oops")
			}
			return errors.New("no")
		}}))
		m.onCue(func(n uint64) []core.Effect {
			a := apply(fmt.Sprint(n))
			a.Seq = n
			return []core.Effect{a}
		})
		m.mustStart(t)
		for n := range uint64(2) {
			m.post(cue(n))
			synctest.Wait()
		}
		lines := m.log.with("hook failed")
		if len(lines) != 2 || lines[0].value("hook") != "OnAssignmentChanged" || lines[0].value("stack") == nil || lines[1].value("stack") != nil {
			t.Errorf("log %+v", lines)
		}
		m.mustStop(t)
	})
}

func TestTheTwoLanesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate, told := make(chan struct{}), make(chan struct{})
		m := newTestManager(t, WithHooks(&Hooks{
			OnAssignmentChanged: func(context.Context, []Partition, []Partition) error { <-gate; return nil },
			OnError:             func(context.Context, error) error { close(told); return nil },
		}))
		m.onCue(func(uint64) []core.Effect {
			return []core.Effect{apply("a"), core.Report{Fault: core.Fault{Kind: core.FaultKV}}}
		})
		m.mustStart(t)
		m.post(cue(0))
		<-told
		close(gate)
		m.mustStop(t)
	})
}

func TestTasksNameWhatRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts tasks
		gate := make(chan struct{})
		ts.start("b", func() { <-gate })
		ts.start("a", func() { time.Sleep(time.Second) })
		ts.start("b", func() { time.Sleep(time.Second) })
		stop := make(chan struct{})
		time.AfterFunc(2*time.Second, func() { close(stop) })
		if names := ts.wait(stop, ""); len(names) != 1 || names[0] != "b" {
			t.Errorf("still running: %v", names)
		}
		if names := ts.wait(nil, "b"); names != nil {
			t.Errorf("but for b: %v", names)
		}
		close(gate)
		if names := ts.wait(nil, ""); names != nil {
			t.Errorf("at the end: %v", names)
		}
	})
}
