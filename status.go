package parti

import (
	"cmp"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/redact"
)

// Status is what a worker says about itself, for people and for probes; see
// [Manager.Status].
type Status struct {
	State State `json:"state"`
	// Worker is the id, "" while there is none.
	Worker string `json:"worker,omitempty"`
	Group  string `json:"group"`
	Leader bool   `json:"leader"`
	// Term and Version are those of the assignment last obeyed.
	Term      uint64    `json:"term"`
	Version   uint64    `json:"version"`
	Lifecycle Lifecycle `json:"lifecycle,omitempty"`
	// Partitions and Weight are what the worker owns.
	Partitions int   `json:"partitions"`
	Weight     int64 `json:"weight"`
	// Connected tells whether the connection to NATS is up.
	Connected bool `json:"connected"`
	// CacheAge is the time in seconds since NATS last confirmed the assignment.
	CacheAge float64 `json:"cache_age_seconds"`
	// Degraded is the time in seconds since NATS was lost, while the worker is
	// degraded, and Alert the level of alert reached.
	Degraded float64 `json:"degraded_seconds,omitempty"`
	Alert    string  `json:"alert,omitempty"`
	// LastError is what [Hooks.OnError] was told last, without the credentials of
	// URLs.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	// Ready means that what the worker was granted is running; NotReady says
	// what is missing.
	Ready    bool   `json:"ready"`
	NotReady string `json:"not_ready,omitempty"`
	// Live is false when the worker can never work again by itself; NotLive says
	// why.
	Live    bool   `json:"live"`
	NotLive string `json:"not_live,omitempty"`
	// HookStuck names a hook that has not returned for 30 s, and for how long.
	HookStuck string `json:"hook_stuck,omitempty"`
}

// Status returns a snapshot. It never blocks and may be called at any time.
//
// Ready is true while the worker belongs to the fleet and everything that it was
// granted is running: [WorkerConsumerUpdater] and [Hooks.OnAssignmentChanged] have
// returned for it. It stays true in degraded mode, in which the worker goes on with
// what it has, except in the mode [OwnershipExclusive] once its lease has ended.
// It is false before Start has come to an assignment, while partitions just
// granted are being taken over, without a worker id, and after Stop was called.
//
// Live is false in exactly these cases, in which only a new process, or at least
// a new manager on a new connection, helps:
//   - the manager has ended by itself; [Manager.Err] says why;
//   - the connection to NATS is closed for good, because it gave up reconnecting or
//     was closed by the application, and Stop was not called;
//   - the manager's loop has not turned for 30 s, or for 5 times
//     Config.HeartbeatInterval if that is more: a Logger or a MetricsCollector
//     blocks.
//
// An outage of NATS, however long, is none of them, nor is a hook that does not
// return: hooks run on goroutines of their own, and it may yet do, since
// OnAssignmentChanged may wait for work to end. HookStuck shows it. Until then
// OnAssignmentChanged holds up every change of the worker's partitions, which is
// not ready if it was granted any, and the other hooks hold up each other.
func (m *Manager) Status() Status {
	v := m.board.load()
	h := &m.health
	s := Status{
		State: State(v.snap.State), Worker: v.snap.Worker, Group: m.cfg.core().Group, Leader: v.snap.Leader,
		Term: v.snap.Term, Version: v.snap.Version, Lifecycle: Lifecycle(v.snap.Lifecycle),
		Partitions: len(v.held.owned), Weight: v.held.weight(),
		Connected: nats.Status(h.conn.Load()) == nats.CONNECTED,
	}
	if v.now != nil && v.snap.Worker != "" {
		now := v.now()
		s.CacheAge = (now - v.snap.Confirmed).Seconds()
		if v.snap.Degraded != 0 {
			s.Degraded, s.Alert = (now - v.snap.Degraded).Seconds(), alertName(v.snap.Alert)
		}
	}
	if e := h.last.Load(); e != nil {
		s.LastError, s.LastErrorAt = redact.Text(e.err.Error()), e.at
	}
	s.NotReady, s.NotLive = v.notReady(), m.notLive()
	s.Ready, s.Live = s.NotReady == "", s.NotLive == ""
	s.HookStuck = cmp.Or(hangs(&h.assignHook), hangs(&h.otherHook))
	return s
}

// notReady says why what is granted does not run, or "".
func (v *view) notReady() string {
	switch s := State(v.snap.State); {
	case s == StateInit:
		return "not started"
	case s == StateShutdown:
		return "stopped"
	case v.snap.Worker == "":
		return "without a worker id"
	case !v.snap.Named:
		return "no assignment names this worker yet"
	case v.lapsed():
		return "its lease has ended"
	case !v.runs:
		return "what was granted is being taken over"
	}
	return ""
}

// notLive says why the worker can never work again by itself, or "".
func (m *Manager) notLive() string {
	m.mu.Lock()
	phase, err, alone := m.phase, m.err, m.alone
	m.mu.Unlock()
	switch phase {
	case finished:
		if alone {
			return redact.Text(fmt.Sprintf("ended by itself: %v", err))
		}
	case running, starting:
		if nats.Status(m.health.conn.Load()) == nats.CLOSED {
			return "the connection to NATS is closed for good"
		}
		if d := m.health.stuck(); d > max(stuckAfter, 5*m.cfg.HeartbeatInterval) {
			return fmt.Sprintf("the manager has not come to anything for %v: a Logger or a MetricsCollector blocks", d.Round(time.Second))
		}
	case idle, stopping:
	}
	return ""
}

// stuckAfter is how long the loop may take for one turn, and a hook to return, before
// it counts as blocked. The loop turns at least every heartbeat.
const stuckAfter = 30 * time.Second

// health is what [Manager.Status] knows beside the view. The loop and the watch of
// the connection write it.
type health struct {
	base time.Time
	turn atomic.Int64 // when the loop last turned, since base; 0 = there is none
	conn atomic.Int64 // nats.Status as last seen
	last atomic.Pointer[lastError]

	assignHook, otherHook atomic.Pointer[runningHook]
}

type lastError struct {
	err error
	at  time.Time
}

func (h *health) init() {
	h.base = time.Now()
	h.conn.Store(int64(nats.DISCONNECTED))
}

// reset is called when there is no loop any more.
func (h *health) reset() {
	h.turn.Store(0)
	h.conn.Store(int64(nats.DISCONNECTED))
}

func (h *health) turned()           { h.turn.Store(int64(max(1, time.Since(h.base)))) }
func (h *health) saw(s nats.Status) { h.conn.Store(int64(s)) }
func (h *health) note(err error)    { h.last.Store(&lastError{err, time.Now()}) }

// stuck is for how long the loop has not turned.
func (h *health) stuck() time.Duration {
	if t := h.turn.Load(); t != 0 {
		return time.Since(h.base) - time.Duration(t)
	}
	return 0
}
