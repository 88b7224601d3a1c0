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

// runScript is a manager whose core emits the assignments of a test, and what
// happens in it, in order.
type runScript struct {
	*testManager
	mu    sync.Mutex
	lines []string
	errs  []error
}

func (s *runScript) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// took returns what was noted since the last call.
func (s *runScript) took() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	lines := strings.Join(s.lines, "; ")
	s.lines = nil
	return lines
}

func (s *runScript) expect(t *testing.T, want string) {
	t.Helper()
	if got := s.took(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// expectAll is expect in any order.
func (s *runScript) expectAll(t *testing.T, want string) {
	t.Helper()
	got := strings.Split(s.took(), "; ")
	slices.Sort(got)
	if all := strings.Join(got, "; "); all != want {
		t.Errorf("got %q, want %q", all, want)
	}
}

func (s *runScript) errors() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.errs)
}

// newRunScript has a core that emits the assignments, and ends a Stop when what
// it takes away has been let go.
func newRunScript(t *testing.T, assignments ...core.Apply) *runScript {
	t.Helper()
	s := &runScript{}
	s.testManager = newTestManager(t, WithHooks(&Hooks{
		OnError: func(_ context.Context, err error) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.errs = append(s.errs, err)
			return nil
		},
	}))
	const last = 1 << 30
	s.core.set(func(snap *core.Snapshot) { snap.Worker = "worker-1" })
	s.core.on = func(ev core.Event) ([]core.Effect, bool) {
		switch ev := ev.(type) {
		case core.Stop, core.Abort:
			return []core.Effect{core.Apply{Seq: last}}, true
		case core.Applied:
			if ev.Seq == last {
				s.note("let go")
				return []core.Effect{s.core.state(core.Shutdown), core.Ended{}}, true
			}
			if ev.Seq < cueBase {
				s.note("applied %d", ev.Seq)
				return nil, true
			}
			a := assignments[ev.Seq-cueBase]
			a.Seq, a.Version = ev.Seq-cueBase+1, ev.Seq-cueBase+1
			return []core.Effect{a}, true
		}
		return nil, false
	}
	return s
}

