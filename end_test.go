package parti

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// TestForcedEndLetsGo: a core that does not drain leaves nothing that consumes,
// and no hook that believes to own something.
func TestForcedEndLetsGo(t *testing.T) {
	for name, stop := range map[string]func(*testing.T, *applyScript){
		"killed": func(t *testing.T, s *applyScript) {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			err := s.Stop(ctx)
			if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "gave up on releasing") {
				t.Errorf("Stop: %v", err)
			}
			if n := len(seen[core.Abort](s.core)); n != 2 {
				t.Errorf("the core was told %d times", n)
			}
		},
		"ended by itself": func(_ *testing.T, s *applyScript) {
			s.post(cue(1))
			<-s.Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newApplyScript(t, nil, apply("a", "b"))
				script := s.core.on
				s.core.on = func(ev core.Event) ([]core.Effect, bool) {
					switch ev := ev.(type) {
					case core.Stop, core.Abort:
						return nil, true
					case core.Applied:
						if ev == cue(1) {
							return []core.Effect{core.Ended{Fault: &core.Fault{Kind: core.FaultForeignApp}}}, true
						}
					}
					return script(ev)
				}
				s.mustStart(t)
				s.post(cue(0))
				synctest.Wait()
				stop(t, s)
				synctest.Wait()
				if got, want := s.got(), "worker-1=a,b; +a,b -; worker-1=; + -a,b"; got != want {
					t.Errorf("calls\n%s, want\n%s", got, want)
				}
				if s.store.closed.Load() != 1 {
					t.Error("the store is open")
				}
			})
		})
	}
}

// TestUpdaterThatHoldsUpTheEnd: its context ends, and it is told to let go.
func TestUpdaterThatHoldsUpTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newApplyScript(t, func(ctx context.Context, ids []string) error {
			if len(ids) > 0 {
				<-ctx.Done()
				return ctx.Err()
			}
			return ctx.Err()
		}, apply("a"))
		s.mustStart(t)
		s.post(cue(0))
		synctest.Wait()
		s.mustStop(t) // the core of this test does not drain
		synctest.Wait()
		if got, want := s.got(), "worker-1=a; worker-1="; got != want {
			t.Errorf("calls\n%s, want\n%s", got, want)
		}
	})
}

func TestStartThatIsCancelledEndsTheContextOfHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t, WithHooks(&Hooks{OnAssignmentChanged: func(ctx context.Context, _, _ []Partition) error {
			<-ctx.Done()
			return nil
		}}))
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			switch ev := ev.(type) {
			case core.Start:
				a := apply("a")
				a.Seq = 1
				return []core.Effect{a}, true
			case core.Abort:
				return nil, true
			case core.Applied:
				if ev.Seq == 1 {
					return []core.Effect{core.Ended{}}, true
				}
			}
			return nil, false
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := m.Start(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestStoreOfACancelledStartIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		ctx, cancel := context.WithCancel(t.Context())
		m.open = func(context.Context) (kvStore, error) { cancel(); return m.store, nil }
		if err := m.Start(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if m.store.closed.Load() != 1 {
			t.Error("the store is open")
		}
	})
}

func TestLostBucketsAreCreatedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		told := 0
		m := newTestManager(t, WithHooks(&Hooks{OnError: func(_ context.Context, err error) error {
			if told++; !errors.Is(err, ErrBucketUnusable) {
				t.Errorf("told %v", err)
			}
			return nil
		}}))
		gone := fmt.Errorf("%w: %w", natskv.ErrRefused, natskv.ErrBucketGone)
		m.store.do = func(context.Context, core.Verb, int, string) (natskv.Entry, error) { return natskv.Entry{}, gone }
		m.store.watch = func(context.Context, string, func(natskv.Event)) (func(), error) { return nil, gone }
		m.onCue(func(n uint64) []core.Effect {
			if n == 0 {
				return []core.Effect{core.Watch{ID: 1}}
			}
			return []core.Effect{core.KV{Op: core.OpID(n), Timeout: time.Second}}
		})
		m.mustStart(t)
		began := time.Now()
		m.store.rebind = func(context.Context) error {
			if at = append(at, time.Since(began)); len(at) == 1 {
				return natskv.ErrBucket
			}
			return nil
		}
		for n := range uint64(16) {
			m.post(cue(n))
			pass(100 * time.Millisecond)
		}
		if len(at) != 2 || at[0] != 0 || at[1] < rebindEvery || told != 1 {
			t.Errorf("attempts at %v, %d told", at, told)
		}
		if d := doneOf(m.core)[1]; d.Err != core.Failed {
			t.Errorf("the core is told %+v", d)
		}
		m.mustStop(t)
	})
}

// TestStartedTooLate: a Start that has given up stays a failure, and may be
// repeated, though the worker comes to work in the same moment.
func TestStartedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTestManager(t)
		m.core.on = func(ev core.Event) ([]core.Effect, bool) {
			switch ev.(type) {
			case core.Start:
				return nil, true
			case core.Abort:
				return []core.Effect{core.Started{}, core.Ended{}}, true
			}
			return nil, false
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := m.Start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		m.core.on = nil
		m.mustStart(t)
		m.mustStop(t)
	})
}
