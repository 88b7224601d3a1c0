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
// KVErrorWindow. It is left when NATS has been good for ExitThreshold and the
// cause has cleared: id and heartbeat are written, the head was read and both of
// its watches work.
//
// Consecutive are errors of one kind of operation on one bucket: a bucket that
// still answers does not make up for another one that fails.
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
)

func kindOf(op KV) opKind {
	if op.Verb == Get {
		return opKind{op.Bucket, reads}
	}
	return opKind{op.Bucket, writes}
}

func (d *degraded) init() {
	d.silent, d.good, d.left = never, 0, -1
}

// feed takes in how an operation ended. what is asked only of errors.
func (c *Core) feed(err ErrKind, text string, began time.Duration, kind opKind, what func() string, counted bool) {
	g := &c.degraded
	switch err {
	case OK, Conflict, NotFound:
		g.silent, g.heard = never, c.now
		g.errors = slices.DeleteFunc(g.errors, func(e kvError) bool { return e.kind == kind })
		if g.good == never {
			g.good = c.now
		}
		if !g.in && c.conn.up {
			c.timer.clear(timerEnter)
		}
		return
	case Down:
		return
	case Ambiguous, Failed:
	}
	if c.life.stopping() {
		return
	}
	if err == Ambiguous && began < c.conn.since {
		return // the answer was lost with the connection that it was asked over
	}
	silent := err == Ambiguous && g.silent != never
	if err == Ambiguous {
		g.silent = min(g.silent, max(began, g.heard, c.conn.since)) // an answer to another one counts, and a suspension does not
		c.timer.sooner(timerEnter, g.silent+c.cfg.EnterThreshold)
	}
	if !c.conn.up {
		return // the connection was silent before it broke, and that counts
	}
	g.good = never
	g.last = text
	if counted {
		return
	}
	c.measure(MetricKVErrors, 1, bucketNames[kind.bucket])
	c.report(FaultKV, what()+": "+text)
	if silent {
		return // silence is measured by its length, and counts once
	}
	g.errors = slices.DeleteFunc(g.errors, func(e kvError) bool { return c.now-e.at > c.cfg.KVErrorWindow })
	g.errors = append(g.errors, kvError{kind, c.now})
	if len(g.errors) >= c.cfg.KVErrorThreshold {
		c.enterDegraded(g.errors[0].at, "key-value operations fail")
	}
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
	g.in, g.since, g.entered, g.level = true, since, c.now, AlertNone
	g.good = never
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

// cleared tells whether all that degraded mode may be due to works again, and
// tries what does not.
func (c *Core) cleared() bool {
	ok := true
	for _, r := range []*renewal{&c.idKey, &c.hbKey} {
		if r.proved < c.degraded.good {
			c.renew(r)
			ok = false
		}
	}
	if c.adopt.looked < c.degraded.good {
		c.readHead()
		ok = false
	}
	for _, k := range []watchKind{watchHeads, watchLeader} {
		if !c.watch[k].synced {
			c.openWatch(k)
			ok = false
		}
	}
	return ok
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
		return
	}
	if c.claim.held && !c.cleared() {
		c.timer.set(timerExit, c.now+c.cfg.HeartbeatInterval/4)
		return
	}
	g.in, g.left = false, c.now
	c.renew(&c.hbKey) // it takes partitions again
	c.timer.clear(timerAlert)
	c.timer.clear(timerExit)
	c.log(Info, "degraded mode ended", "took", (c.now - g.since).String())
	c.measure(MetricDegraded, 0, "")
	c.measure(MetricAlertLevel, 0, "")
	c.measure(MetricDegradedTime, (c.now - g.entered).Seconds(), "")
	if c.claim.held && c.adopt.head.Term != 0 && !c.life.renaming {
		c.obey()
	}
}
