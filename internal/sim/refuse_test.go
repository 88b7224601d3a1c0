package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// TestBucketRefuses: one bucket refuses all writes while everything else works. No
// partition moves, nobody comes out of degraded mode before it is over, and everybody
// does then.
func TestBucketRefuses(t *testing.T) {
	for b := range core.NumBuckets {
		for _, exclusive := range []bool{false, true} {
			for _, d := range []time.Duration{5 * time.Second, 12 * time.Second, 30 * time.Second, 10 * time.Minute} {
				t.Run(fmt.Sprintf("bucket %d, exclusive %t, %v", b, exclusive, d), func(t *testing.T) {
					cfg := defaults()
					cfg.Exclusive = exclusive
					w := fleet(t, cfg, 4, 48)
					if b == core.Assignments { // something to write
						w.setList(append(w.list.IDs, "more"), append(w.list.Weights, 100))
						for _, p := range w.Live() {
							p.tell(core.ListChanged{})
						}
					}
					w.refuse(b, d)
					w.Run(d)
					must(t, w, nil)
					if w.check.moves != 0 || w.check.overlap != 0 {
						t.Errorf("%d moves, %d overlaps", w.check.moves, w.check.overlap)
					}
					for _, p := range w.Live() {
						if p.degraded > 1 || p.degraded == 1 && p.state != core.Degraded || d > time.Minute && p.degraded == 0 {
							t.Errorf("%s was degraded %d times, and is %s", p.name, p.degraded, states[p.state])
						}
					}
					limit := cfg.ExitThreshold + 5*time.Second
					if b == core.Assignments { // the plan waits its turn
						limit += cfg.PlannedScaleWindow + cfg.MinRebalanceInterval
					}
					if exclusive && b == core.Heartbeats { // leases have ended, whoever led before: all is granted anew
						limit += cfg.HeartbeatTTL
					}
					took := converges(t, w, limit)
					must(t, w, w.Settle())
					if w.check.moves != 0 || w.check.overlap != 0 {
						t.Errorf("%d moves, %d overlaps afterwards", w.check.moves, w.check.overlap)
					}
					t.Logf("at rest after %v", took)
				})
			}
		}
	}
}

// TestBucketRefusesSlowHearts: where heartbeats are far apart and leases hardly longer,
// the first one that the leader misses may be due before the first of its own that
// fails.
func TestBucketRefusesSlowHearts(t *testing.T) {
	for start := time.Duration(0); start < 10*time.Second; start += 500 * time.Millisecond {
		cfg := defaults()
		cfg.HeartbeatInterval, cfg.HeartbeatTTL, cfg.OperationTimeout = 10*time.Second, 15*time.Second, 2*time.Second
		w := watchTrace(NewWorld(cfg, 7, 48))
		for i := range 4 { // their hearts do not beat together
			w.Spawn(i + 1)
			w.Run(2500 * time.Millisecond)
		}
		must(t, w, w.Settle())
		w.Run(start)
		w.check.moves = 0
		w.refuse(core.Heartbeats, 12*time.Second)
		w.Run(30 * time.Second)
		must(t, w, w.Settle())
		if w.check.moves != 0 {
			t.Errorf("after %v: %d moves", start, w.check.moves)
		}
	}
}
