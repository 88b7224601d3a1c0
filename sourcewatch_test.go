package parti

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// watchedSource is a source whose watch a test writes.
type watchedSource struct {
	sourceFunc
	watch func(ctx context.Context, changed func()) error

	mu    sync.Mutex
	began []time.Duration // when watches began
	runs  int             // how many run now
	from  time.Time
}

func (s *watchedSource) WatchPartitions(ctx context.Context, changed func()) error {
	s.mu.Lock()
	s.began = append(s.began, time.Since(s.from))
	s.runs++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.runs--
		s.mu.Unlock()
	}()
	if s.watch == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.watch(ctx, changed)
}

func (s *watchedSource) watches() (began []time.Duration, running int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.began), s.runs
}

// newWatchTest makes a manager on a core that leads as lead says.
func newWatchTest(t *testing.T, s *watchedSource, opts ...Option) (m *testManager, lead func(bool)) {
	t.Helper()
	m = newTestManager(t, opts...)
	s.from = time.Now()
	m.source = s
	return m, func(yes bool) {
		t.Helper()
		m.core.set(func(s *core.Snapshot) { s.Leader = yes })
		m.post(cue(0))
		synctest.Wait()
	}
}

func TestOnlyTheLeaderWatchesItsSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &watchedSource{}
		m, lead := newWatchTest(t, s)
		m.mustStart(t)
		synctest.Wait()
		if began, _ := s.watches(); len(began) != 0 {
			t.Error("a follower watches its source")
		}
		if names, _ := m.run.own.names(""); len(names) != 1 {
			t.Errorf("goroutines of a follower: %v", names)
		}
		for i := 1; i <= 3; i++ {
			lead(true)
			lead(true)
			if began, running := s.watches(); len(began) != i || running != 1 {
				t.Errorf("leadership %d: %d watches began, %d run", i, len(began), running)
			}
			lead(false)
			if _, running := s.watches(); running != 0 {
				t.Error("the watch goes on after the leadership")
			}
			if names, _ := m.run.own.names(""); len(names) != 1 {
				t.Errorf("goroutines after the leadership: %v", names)
			}
		}
		lead(true)
		m.mustStop(t)
		if _, running := s.watches(); running != 0 {
			t.Error("the watch goes on after Stop")
		}
	})
}

func TestAnnouncementsAreTakenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		announce := make(chan func(), 1)
		s := &watchedSource{watch: func(ctx context.Context, changed func()) error {
			announce <- changed
			<-ctx.Done()
			return nil
		}}
		m, lead := newWatchTest(t, s)
		m.mustStart(t)
		lead(true)
		changed := <-announce
		count := func() int { return len(seen[core.ListChanged](m.core)) }
		want := func(n int, when string) {
			t.Helper()
			synctest.Wait()
			if got := count(); got != n {
				t.Errorf("%s: %d reads asked for, want %d", when, got, n)
			}
		}
		changed()
		want(1, "after the first one")
		for range 100 {
			changed()
		}
		want(1, "a hundred at once")
		pass(announceGap)
		want(2, "a gap after them")
		pass(time.Minute)
		want(2, "after a quiet minute")
		changed()
		want(3, "after the next one")
		lead(false)
		changed() // late, and harmless
		pass(time.Minute)
		want(3, "after the leadership")
		m.mustStop(t)
		changed()
	})
}

func TestWatchThatEndsIsBegunAnew(t *testing.T) {
	away := errors.New("the database is away")
	for name, test := range map[string]struct {
		end  func() error
		text string
		is   error
	}{
		"error":   {func() error { return away }, "the database is away", away},
		"nil":     {func() error { return nil }, "its context had not ended", nil},
		"panic":   {func() error { panic(away) }, "panic", away},
		"timeout": {func() error { return context.DeadlineExceeded }, "deadline", context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &watchedSource{}
				s.watch = func(ctx context.Context, _ func()) error {
					if began, _ := s.watches(); len(began) == 9 { // one that holds for long
						pass(rewatchMost)
					}
					return test.end()
				}
				var mu sync.Mutex
				var errs []error
				m, lead := newWatchTest(t, s, WithHooks(&Hooks{OnError: func(_ context.Context, err error) error {
					mu.Lock()
					defer mu.Unlock()
					errs = append(errs, err)
					return nil
				}}))
				m.mustStart(t)
				lead(true)
				pass(200 * time.Second)
				began, _ := s.watches()
				var at []int
				for _, b := range began {
					at = append(at, int(b/time.Second))
				}
				if want := []int{0, 1, 3, 7, 15, 31, 61, 91, 121, 152, 154, 158, 166, 182}; !slices.Equal(at, want) {
					t.Errorf("watches began at %v s, want %v", at, want)
				}
				lead(false)
				m.mustStop(t)
				mu.Lock()
				defer mu.Unlock()
				if len(errs) != len(began) {
					t.Errorf("%d errors for %d watches", len(errs), len(began))
				}
				for _, err := range errs {
					if !errors.Is(err, ErrSource) || !strings.Contains(err.Error(), test.text) || test.is != nil && !errors.Is(err, test.is) {
						t.Errorf("reported %v", err)
					}
				}
			})
		})
	}
}

// TestWatchThatIgnoresItsEnd: no second one runs beside it, and Stop names it.
func TestWatchThatIgnoresItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		s := &watchedSource{watch: func(context.Context, func()) error { <-free; return nil }}
		m, lead := newWatchTest(t, s)
		m.mustStart(t)
		lead(true)
		lead(false)
		lead(true)
		pass(10 * time.Second)
		if began, _ := s.watches(); len(began) != 1 {
			t.Errorf("%d watches at a time", len(began))
		}
		lines := m.log.with("recoverable error")
		if len(lines) == 0 || !strings.Contains(lines[0].value("error").(error).Error(), "has not returned after") {
			t.Errorf("logged %v", lines)
		}
		m.mustStop(t)
		if lines := m.log.with("stopped, while users' code ignores the end of its context"); len(lines) != 1 {
			t.Errorf("Stop says %v", lines)
		}
		close(free)
	})
}
