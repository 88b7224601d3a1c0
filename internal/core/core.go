// Package core decides what a worker of a fleet does: which id it claims, when
// it leads, whom it believes dead, when it rebalances, when a partition may
// change hands and what it obeys.
//
// It is pure. [Core.Step] takes the time and one event and returns the effects
// to be performed; there is no goroutine, lock, channel, context, logger, clock
// or random source inside, so that the same events give the same history, in a
// test, in the simulator and in production. Time is the elapsed time on the
// caller's own clock; nothing is ever compared with another worker's clock.
//
// The sub-machines, one file each: claim (which id), renew (keys that must be
// kept alive), elect (who leads), members (who is alive), rebalance (when to
// plan), handoff (who owns what and who still drains it), commit (publishing),
// adopt (obeying what was published), refresh, degraded and lifecycle.
package core

import "time"

// Core is the state of one worker. It is not safe for concurrent use.
type Core struct {
	cfg    Config
	now    time.Duration
	out    []Effect
	rng    rng
	timer  timers
	ops    map[OpID]func(Done)
	lastOp OpID
	watch  [numWatches]watcher

	nonce string // of this life; every incarnation of it begins so
	inc   string // the present incarnation
	incs  int    // incarnations begun after the first
	wall  uint64 // wall clock at time 0, in ms

	conn     connection
	life     lifecycle
	claim    claim
	idKey    renewal
	hbKey    renewal
	leadKey  renewal
	heldKey  renewal
	lost     losses
	beat     beat
	elect    election
	lead     *leader // non-nil from the moment that the term is taken
	adopt    adoption
	refresh  refreshing
	degraded degraded
	presence presence
	fleet    Fleet // as last told
}

// New returns a core that waits for [Start].
func New(cfg Config) *Core {
	c := &Core{cfg: cfg, ops: map[OpID]func(Done){}}
	c.timer.init()
	c.conn.up = true
	c.degraded.init()
	c.setupWatches()
	c.setupRenewals()
	return c
}

// Step tells the core that ev happened at now and returns what is to be done,
// in order. Time that goes back counts as standing still.
func (c *Core) Step(now time.Duration, ev Event) []Effect {
	c.out = nil
	c.advanceClock(now)
	if c.life.phase == ended {
		return nil
	}
	c.handle(ev)
	for c.life.phase != ended {
		t, ok := c.timer.due(c.now)
		if !ok {
			break
		}
		c.timer.clear(t)
		c.fire(t)
	}
	if c.life.phase != ended {
		c.settle()
	}
	return c.out
}

// Wake returns when the next [Tick] is due; false when none is.
func (c *Core) Wake() (time.Duration, bool) {
	if c.life.phase == ended {
		return 0, false
	}
	return c.timer.next()
}

// Snapshot is what the accessors of a manager show.
type Snapshot struct {
	State  State
	Worker string // "" without an id
	Leader bool
	Term   uint64
	// Named: an assignment that names the present incarnation has arrived.
	Named bool
	// Confirmed is when the assignment was last known to be current.
	Confirmed time.Duration
	// Degraded is since when NATS is lost, while degraded; else 0. Alert is the
	// level reached.
	Degraded time.Duration
	Alert    AlertLevel
	// Version and Lifecycle are those of the head last obeyed.
	Version   uint64
	Lifecycle string
	// LeaseEnd is when the own lease ends unless it is renewed; 0 in the
	// Available mode, where nothing ends with it.
	LeaseEnd time.Duration
}

// Snapshot returns the present state.
func (c *Core) Snapshot() Snapshot {
	s := Snapshot{
		State:     c.life.state,
		Worker:    c.worker(),
		Leader:    c.leading() && c.now < c.leadKey.leaseEnd(c.cfg.HeartbeatTTL),
		Term:      c.adopt.seen.Term,
		Version:   c.adopt.seen.Version,
		Lifecycle: c.adopt.lifecycle,
		Named:     c.adopt.named,
		Confirmed: c.adopt.confirmed,
	}
	if c.degraded.in {
		s.Degraded, s.Alert = max(1, c.degraded.since), c.degraded.level
	}
	if c.cfg.Exclusive {
		s.LeaseEnd = 1 // long ago
		if !c.adopt.void {
			s.LeaseEnd = max(1, c.hbKey.leaseEnd(c.cfg.HeartbeatTTL))
		}
	}
	return s
}

// worker is the claimed id, or "".
func (c *Core) worker() string {
	if !c.claim.held {
		return ""
	}
	return c.workerName(c.claim.number)
}

