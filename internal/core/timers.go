package core

import (
	"math"
	"time"
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// timer names the deadlines of a core; each is set at most once at a time.
type timer uint8

const (
	timerStartup timer = iota
	timerShutdown
	timerDrained
	timerClaim
	timerID
	timerHeartbeat
	timerLead
	timerHeld
	timerLease
	timerCampaign
	timerCampaignEnd
	timerHeadRead
	timerMembers
	timerPlan
	timerSource
	timerGrant
	timerCommit
	timerSweep
	timerStrays
	timerRefresh
	timerEnter
	timerExit
	timerAlert
	timerGrace
	timerReread
	timerLate  // a heartbeat is overdue, or a suspect is due
	timerIntro // the leader is asked for its first answer
	timerPulse // so that every turn comes within a heartbeat of the one before
	timerWatch // the first of numWatches
	numTimers  = timerWatch + timer(numWatches)
)

type timers [numTimers]time.Duration

func (t *timers) init() {
	for i := range t {
		t[i] = never
	}
}

func (t *timers) set(which timer, at time.Duration) { t[which] = at }

// sooner sets a deadline unless an earlier one is set.
func (t *timers) sooner(which timer, at time.Duration) { t[which] = min(t[which], at) }

func (t *timers) clear(which timer) { t[which] = never }

// due returns the earliest deadline that has come.
func (t *timers) due(now time.Duration) (timer, bool) {
	best := timer(0)
	for i := range t {
		if t[i] < t[best] {
			best = timer(i)
		}
	}
	return best, t[best] <= now
}

func (t *timers) next() (time.Duration, bool) {
	at := never
	for _, d := range t {
		at = min(at, d)
	}
	return at, at != never
}

func (c *Core) fire(t timer) {
	switch t {
	case timerStartup:
		c.startupTimeout()
	case timerShutdown:
		c.shutdownTimeout()
	case timerDrained:
		c.drainTimeout()
	case timerClaim:
		c.claimTimer()
	case timerID:
		c.renew(&c.idKey)
	case timerHeartbeat:
		c.renew(&c.hbKey)
	case timerLead:
		c.renew(&c.leadKey)
	case timerHeld:
		c.renew(&c.heldKey)
	case timerLease:
		c.leaseTimer()
	case timerCampaign: // settle looks again
	case timerCampaignEnd:
		c.campaignTimeout()
	case timerHeadRead:
		c.readHead()
	case timerMembers, timerPlan, timerGrant: // settle looks again
	case timerSource:
		c.readSource()
	case timerCommit:
		c.retryCommit()
	case timerSweep:
		c.sweep()
	case timerStrays:
		c.sweepStrays()
	case timerRefresh:
		c.refreshTimeout()
	case timerEnter, timerExit, timerAlert, timerGrace:
		c.degradedTimer(t)
	case timerLate: // settle looks again
	case timerIntro:
		c.introduceLeader()
	case timerReread:
		c.readPayload()
	case timerPulse:
		c.timer.set(timerPulse, c.now+c.cfg.HeartbeatInterval)
	default:
		c.openWatch(watchKind(t - timerWatch))
	}
}

// rng is splitmix64 (Steele, Lea, Flood 2014): jitter needs spread, not secrecy.
type rng uint64

func (r *rng) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// jitter returns a time in [0, d).
func (c *Core) jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(c.rng.next() % uint64(d))
}

// backoff is the wait before the nth retry: 100 ms doubling up to a heartbeat,
// with as much jitter again.
func (c *Core) backoff(n int) time.Duration {
	d := min(100*time.Millisecond<<min(n, 16), c.cfg.HeartbeatInterval)
	return d + c.jitter(d)
}
