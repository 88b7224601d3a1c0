package parti

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/core"
)

// Manager makes this process a worker of a fleet: see the package comment. Its
// methods are safe for concurrent use and may be called from [Hooks]. [Manager.WorkerID],
// [Manager.IsLeader], [Manager.State], [Manager.Status], [Manager.CurrentAssignment]
// and [Manager.Owns] never block and may be called at any time, before Start and
// after Stop too.
type Manager struct {
	cfg      Config // complete and valid
	opts     options
	source   PartitionSource
	strategy AssignmentStrategy

	// Seams for tests.
	conn    connection
	open    func(context.Context) (kvStore, error)
	newCore func(core.Config) machine
	clocks  func() sampler

	board   *board
	waiters waiters
	health  health
	done    chan struct{} // closed when the manager has ended

	mu    sync.Mutex // guards what follows; held for a moment only
	phase phase
	run   *run  // while starting, running or stopping
	work  *work // while Run works
	err   error // why it ended
	alone bool  // it ended by itself
}

// phase is where a manager stands between its methods.
type phase uint8

const (
	idle     phase = iota // before Start, or after a Start that failed
	starting              // Start has not returned
	running
	stopping // Stop was called, or a Start that gave up cleans up
	finished
)

// NewManager returns a manager that [Manager.Start] sets to work. It connects
// to nothing. cfg is copied, and zero fields get their defaults.
func NewManager(cfg *Config, js jetstream.JetStream, source PartitionSource, strategy AssignmentStrategy, opts ...Option) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	switch {
	case isNil(js) || js.Conn() == nil:
		return nil, ErrNATSConnectionRequired
	case isNil(source):
		return nil, ErrPartitionSourceRequired
	case isNil(strategy):
		return nil, ErrAssignmentStrategyRequired
	}
	m := &Manager{
		cfg: *cfg, source: source, strategy: strategy,
		opts:    newOptions(opts),
		newCore: func(c core.Config) machine { return core.New(c) },
		clocks:  machineClocks,
		board:   newBoard(),
		done:    make(chan struct{}),
	}
	m.health.init()
	SetDefaults(&m.cfg)
	m.conn = natsConn{js.Conn(), m.cfg.HeartbeatTTL}
	m.open = func(ctx context.Context) (kvStore, error) { return openNATS(ctx, js, &m.cfg.KVBucket) }
	return m, nil
}

func isNil(v any) bool {
	if v == nil {
		return true
	}
	r := reflect.ValueOf(v)
	nilable := r.Kind() == reflect.Pointer || r.Kind() == reflect.Map || r.Kind() == reflect.Func ||
		r.Kind() == reflect.Chan || r.Kind() == reflect.Slice
	return nilable && r.IsNil()
}

// coreConfig is the core's configuration, with what only a running manager knows.
func (m *Manager) coreConfig(store kvStore, startup time.Duration) core.Config {
	c := m.cfg.core()
	c.StartupTimeout = startup
	c.Agent = m.opts.agent != nil
	c.Host, _ = os.Hostname() // for people: may be empty
	c.Process = currentProcess()
	c.Buckets = creationTimes(store)
	return c
}

