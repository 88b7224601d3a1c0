package parti

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Names of the two lanes, as errors of Stop show them.
const (
	laneAssignment = "OnAssignmentChanged hook"
	laneOther      = "OnStateChanged, OnError or OnDegradedAlert hook"
)

// maxErrors is how many errors may wait for OnError.
const maxErrors = 64

// hookRunner calls hooks in order, those for assignments on one lane and all
// others on a second one.
//
// A call has a context that ends with the run, and also when a Stop begins
// after it: see [callContext]. The context tells the manager's methods that they
// are called from a hook.
type hookRunner struct {
	hooks  Hooks
	assign lane
	other  lane
}

func newHookRunner(m *Manager, users *tasks, ctx *callContext, log Logger) *hookRunner {
	mk := func(name string) lane {
		runs := &m.health.otherHook
		if name == laneAssignment {
			runs = &m.health.assignHook
		}
		return lane{name: name, users: users, log: log, runs: runs, ctx: func() context.Context {
			return context.WithValue(ctx.current(), hookKey{m}, name)
		}}
	}
	return &hookRunner{hooks: m.opts.hooks, assign: mk(laneAssignment), other: mk(laneOther)}
}

// assignmentChanged calls OnAssignmentChanged; the channel is closed when it
// has returned.
func (h *hookRunner) assignmentChanged(added, removed []Partition) <-chan struct{} {
	done := make(chan struct{})
	if h.hooks.OnAssignmentChanged == nil {
		close(done)
		return done
	}
	h.assign.push(hookCall{name: "OnAssignmentChanged", done: done, f: func(ctx context.Context) error {
		return h.hooks.OnAssignmentChanged(ctx, added, removed)
	}})
	return done
}

func (h *hookRunner) stateChanged(from, to State) {
	if h.hooks.OnStateChanged == nil {
		return
	}
	h.other.push(hookCall{name: "OnStateChanged", f: func(ctx context.Context) error {
		return h.hooks.OnStateChanged(ctx, from, to)
	}})
}

func (h *hookRunner) err(err error) {
	if h.hooks.OnError == nil {
		return
	}
	h.other.push(hookCall{name: "OnError", droppable: true, f: func(ctx context.Context) error {
		return h.hooks.OnError(ctx, err)
	}})
}

func (h *hookRunner) alert(level string, since time.Duration) {
	if h.hooks.OnDegradedAlert == nil {
		return
	}
	h.other.push(hookCall{name: "OnDegradedAlert", f: func(ctx context.Context) error {
		return h.hooks.OnDegradedAlert(ctx, level, since)
	}})
}

// lane makes calls one after another, on a goroutine that exists while there
// are any.
type lane struct {
	name  string
	users *tasks
	log   Logger
	ctx   func() context.Context
	runs  *atomic.Pointer[runningHook] // for Status

	mu      sync.Mutex
	queue   []hookCall
	active  bool
	errors  int // droppable calls in queue
	dropped int // since last logged
}

// runningHook is a call that has not returned.
type runningHook struct {
	name  string
	since time.Time
}

// hangs says for how long a call has not returned, or "" if that is not worth a word.
func hangs(runs *atomic.Pointer[runningHook]) string {
	if h := runs.Load(); h != nil {
		if d := time.Since(h.since); d > stuckAfter {
			return fmt.Sprintf("%s has not returned for %v", h.name, d.Round(time.Second))
		}
	}
	return ""
}

type hookCall struct {
	name      string
	f         func(context.Context) error
	droppable bool
	done      chan struct{} // closed when f has returned; may be nil
}

// push adds a call. Of the droppable ones at most maxErrors wait: the oldest
// goes.
func (l *lane) push(c hookCall) {
	l.mu.Lock()
	if c.droppable {
		if l.errors == maxErrors {
			i := slices.IndexFunc(l.queue, func(c hookCall) bool { return c.droppable })
			l.queue = slices.Delete(l.queue, i, i+1)
			l.errors--
			l.dropped++
		}
		l.errors++
	}
	l.queue = append(l.queue, c)
	begin := !l.active
	l.active = true
	l.mu.Unlock()
	if begin {
		l.users.start(l.name, l.run)
	}
}

func (l *lane) run() {
	for {
		c, dropped, ok := l.next()
		if dropped > 0 {
			l.log.Warn("OnError is slower than errors come, the oldest were dropped", "dropped", dropped)
		}
		if !ok {
			return
		}
		l.runs.Store(&runningHook{c.name, time.Now()})
		err := protect(c.name, func() error { return c.f(l.ctx()) })
		l.runs.Store(nil)
		if err != nil {
			l.log.Warn("hook failed", append([]any{"hook", c.name, "error", err}, stackOf(err)...)...)
		}
		if c.done != nil {
			close(c.done)
		}
	}
}

func (l *lane) next() (c hookCall, dropped int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dropped, l.dropped = l.dropped, 0
	if len(l.queue) == 0 {
		l.active, l.queue = false, nil
		return c, dropped, false
	}
	c = l.queue[0]
	l.queue[0] = hookCall{}
	l.queue = l.queue[1:]
	if c.droppable {
		l.errors--
	}
	return c, dropped, true
}

// hookKey marks the context of a hook of a manager; its value is the lane.
type hookKey struct{ m *Manager }

// hookOf returns the lane of the hook of m that ctx was given to, or "".
func hookOf(ctx context.Context, m *Manager) string {
	name, _ := ctx.Value(hookKey{m}).(string)
	return name
}

// callContext is the context that hooks get. When the manager shuts down, the
// calls that are running see it end; those that shutting down itself causes
// (what is given up must be told) get a new one, which ends with the run.
type callContext struct {
	base context.Context // of the run

	mu     sync.Mutex
	ctx    context.Context
	cancel context.CancelFunc
}

func newCallContext(base context.Context) *callContext {
	c := &callContext{base: base}
	c.ctx, c.cancel = context.WithCancel(base)
	return c
}

func (c *callContext) current() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ctx
}

// renew ends the context of all calls begun so far.
func (c *callContext) renew() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancel()
	c.ctx, c.cancel = context.WithCancel(c.base)
}