func (c *Core) handle(ev Event) {
	switch ev := ev.(type) {
	case Start:
		c.onStart(ev)
	case Stop:
		c.onStop()
	case Abort:
		c.onAbort()
	case Tick:
	case Connected:
		c.onConnected(ev)
	case Disconnected:
		c.onDisconnected()
	case Done:
		if f, ok := c.ops[ev.Op]; ok {
			delete(c.ops, ev.Op)
			f(ev)
		}
	case Watched:
		c.onWatched(ev)
	case WatchLost:
		c.onWatchLost(ev)
	case Applied:
		c.onApplied(ev)
	case Refresh:
		c.onRefresh(ev)
	case ListChanged:
		c.listChanged()
	case Probed:
		c.onProbed(ev)
	case Notice:
		c.onNotice(ev)
	case Rebound:
		c.onRebound(ev)
	}
}

// settle draws the conclusions that depend on more than one sub-machine, after
// every event.
func (c *Core) settle() {
	if c.conn.up && c.conn.untold && c.now-c.conn.since >= blink {
		c.tellConnected()
	}
	c.considerCampaign()
	c.advanceLeader()
	c.settleRefresh()
	c.advanceStop()
	c.updateState()
	c.attend()
}

// advanceClock moves the time. While the core runs, a timer asks for a turn every
// heartbeat; thus a longer gap means that this process was suspended: until they
// are renewed, leases are not trusted, and silence of others during the gap
// proves nothing.
func (c *Core) advanceClock(now time.Duration) {
	if now <= c.now {
		return
	}
	gap := now - c.now
	c.now = now
	if c.life.phase != running || gap <= c.cfg.HeartbeatInterval+c.cfg.HeartbeatInterval/2 {
		return
	}
	c.log(Warn, "this process was suspended", "took", gap.String())
	if p := c.elect.phase; p != follower && p != leads {
		c.stepDown("suspended during a campaign", false) // what it has read is old
	}
	c.conn.since = now
	for _, r := range []*renewal{&c.idKey, &c.hbKey, &c.leadKey} {
		if r.active {
			c.unprove(r)
		}
	}
}

func (c *Core) emit(e Effect) { c.out = append(c.out, e) }

func (c *Core) log(l LogLevel, msg string, pairs ...any) {
	c.emit(Log{Level: l, Message: msg, Pairs: pairs})
}

func (c *Core) report(kind FaultKind, text string) {
	c.emit(Report{Fault: Fault{Kind: kind, Text: text}})
}

func (c *Core) measure(m Metric, v float64, label string) {
	c.emit(Measure{Metric: m, Value: v, Label: label})
}

// ask registers what to do with the result of an operation.
func (c *Core) ask(then func(Done)) OpID {
	c.lastOp++
	c.ops[c.lastOp] = then
	return c.lastOp
}

// kv performs an operation on a key. Every result feeds degraded mode, so that
// no caller can forget to count; retries of an operation that failed say so.
func (c *Core) kv(op KV, retry bool, then func(Done)) {
	if op.Timeout == 0 {
		op.Timeout = c.cfg.OperationTimeout
	}
	end := asked{kind: kindOf(op), verb: verbNames[op.Verb], key: op.Key, size: len(op.Val), began: c.now, retry: retry}
	op.Op = c.ask(func(d Done) {
		c.feed(end, d.Err, d.Text)
		then(d)
	})
	c.emit(op)
}

// forget drops the continuations of everything in flight.
func (c *Core) forget() { clear(c.ops) }

// connection is what the core knows of its connection to NATS.
type connection struct {
	up        bool
	since     time.Duration // up: since when, or since a suspension
	untold    bool          // up: the log has not said so yet
	lostAt    time.Duration // down: since when
	server    string
	allowance time.Duration
	maxValue  int // bytes that fit one key
}

// blink is how short a loss of the connection is not worth a line about its end
// before it has held for as long: one that flaps would fill the log.
const blink = time.Second

func (c *Core) tellConnected() {
	c.conn.untold = false
	c.log(Info, "connected to NATS", "server", c.conn.server)
}

func (c *Core) onConnected(ev Connected) {
	was := c.conn.up
	c.conn.server, c.conn.allowance = ev.Server, ev.Allowance
	c.conn.maxValue = largestValue
	if ev.MaxPayload > 0 {
		c.conn.maxValue = min(largestValue, max(ev.MaxPayload-valueMargin, valueMargin))
	}
	if was {
		return
	}
	c.conn.up, c.conn.since = true, c.now
	c.conn.untold = true
	if c.now-c.conn.lostAt >= blink {
		c.tellConnected()
	}
	c.degradedConnected()
	for _, r := range []*renewal{&c.idKey, &c.hbKey, &c.leadKey, &c.heldKey} {
		if r.active { // what was under way is not waited for: its answer is lost
			r.epoch++
			r.busy = false
			c.renew(r)
		}
	}
	c.resumeWatches()
	c.resumeClaim()
	if c.life.phase == running && c.claim.held {
		c.readHead()
	}
}

func (c *Core) onDisconnected() {
	if !c.conn.up {
		return
	}
	c.conn.up, c.conn.lostAt = false, c.now
	c.report(FaultConnection, "the connection to NATS is down; the client reconnects by itself")
	c.degradedDisconnected()
}
