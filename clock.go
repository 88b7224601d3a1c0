package parti

import (
	"sync"
	"sync/atomic"
	"time"
)

// clock tells the time since a run began, by which leases are judged.
//
// A lease must be over on its holder's clock before anybody else believes that
// it is, so this clock is never slower than any clock of the machine: where the
// wall clock or the boot clock has gone ahead of the monotonic one (which
// stands still while a machine sleeps), the difference is added, once for both
// of them. Where one falls behind (the wall clock was set back), nothing is
// taken away, and it counts from its new position on. Differences up to
// clockTolerance are slewing, or the time between two readings; the margin that
// the holder of a lease leaves, at least 250 ms, covers them.
type clock struct {
	sample sampler
	mu     sync.Mutex // writers of marks
	marks  atomic.Pointer[clockMarks]
}

// sampler returns how far three clocks have come since a common point in time.
// Where there is no boot clock, it returns mono for it.
type sampler func() (mono, wall, boot time.Duration)

// clockMarks is how far the other clocks have been seen ahead of the monotonic
// one, and what was added for it.
type clockMarks struct{ wall, boot, extra time.Duration }

const clockTolerance = 50 * time.Millisecond

func newClock(s sampler) *clock {
	c := &clock{sample: s}
	c.marks.Store(&clockMarks{})
	return c
}

// now is safe for concurrent use and takes no lock unless clocks went apart.
func (c *clock) now() time.Duration {
	mono, wall, boot := c.sample()
	m := c.marks.Load()
	if within(wall-mono-m.wall) && within(boot-mono-m.boot) {
		return mono + m.extra
	}
	return c.correct()
}

// date returns when it was at on this clock, or will be.
func (c *clock) date(at time.Duration) time.Time { return time.Now().Add(at - c.now()) }

func (c *clock) correct() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	mono, wall, boot := c.sample()
	m := *c.marks.Load()
	var step time.Duration
	if d := wall - mono - m.wall; !within(d) {
		m.wall += d
		step = max(step, d)
	}
	if d := boot - mono - m.boot; !within(d) {
		m.boot += d
		step = max(step, d)
	}
	m.extra += step
	c.marks.Store(&m)
	return mono + m.extra
}

func within(d time.Duration) bool { return d.Abs() <= clockTolerance }

// machineClocks samples the clocks of this machine from now on.
func machineClocks() sampler {
	base, boot := time.Now(), bootClock()
	var boot0 time.Duration
	if boot != nil {
		boot0 = boot()
	}
	return func() (mono, wall, bt time.Duration) {
		t := time.Now()
		mono = t.Sub(base)
		// Round(0) strips the monotonic readings: a difference of wall clocks.
		wall = t.Round(0).Sub(base.Round(0))
		if boot == nil {
			return mono, wall, mono
		}
		return mono, wall, boot() - boot0
	}
}
