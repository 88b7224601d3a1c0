package core

import (
	"slices"
	"time"
)

// degraded is the state of degraded mode: NATS is away, the assignment is
// frozen, and nothing is given up for want of news.
//
// It is entered when NATS has been away for EnterThreshold, counted from the
// disconnect, or, for a link that is cut silently, from the start of the first
// operation left unanswered; or after KVErrorThreshold consecutive errors within
// KVErrorWindow; or after one kind of operation has failed for EnterThreshold,
// however few of its errors were no mere repetitions. It is left when NATS has been good for ExitThreshold and the
// cause has cleared: id and heartbeat are written, the head was read, both of
// its watches work, and every kind of operation that failed has succeeded.
//
// Consecutive are errors of one kind of operation on one bucket: a bucket that
// still answers does not make up for another one that fails. What is tried over and
// over counts as one error.
type degraded struct {
	in      bool
	since   time.Duration // of the loss, not of the entry
	entered time.Duration
	left    time.Duration // when it was last left; negative before

	silent time.Duration // start of the first operation left unanswered; never = none
	heard  time.Duration // when an operation was last answered
	errors []kvError     // since the last success of their kind
	last   string        // the last error, for people
	good   time.Duration // since when NATS answers; never = it does not
	kinds  [NumBuckets][numClasses]kindState

	level   AlertLevel
	alerted time.Duration
}

// kvError is an error of an operation of a kind.
type kvError struct {
	kind opKind
	at   time.Duration
}

// opKind is what errors must have in common to be consecutive.
type opKind struct {
	bucket Bucket
	class  opClass
}

type opClass uint8

const (
	reads opClass = iota
	writes
	watching
	numClasses
)

// kindState is what is known of a kind of operation.
type kindState struct {
	failing bool          // since its last success
	caused  bool          // failed in the present or the last period of degraded mode
	last    asked         // the one that failed last
	since   time.Duration // failing: since when, without a pause of EnterThreshold
	at      time.Duration // of the last failure
	told    time.Duration // when one was last reported
	tried   time.Duration // when it was last tried for a proof
}

// asked is an operation whose end degraded mode is told.
type asked struct {
	kind  opKind
	verb  string
	key   string
	size  int // of the value
	began time.Duration
	retry bool // of what has failed before
	early bool // not to be counted yet
}

func kindOf(op KV) opKind {
	if op.Verb == Get {
		return opKind{op.Bucket, reads}
	}
	return opKind{op.Bucket, writes}
}

func (d *degraded) init() {
	d.silent, d.good, d.left = never, 0, -1
}

func (d *degraded) state(k opKind) *kindState { return &d.kinds[k.bucket][k.class] }

// feed takes in how an operation ended.
func (c *Core) feed(op asked, err ErrKind, text string) {
	switch err {
	case OK, Conflict, NotFound:
		c.succeeded(op.kind)
	case Ambiguous, Failed:
		c.failed(op, err, text)
	case Down:
	}
}

func (c *Core) succeeded(kind opKind) {
	g := &c.degraded
	g.silent, g.heard = never, c.now
	g.errors = slices.DeleteFunc(g.errors, func(e kvError) bool { return e.kind == kind })
	if g.good == never {
		g.good = c.now
	}
	if !g.in && c.conn.up {
		c.timer.clear(timerEnter)
	}
	if k := g.state(kind); k.failing {
		if k.failing = false; g.in {
			c.timer.sooner(timerExit, max(c.now, g.good+c.cfg.ExitThreshold))
		}
	}
}

func (c *Core) failed(op asked, err ErrKind, text string) {
	g := &c.degraded
	if c.life.stopping() {
		return
	}
	if err == Ambiguous && op.began < c.conn.since {
		return // the answer was lost with the connection that it was asked over
	}
	silent := err == Ambiguous && g.silent != never
	if err == Ambiguous {
		g.silent = min(g.silent, max(op.began, g.heard, c.conn.since)) // an answer to another one counts, and a suspension does not
		c.timer.sooner(timerEnter, g.silent+c.cfg.EnterThreshold)
	}
	if !c.conn.up {
		return // the connection was silent before it broke, and that counts
	}
	g.good = never
	g.last = text
	k := g.state(op.kind)
	if !k.failing || c.now > k.at+c.cfg.EnterThreshold {
		k.since = c.now
	}
	k.failing, k.caused, k.last, k.at = true, k.caused || g.in, op, c.now
	c.measure(MetricKVErrors, 1, bucketNames[op.kind.bucket])
	if op.early {
		return
	}
	if !op.retry || c.now >= k.told+c.cfg.HeartbeatInterval {
		k.told = c.now
		c.report(FaultKV, op.verb+" "+op.key+": "+text)
	}
	if c.now >= k.since+c.cfg.EnterThreshold {
		c.enterDegraded(c.goesOn(k.since), "operations of a kind fail")
	}
	if silent || op.retry {
		return // silence is measured by its length, and counts once
	}
	g.errors = slices.DeleteFunc(g.errors, func(e kvError) bool { return c.now-e.at > c.cfg.KVErrorWindow })
	g.errors = append(g.errors, kvError{op.kind, c.now})
	if len(g.errors) >= c.cfg.KVErrorThreshold {
		c.enterDegraded(c.goesOn(g.errors[0].at), "key-value operations fail")
	}
}