// Start joins the fleet. It returns nil when an assignment that names this
// worker is in force, even one without partitions.
//
// The end of ctx, and Config.StartupTimeout, which stands still while the
// leader waits for a stabilization window, end it with an error that matches
// [context.DeadlineExceeded] or [context.Canceled]. Once Start has returned nil,
// ctx has no meaning any more.
//
// A Start that fails leaves nothing behind and may be repeated. Start returns
// [ErrAlreadyStarted] while the manager runs or starts, and [ErrStopped] once
// Stop was called, even while it works.
func (m *Manager) Start(ctx context.Context) error {
	r, err := m.beginStart(ctx)
	if err == nil {
		err = r.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// Stop leaves the fleet: it finishes what runs, gives up the partitions,
// resigns and releases the worker's id, in this order, and returns nil when
// this worker does nothing and holds nothing any more.
//
// A worker that cannot reach NATS cannot tell it so. Stop returns nil then too,
// and to the others the worker has crashed: its leadership lapses by itself
// after Config.HeartbeatTTL, its id when the leader finds it dead, or at the
// latest Config.WorkerIDTTL after its last renewal.
//
// When ctx ends, or Config.ShutdownTimeout has passed, it gives back at once
// what it can, without waiting for work to finish, and returns an error that
// says what was still running. Hooks see their context end; one that ignores it
// is waited for within the same bounds and then left alone.
//
// Stop may be called at any time and any number of times: before Start (the
// manager can then not be started any more), while Start works (which returns
// [ErrStopped]), and from a hook: given the context of the hook, it does not wait
// for that hook. Further calls wait for the first, whose bounds count.
func (m *Manager) Stop(ctx context.Context) error {
	r, first := m.beginStop()
	if r == nil {
		return nil
	}
	if err := r.stop(ctx, first); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// WorkerID returns the stable id of this worker, or "" while it has none.
func (m *Manager) WorkerID() string { return m.board.load().snap.Worker }

// IsLeader reports whether this worker leads the fleet, to its knowledge.
// Leadership is fenced where it matters; do not build a lock on this.
func (m *Manager) IsLeader() bool { return m.board.load().snap.Leader }

// State returns the state of this worker.
func (m *Manager) State() State { return State(m.board.load().snap.State) }

// CurrentAssignment returns what this worker owns. The caller may keep and
// change the list, but not the keys of its partitions.
func (m *Manager) CurrentAssignment() Assignment { return m.board.load().assignment() }

// Owns reports whether this worker owns a partition at this moment, and with
// which fencing token. It says no as soon as an assignment without the partition
// has arrived, while [Hooks.OnAssignmentChanged] may still have to be told, and
// with [OwnershipExclusive] from the end of the worker's lease on, whether NATS
// can be reached or not. It is made to be called for every message.
func (m *Manager) Owns(p Partition) (Token, bool) { return m.board.load().owns(p) }

// Done returns a channel that is closed when the manager has ended, be it by
// Stop or by itself; [Manager.Err] then says why. A Start that fails does not
// end a manager.
func (m *Manager) Done() <-chan struct{} { return m.done }

// Err returns why the manager has ended: nil after an orderly Stop, and nil
// while it has not.
func (m *Manager) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// beginStart makes the run of a manager that has none.
func (m *Manager) beginStart(ctx context.Context) (*run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.phase {
	case starting, running:
		return nil, ErrAlreadyStarted
	case stopping, finished:
		return nil, ErrStopped
	case idle:
	}
	m.phase, m.run = starting, newRun(ctx, m)
	return m.run, nil
}

// startEnded notes how Start ended. A start that failed is still on its way
// until its run is over.
func (m *Manager) startEnded(r *run, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.startFailed = err != nil
	if m.phase == starting && err == nil {
		m.phase = running
	}
}

// beginStop returns the run to be stopped, if there is one, and whether this is
// the first Stop of it.
func (m *Manager) beginStop() (r *run, first bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.phase {
	case idle:
		m.phase = finished
		m.board.reset(core.Snapshot{State: core.Shutdown})
		m.waiters.reached(StateShutdown)
		close(m.done)
	case starting, running:
		m.phase = stopping
		return m.run, true
	case stopping:
		return m.run, false
	case finished:
	}
	return nil, false
}

// ended is called when nothing of r is left. A run that never came to work
// leaves a manager that can be started again.
func (m *Manager) ended(r *run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.run = nil
	m.health.reset()
	if m.phase != stopping && (r.startFailed || !r.hasStarted()) {
		m.phase = idle
		m.board.reset(core.Snapshot{})
	} else {
		m.alone = m.phase != stopping
		m.phase, m.err = finished, r.why()
		m.board.reset(core.Snapshot{State: core.Shutdown})
		m.waiters.reached(StateShutdown)
		close(m.done)
	}
	close(r.over)
}

// stopRequested reports whether Stop was called.
func (m *Manager) stopRequested() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.phase == stopping || m.phase == finished
}

// running returns the run of a started manager.
func (m *Manager) running() (*run, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.phase {
	case starting, running:
		if m.run.hasStarted() {
			return m.run, nil
		}
	case stopping, finished:
		return nil, ErrStopped
	case idle:
	}
	return nil, ErrNotStarted
}
