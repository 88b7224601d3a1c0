package parti

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestClockIsNeverSlowerThanAnyClock(t *testing.T) {
	var mono, wall, boot time.Duration
	c := newClock(func() (time.Duration, time.Duration, time.Duration) { return mono, wall, boot })
	advance := func(m, w, b time.Duration) {
		mono, wall, boot = mono+m, wall+w, boot+b
	}
	const s, ms = time.Second, time.Millisecond
	for _, step := range []struct {
		name       string
		m, w, b    time.Duration
		wantChange time.Duration
	}{
		{"all alike", s, s, s, s},
		{"the machine slept", s, 61 * s, 61 * s, 61 * s},
		{"and goes on", s, s, s, s},
		{"the wall clock is set ahead", s, 3600 * s, s, 3600 * s},
		{"and back", s, -3600 * s, s, s},
		{"and goes on from there", s, s, s, s},
		{"it sleeps and the wall clock is set back", s, -10 * s, 61 * s, 61 * s},
		{"slewing", s, s + 20*ms, s - 20*ms, s},
		{"slewing adds up", s, s + 40*ms, s, s + 60*ms},
		{"slewing back", s, s - 60*ms, s, s},
		{"and forth", s, s + 60*ms, s, s + 60*ms},
	} {
		before := c.now()
		advance(step.m, step.w, step.b)
		if got := c.now() - before; got != step.wantChange {
			t.Errorf("%s: %v went by, want %v", step.name, got, step.wantChange)
		}
	}
}

func TestClockCountsAStepOnce(t *testing.T) {
	var mu sync.Mutex
	var wall time.Duration
	c := newClock(func() (time.Duration, time.Duration, time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		return 0, wall, 0
	})
	wall = time.Hour
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if got := c.now(); got != time.Hour {
					t.Errorf("got %v", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestMachineClocks(t *testing.T) {
	c := newClock(machineClocks())
	if a, b := c.now(), c.now(); a < 0 || b < a || b > time.Minute {
		t.Errorf("%v, %v", a, b)
	}
}

// TestClockInABubble: virtual time counts, and the machine's clocks do not.
func TestClockInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if bootClock() != nil {
			t.Error("the kernel's clock is read in a bubble")
		}
		c := newClock(machineClocks())
		time.Sleep(time.Hour)
		if got := c.now(); got != time.Hour {
			t.Errorf("%v went by", got)
		}
	})
}