// goesOn returns since when what has failed since at does so: what fails again as
// soon as degraded mode has been left is the same trouble, and its alerts go on.
func (c *Core) goesOn(at time.Duration) time.Duration {
	g := &c.degraded
	if g.in || g.left < 0 || at > g.left+c.cfg.KVErrorWindow {
		return at
	}
	for b := range g.kinds {
		for _, k := range g.kinds[b] {
			if k.failing && k.caused {
				return g.since
			}
		}
	}
	return at
}

var (
	bucketNames = [...]string{IDs: "ids", Election: "election", Heartbeats: "heartbeats", Assignments: "assignments"}
	verbNames   = [...]string{Get: "get", Create: "create", Update: "update", Delete: "delete"}
)

func (c *Core) degradedDisconnected() {
	c.degraded.good = never
	if c.life.phase == running {
		c.timer.sooner(timerEnter, c.conn.lostAt+c.cfg.EnterThreshold)
	}
}

func (c *Core) degradedConnected() {
	g := &c.degraded
	g.silent, g.good, g.errors = never, c.now, g.errors[:0]
	c.timer.clear(timerEnter)
	if g.in {
		c.timer.set(timerExit, c.now+c.cfg.ExitThreshold)
		return
	}
	for b := range g.kinds {
		for k := range g.kinds[b] {
			g.kinds[b][k].failing = false
		}
	}
}

func (c *Core) degradedTimer(t timer) {
	switch g := &c.degraded; t {
	case timerEnter:
		since, why := g.silent, "NATS does not answer"
		if !c.conn.up {
			since, why = min(since, c.conn.lostAt), "NATS is disconnected" // it may have been silent before
		}
		if since != never {
			c.enterDegraded(since, why)
		}
	case timerExit:
		c.considerExit()
	case timerAlert:
		c.alert()
	default:
	}
}

func (c *Core) enterDegraded(since time.Duration, why string) {
	g := &c.degraded
	if g.in || c.life.phase != running || c.life.stopping() {
		return
	}
	if since >= g.left { // else it goes on
		g.level = AlertNone
	}
	g.in, g.since, g.entered, g.good = true, since, c.now, never
	for b := range g.kinds {
		for k := range g.kinds[b] {
			s := &g.kinds[b][k]
			s.caused = s.failing
		}
	}
	c.timer.clear(timerEnter)
	c.log(Warn, "degraded: the assignment is frozen", "reason", why, "since", (c.now - since).String())
	c.measure(MetricDegraded, 1, "")
	c.measure(MetricCacheFallback, 1, "")
	c.stepDown("degraded", false)
	c.renew(&c.hbKey) // nothing new for this worker, please
	c.alert()
	c.timer.set(timerExit, c.now+c.cfg.HeartbeatInterval)
}

// alert emits what is due: a level when its threshold has come, and the present
// level again after the interval.
func (c *Core) alert() {
	g := &c.degraded
	if !g.in {
		return
	}
	level := AlertNone
	next := never
	for l := AlertInfo; l <= AlertCritical; l++ {
		if at := g.since + c.cfg.AlertThresholds[l]; c.now >= at {
			level = l
		} else {
			next = min(next, at)
		}
	}
	c.measure(MetricCacheAge, (c.now - c.adopt.confirmed).Seconds(), "")
	if level != AlertNone {
		if level > g.level || c.now >= g.alerted+c.cfg.AlertInterval {
			g.alerted = c.now
			c.emit(Alert{Level: level, Since: c.now - g.since})
			c.measure(MetricAlertLevel, float64(level), "")
			c.measure(MetricAlerts, 1, AlertNames[level])
		}
		next = min(next, g.alerted+c.cfg.AlertInterval)
	}
	g.level = level
	c.timer.set(timerAlert, next)
}

// AlertNames are the names of the levels, as hooks get them.
var AlertNames = [...]string{
	AlertNone: "", AlertInfo: "Info", AlertWarn: "Warn", AlertError: "Error", AlertCritical: "Critical",
}

// considerExit leaves degraded mode when NATS has been good for long enough and
// the cause has cleared; else it asks again what it lacks.
func (c *Core) considerExit() {
	g := &c.degraded
	if !g.in {
		return
	}
	if !c.conn.up {
		return // the reconnect sets the timer
	}
	if g.good == never || c.now < g.good+c.cfg.ExitThreshold {
		at := c.now + c.cfg.HeartbeatInterval
		if g.good != never {
			at = min(at, g.good+c.cfg.ExitThreshold)
		}
		c.timer.set(timerExit, at)
		c.proveFailing()
		return
	}
	if c.claim.held && !c.cleared() {
		c.timer.set(timerExit, c.now+c.cfg.HeartbeatInterval/4)
		return
	}
	c.endDegraded()
	g.left = c.now
	c.renew(&c.hbKey) // it takes partitions again
	c.log(Info, "degraded mode ended", "took", (c.now - g.since).String())
	if c.claim.held && c.adopt.head.Term != 0 && !c.life.renaming {
		c.obey()
	}
}

// endDegraded ends a period of degraded mode, by an exit or with the life.
func (c *Core) endDegraded() {
	g := &c.degraded
	if !g.in {
		return
	}
	g.in = false
	c.endProofs()
	c.timer.clear(timerAlert)
	c.timer.clear(timerExit)
	c.measure(MetricDegraded, 0, "")
	c.measure(MetricAlertLevel, 0, "")
	c.measure(MetricDegradedTime, (c.now - g.entered).Seconds(), "")
}