// run begins Run, which calls f after it has noted the call. Without f a call
// lasts until its context ends.
func (s *runScript) run(ctx context.Context, f func(ctx context.Context, p Partition) error) <-chan error {
	result := make(chan error, 1)
	go func() {
		result <- s.Run(ctx, func(ctx context.Context, p Partition, tok Token) error {
			if u, ok := TokenFromContext(ctx); !ok || u != tok {
				s.note("token %v in the context, %v given", u, tok)
			}
			s.note("%s@%v", p, tok)
			defer s.note("%s ends", p)
			if f != nil {
				return f(ctx, p)
			}
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	synctest.Wait()
	return result
}

// granted is an assignment of partitions, each under a token of its own.
func granted(grants ...string) core.Apply {
	a := apply()
	for _, g := range grants {
		var o core.Owned
		id, version, _ := strings.Cut(g, "@")
		o.ID, o.Weight = id, 1
		o.Token.Term = 1
		_, _ = fmt.Sscan(version, &o.Token.Version)
		a.Owned = append(a.Owned, o)
	}
	return a
}

func TestRunFollowsTheAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1"), granted("a@1", "b@2"), granted("b@2"), granted("b@4"))
		ctx, cancel := context.WithCancel(t.Context())
		result := s.run(ctx, nil)
		s.post(cue(0))
		s.expectAll(t, "a@1.1; applied 1")
		s.post(cue(1))
		s.expectAll(t, "applied 2; b@1.2")
		s.post(cue(2))
		s.expect(t, "a ends; applied 3")
		s.post(cue(3)) // the same partition under a new token
		if got := s.took(); !strings.Contains(got, "b ends; b@1.4") {
			t.Errorf("got %q", got)
		}
		cancel()
		s.expect(t, "b ends; let go")
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// TestRunIsWaitedFor: what a call still does delays the acknowledgement, and
// nothing else; and a partition that comes back meanwhile is not called twice.
func TestRunIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1"), granted("b@2"), granted("a@3", "b@2"))
		gate := make(chan struct{})
		result := s.run(t.Context(), func(ctx context.Context, p Partition) error {
			<-ctx.Done()
			s.note("%s is told", p)
			if p.ID() == "a" {
				<-gate
			}
			return nil
		})
		s.post(cue(0))
		s.expectAll(t, "a@1.1; applied 1")
		s.post(cue(1))
		s.expectAll(t, "a is told; b@1.2")
		pass(s.cfg.HandoffTimeout - time.Millisecond)
		if errs := s.errors(); len(errs) > 0 {
			t.Errorf("reported %v", errs)
		}
		pass(time.Hour)
		errs := s.errors()
		if len(errs) != 1 || !errors.Is(errs[0], ErrRunLate) || !errors.Is(errs[0], ErrRun) {
			t.Fatalf("reported %v", errs)
		}
		if e, ok := errors.AsType[*RunError](errs[0]); !ok || e.Partition.ID() != "a" || e.Token != (Token{1, 1}) {
			t.Errorf("reported %#v", errs[0])
		}
		s.expect(t, "")
		s.post(cue(2)) // it comes back
		s.expect(t, "applied 3")
		close(gate)
		s.expect(t, "a ends; a@1.3")
		s.mustStop(t)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestRunIsRepeatedWithBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1", "b@2"))
		boom := errors.New("boom")
		began := time.Now()
		var at []time.Duration
		s.run(t.Context(), func(ctx context.Context, p Partition) error {
			if p.ID() == "b" {
				return nil // its work is done
			}
			switch at = append(at, time.Since(began)); {
			case len(at) == 2:
				panic(boom)
			case len(at) <= 9:
				return boom
			case len(at) == 10:
				time.Sleep(lastRetry)
				return boom
			}
			<-ctx.Done()
			return ctx.Err()
		})
		s.post(cue(0))
		pass(2 * time.Minute)
		if len(at) != 11 {
			t.Fatalf("called %d times", len(at))
		}
		for i, longest := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5100} {
			longest *= time.Millisecond
			wait := at[i+1] - at[i]
			if i == 9 { // it lasted
				wait, longest = wait-lastRetry, firstRetry
			}
			if wait < longest/2 || wait > longest*3/2 {
				t.Errorf("pause %d was %v, want about %v", i, wait, longest)
			}
		}
		errs := s.errors()
		if len(errs) != 10 {
			t.Errorf("reported %v", errs)
		}
		for _, err := range errs {
			e, ok := errors.AsType[*RunError](err)
			if !ok || !errors.Is(err, boom) || !errors.Is(err, ErrRun) || e.Partition.ID() != "a" {
				t.Errorf("reported %v", err)
			}
		}
		s.mustStop(t)
		if n := strings.Count(s.took(), "b@"); n != 1 {
			t.Errorf("work that is done was called %d times", n)
		}
	})
}

// TestRunReportsWhatComesAfterTheEnd: an error that is not the end of the context
// is one, also when the context has ended.
func TestRunReportsWhatComesAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1"))
		lost := errors.New("could not flush")
		s.run(t.Context(), func(ctx context.Context, _ Partition) error {
			<-ctx.Done()
			return lost
		})
		s.post(cue(0))
		synctest.Wait()
		s.mustStop(t)
		if errs := s.errors(); len(errs) != 1 || !errors.Is(errs[0], lost) {
			t.Errorf("reported %v", errs)
		}
	})
}

// TestRunBeginsNothingAfterTheLease: the loop may be late to know that the lease
// has ended; a call is not begun.
func TestRunBeginsNothingAfterTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1"))
		s.core.set(func(snap *core.Snapshot) { snap.LeaseEnd = 1 })
		s.run(t.Context(), nil)
		pass(time.Second)
		s.post(cue(0))
		pass(time.Minute)
		s.expect(t, "applied 1")
		// It was renewed after all.
		s.core.set(func(snap *core.Snapshot) { snap.LeaseEnd = time.Hour })
		s.post(core.Tick{})
		pass(10 * time.Second)
		s.expect(t, "a@1.1")
		s.mustStop(t)
	})
}

