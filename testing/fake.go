package testing

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arloliu/parti"
)

// FakeOptions configures a [Fake]. The zero value is useful.
type FakeOptions struct {
	// WorkerID is the id after Start. Default "worker-0".
	WorkerID string
	// Partitions is the first assignment, in force when Start returns.
	Partitions []parti.Partition
	// Hooks and Updater are the code under test.
	Hooks   *parti.Hooks
	Updater parti.WorkerConsumerUpdater
	// Logger is told of errors and panics of hooks. Default: nobody.
	Logger parti.Logger
	// StartErr, when set, is what Start returns, such as
	// parti.ErrStableIDExhausted.
	StartErr error
	// OnRefresh, when set, answers RefreshPartitions.
	OnRefresh func(ctx context.Context) error
	// ShutdownTimeout bounds Stop. Default 10 s.
	ShutdownTimeout time.Duration
}

// Fake stands in for a *parti.Manager without NATS: it has the same methods,
// and the test decides what it is granted and what befalls it. Code under test
// that takes a small interface of its own, with the methods it needs, runs with
// both; see the example.
//
// It keeps the rules of the manager: the updater is called first, with all that
// is owned, and OnAssignmentChanged after it has returned, with the exact
// difference; [Fake.Owns] says no to a revoked partition before either is told;
// tokens only rise; hooks run one at a time, on a goroutine that is not the
// test's, assignment hooks apart from all others; their context ends with Stop;
// errors and panics of hooks are logged and change nothing.
//
// Unlike the manager it never does anything by itself, and the methods that
// inject something (Grant, Revoke, SetState, Degrade, …) return only when the
// code under test has been told, so that a test needs no waiting. They must not
// be called from a hook or an updater, which would wait for itself; the methods
// that the manager has too may be. All methods may be called from any goroutine.
type Fake struct {
	opts  FakeOptions
	hooks parti.Hooks

	// Who calls the updater or a hook holds the lane: assignments for the
	// updater and OnAssignmentChanged, events for the others.
	assignments, events lane
	ctx                 context.Context // of hooks and updater calls before Stop
	cancel              context.CancelFunc

	mu      sync.Mutex // never held while users' code runs
	changed chan struct{}
	phase   phase
	done    chan struct{}
	err     error // why it ended by itself
	stopErr error // what Stop returns

	state     parti.State
	resume    parti.State // to return to from degraded
	id        string
	claims    int // ids claimed so far
	leader    bool
	term      uint64
	version   uint64
	owned     map[string]held // by partition id
	told      map[string]held // what the hook has been told
	waiting   []parti.Partition
	refreshes int
}

type held struct {
	partition parti.Partition
	token     parti.Token
}

type phase int

const (
	phaseNew phase = iota
	phaseRunning
	phaseStopping
)

// NewFake returns a fake that has not been started.
func NewFake(opts FakeOptions) *Fake {
	if opts.WorkerID == "" {
		opts.WorkerID = "worker-0"
	}
	if opts.ShutdownTimeout <= 0 {
		opts.ShutdownTimeout = 10 * time.Second
	}
	f := &Fake{
		opts:        opts,
		assignments: newLane(),
		events:      newLane(),
		changed:     make(chan struct{}),
		done:        make(chan struct{}),
		term:        1,
		owned:       map[string]held{},
	}
	if opts.Hooks != nil {
		f.hooks = *opts.Hooks
	}
	f.ctx, f.cancel = context.WithCancel(context.WithValue(context.Background(), hookKey{}, f))
	return f
}

// Start claims the id, passes through the states of a start and puts the first
// assignment into force, which the updater is told even when it is empty.
func (f *Fake) Start(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	f.mu.Lock()
	switch {
	case f.phase == phaseStopping:
		f.mu.Unlock()
		return parti.ErrStopped
	case f.phase == phaseRunning:
		f.mu.Unlock()
		return parti.ErrAlreadyStarted
	case f.opts.StartErr != nil:
		f.mu.Unlock()
		return f.opts.StartErr
	}
	f.phase = phaseRunning
	f.mu.Unlock()

	f.enter(f.now(), parti.StateClaimingID)
	f.claim()
	f.enter(f.now(), parti.StateElection)
	f.enter(f.now(), parti.StateWaitingAssignment)
	// What the updater and the hook answer is theirs to report, as in a manager.
	_ = f.assign(f.now(), func() { f.grant(f.opts.Partitions) })
	f.enter(f.now(), parti.StateStable)
	return nil
}

// claim takes the next id: the configured one, then its successors.
func (f *Fake) claim() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.id = f.opts.WorkerID
	if f.claims > 0 {
		prefix, number := f.id, 0
		if i := strings.LastIndexByte(f.id, '-'); i >= 0 {
			if _, err := fmt.Sscanf(f.id[i+1:], "%d", &number); err == nil {
				prefix = f.id[:i]
			}
		}
		f.id = fmt.Sprintf("%s-%d", prefix, number+f.claims)
	}
	f.claims++
}