func TestLeaseHeld(t *testing.T) {
	for _, mode := range []Ownership{OwnershipAvailable, OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newRunScript(t, granted("a@1"))
				s.cfg.Ownership = mode
				exclusive := mode == OwnershipExclusive
				if exclusive {
					s.core.set(func(snap *core.Snapshot) { snap.LeaseEnd = time.Hour })
				}
				var ctxs []context.Context
				s.opts.updater = updaterFunc(func(ctx context.Context, _ string, ps []Partition) error {
					for _, p := range ps {
						ctxs = append(ctxs, PartitionContext(ctx, p))
					}
					return nil
				})
				s.run(t.Context(), func(ctx context.Context, _ Partition) error {
					ctxs = append(ctxs, ctx)
					<-ctx.Done()
					return nil
				})
				s.post(cue(0))
				synctest.Wait()
				if len(ctxs) != 2 {
					t.Fatalf("%d contexts", len(ctxs))
				}
				check := func(want bool, when string) {
					t.Helper()
					for i, ctx := range ctxs {
						if LeaseHeld(ctx) != want {
							t.Errorf("context %d, %s: %v", i, when, !want)
						}
					}
				}
				check(true, "with a lease")
				if exclusive { // nobody is told: the clock alone decides
					pass(time.Hour - time.Minute)
					check(true, "shortly before its end")
					pass(2 * time.Minute)
					check(false, "after its end")
					s.core.set(func(snap *core.Snapshot) { snap.LeaseEnd = 2 * time.Hour })
					s.post(core.Tick{})
					synctest.Wait()
					check(true, "renewed")
				}
				s.mustStop(t)
				check(!exclusive, "after Stop")
			})
		})
	}
	if !LeaseHeld(t.Context()) {
		t.Error("a context of no manager needs no lease")
	}
}

func TestRunBesideUpdaterAndHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1"), granted("b@2"))
		token := func(ctx context.Context, p Partition) string {
			if _, ok := TokenFromContext(ctx); ok {
				return "no partition's"
			}
			tok, ok := TokenFromContext(PartitionContext(ctx, p))
			return fmt.Sprint(tok, ok)
		}
		a := Partition{Keys: []string{"a"}}
		s.opts.updater = updaterFunc(func(ctx context.Context, _ string, ps []Partition) error {
			s.note("updater %v %s", idsOf(ps), token(ctx, a))
			return nil
		})
		s.opts.hooks.OnAssignmentChanged = func(ctx context.Context, added, removed []Partition) error {
			s.note("hook +%v -%v %s", idsOf(added), idsOf(removed), token(ctx, a))
			return nil
		}
		s.mustStart(t)
		s.post(cue(0))
		s.expect(t, "updater [a] 1.1 true; hook +[a] -[] 1.1 true; applied 1")
		gate := make(chan struct{})
		result := s.run(t.Context(), func(ctx context.Context, _ Partition) error {
			<-ctx.Done()
			<-gate
			return nil
		})
		s.expect(t, "a@1.1") // Run after Start
		s.post(cue(1))
		if got := s.took(); !strings.Contains(got, "updater [b] 0.0 false") || strings.Contains(got, "hook") {
			t.Errorf("got %q while a call runs", got)
		}
		close(gate)
		s.expect(t, "a ends; hook +[b] -[a] 0.0 false; applied 2")
		s.mustStop(t)
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

// TestRunEndsAtOnce: a context ends when the loss arrives, not when it is the
// loss's turn to be applied: an earlier assignment may be stuck.
func TestRunEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRunScript(t, granted("a@1", "b@1"), granted("b@1"))
		gate := make(chan struct{})
		s.opts.updater = updaterFunc(func(context.Context, string, []Partition) error { <-gate; return nil })
		s.run(t.Context(), nil)
		s.post(cue(0))
		s.expectAll(t, "a@1.1; b@1.1")
		s.post(cue(1))
		s.expect(t, "a ends")
		close(gate)
		s.expect(t, "applied 1; applied 2")
		s.mustStop(t)
	})
}

func TestPartitionContextOfAnyOther(t *testing.T) {
	if _, ok := TokenFromContext(PartitionContext(t.Context(), Partition{Keys: []string{"a"}})); ok {
		t.Error("a token from nowhere")
	}
}