// Stop gives everything up: the contexts of hooks that still run end, the
// updater is told that nothing is owned, the hook that all is removed, both with
// a context that ends with ctx or ShutdownTimeout. It may be called again, and
// before Start. Given the context of a hook it returns at once and the rest
// happens when that hook has returned; wait for [Fake.Done].
func (f *Fake) Stop(ctx context.Context) error { return f.end(ctx, nil) }

func (f *Fake) end(ctx context.Context, cause error) error {
	inHook := f.inHook(ctx)
	bound := ctx
	if inHook { // which is cancelled by what follows
		bound = context.WithoutCancel(ctx)
	}
	bound, cancel := context.WithTimeout(bound, f.opts.ShutdownTimeout)
	f.mu.Lock()
	first, running := f.phase != phaseStopping, f.phase == phaseRunning
	f.phase = phaseStopping
	if first {
		f.err = cause
	}
	f.mu.Unlock()
	if first {
		f.cancel()
		go func() {
			defer cancel()
			f.finish(bound, running)
		}()
	} else {
		defer cancel()
	}
	if inHook {
		return nil
	}
	select {
	case <-f.done:
	case <-bound.Done(): // by itself, or because finish has ended
	}
	select {
	case <-f.done:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.stopErr
	default:
		return fmt.Errorf("stop: %w", bound.Err())
	}
}

// finish tells the code under test that the end has come, for as long as ctx
// lasts.
func (f *Fake) finish(ctx context.Context, running bool) {
	defer close(f.done)
	last := call{wait: ctx, hooks: context.WithValue(ctx, hookKey{}, f), last: true}
	f.enter(last, parti.StateShutdown)
	if running {
		_ = f.assign(last, func() { clear(f.owned) })
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		f.stopErr = fmt.Errorf("stop: %w", err)
	}
	clear(f.owned) // even if nobody could be told
	f.id, f.leader = "", false
}

// WorkerID returns the id held, or "" before Start and after Stop.
func (f *Fake) WorkerID() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// IsLeader reports what SetLeader set.
func (f *Fake) IsLeader() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader
}

// State returns the current state.
func (f *Fake) State() parti.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state
}

// CurrentAssignment returns what is owned.
func (f *Fake) CurrentAssignment() parti.Assignment {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := parti.Assignment{Term: f.term, Version: f.version, Lifecycle: parti.LifecycleStable, Partitions: partitionsOf(f.owned)}
	switch f.version {
	case 0:
		a.Term, a.Lifecycle = 0, parti.LifecycleColdStart
	case 1:
		a.Lifecycle = parti.LifecyclePostColdStart
	}
	return a
}

// Owns returns the token under which p, or the partition with its keys, is
// owned, and whether it is.
func (f *Fake) Owns(p parti.Partition) (parti.Token, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, ok := f.owned[p.ID()]
	return h.token, ok
}

// RefreshPartitions counts the call, see [Fake.Refreshes], and asks OnRefresh.
func (f *Fake) RefreshPartitions(ctx context.Context) error {
	f.mu.Lock()
	err := f.usable()
	if err == nil {
		f.refreshes++
	}
	f.mu.Unlock()
	if err != nil || f.opts.OnRefresh == nil {
		return err
	}
	return f.opts.OnRefresh(ctx)
}

// usable says why the fake cannot be used, with the mutex held.
func (f *Fake) usable() error {
	switch f.phase {
	case phaseNew:
		return parti.ErrNotStarted
	case phaseStopping:
		return parti.ErrStopped
	case phaseRunning:
	}
	return nil
}

// WaitState waits until the state is s. It returns parti.ErrStopped when that
// can never be, and parti.ErrInHook when ctx is that of a hook.
func (f *Fake) WaitState(ctx context.Context, s parti.State) error {
	if f.inHook(ctx) {
		return parti.ErrInHook
	}
	for {
		f.mu.Lock()
		state, phase, changed := f.state, f.phase, f.changed
		f.mu.Unlock()
		switch {
		case state == s:
			return nil
		case phase == phaseStopping && s != parti.StateShutdown:
			return parti.ErrStopped
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for state %v: %w", s, ctx.Err())
		}
	}
}

// Done is closed when the fake has ended, by Stop or by Fail.
func (f *Fake) Done() <-chan struct{} { return f.done }

// Err returns what Fail was given, once Done is closed; nil after Stop.
func (f *Fake) Err() error {
	select {
	case <-f.done:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.err
	default:
		return nil
	}
}

// partitionsOf returns the partitions in ascending order of their ids.
func partitionsOf(m map[string]held) []parti.Partition {
	ps := make([]parti.Partition, 0, len(m))
	for _, id := range slices.Sorted(maps.Keys(m)) {
		p := m[id].partition
		p.Keys = slices.Clone(p.Keys)
		ps = append(ps, p)
	}
	return ps
}