func TestRunCases(t *testing.T) {
	nothing := func(ctx context.Context, _ Partition, _ Token) error { <-ctx.Done(); return nil }
	for name, test := range map[string]func(t *testing.T, s *runScript){
		"without a function": func(t *testing.T, s *runScript) {
			if err := s.Run(t.Context(), nil); !errors.Is(err, ErrRunFunctionRequired) {
				t.Error(err)
			}
		},
		"after Stop": func(t *testing.T, s *runScript) {
			s.mustStop(t)
			if err := s.Run(t.Context(), nothing); !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		},
		"twice": func(t *testing.T, s *runScript) {
			first := s.run(t.Context(), nil)
			if err := s.Run(t.Context(), nothing); !errors.Is(err, ErrAlreadyStarted) {
				t.Error(err)
			}
			s.mustStop(t)
			if err := <-first; err != nil {
				t.Error(err)
			}
		},
		"when Start fails, then again": func(t *testing.T, s *runScript) {
			s.open = func(context.Context) (kvStore, error) { return nil, ErrBucketUnusable }
			if err := s.Run(t.Context(), nothing); !errors.Is(err, ErrBucketUnusable) {
				t.Error(err)
			}
			s.open = func(context.Context) (kvStore, error) { return s.store, nil }
			ctx, cancel := context.WithCancel(t.Context())
			result := s.run(ctx, nil)
			s.post(cue(0))
			s.expectAll(t, "a@1.1; applied 1")
			cancel()
			if err := <-result; err != nil {
				t.Error(err)
			}
		},
		"when ctx has ended": func(t *testing.T, s *runScript) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Run(ctx, nothing); err != nil {
				t.Error(err)
			}
			if err := s.Start(t.Context()); !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		},
		"when ctx ends while it starts": func(t *testing.T, s *runScript) {
			s.open = func(ctx context.Context) (kvStore, error) { <-ctx.Done(); return nil, context.Cause(ctx) }
			ctx, cancel := context.WithCancel(t.Context())
			result := s.run(ctx, nil)
			synctest.Wait()
			cancel()
			if err := <-result; err != nil {
				t.Error(err)
			}
			if err := s.Start(t.Context()); !errors.Is(err, ErrStopped) {
				t.Error(err)
			}
		},
		"while another Start works, which fails": func(t *testing.T, s *runScript) {
			gate := make(chan struct{})
			s.open = func(context.Context) (kvStore, error) { <-gate; return nil, ErrBucketUnusable }
			started := make(chan error, 1)
			go func() { started <- s.Start(t.Context()) }()
			synctest.Wait()
			result := s.run(t.Context(), nil)
			close(gate)
			if err := <-result; err == nil {
				t.Error("no error")
			}
			if err := <-started; !errors.Is(err, ErrBucketUnusable) {
				t.Error(err)
			}
		},
		"stopped by its function": func(t *testing.T, s *runScript) {
			var stopped error
			result := s.run(t.Context(), func(ctx context.Context, _ Partition) error {
				stopped = s.Stop(ctx)
				return ctx.Err()
			})
			began := time.Now()
			s.post(cue(0))
			if err := <-result; err != nil || stopped != nil || time.Since(began) > 0 {
				t.Errorf("Run: %v, Stop: %v, after %v", err, stopped, time.Since(began))
			}
		},
		"whose function ignores its context": func(t *testing.T, s *runScript) {
			ctx, cancel := context.WithCancel(t.Context())
			gate := make(chan struct{})
			result := s.run(ctx, func(context.Context, Partition) error { <-gate; return nil })
			s.post(cue(0))
			synctest.Wait()
			cancel()
			if err := <-result; err == nil || !strings.Contains(err.Error(), "Run on a") {
				t.Error(err)
			}
			close(gate)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, newRunScript(t, granted("a@1"))) })
		})
	}
}

func TestRunFromAHook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m *testManager
		got := make(chan error, 1)
		m = newTestManager(t, WithHooks(&Hooks{OnStateChanged: func(ctx context.Context, _, to State) error {
			if to == StateStable {
				got <- m.Run(ctx, func(context.Context, Partition, Token) error { return nil })
			}
			return nil
		}}))
		m.mustStart(t)
		if err := <-got; !errors.Is(err, ErrInHook) {
			t.Error(err)
		}
		m.mustStop(t)
	})
}
