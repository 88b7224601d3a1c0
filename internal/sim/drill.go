package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// Drills are what operators do and what happens every day, to a fleet at rest:
// where nothing else is wrong, what may move is known exactly.

// drill is a name, and what happens; it returns the workers whose partitions may
// move, and whether it took place.
type drill struct {
	name string
	do   func(w *World) (movable []string, done bool)
}

var drills = []drill{
	{"restart", (*World).drillRestart},
	{"crash and restart", (*World).drillCrash},
	{"leader crashes for good", (*World).drillLeader},
	{"two leave, one returns", (*World).drillLeavers},
	{"short cut", (*World).drillCut},
	{"leader crashes in a handoff", (*World).drillHandoff},
	{"outage", (*World).drillOutage},
	{"bucket refuses writes", (*World).drillRefused},
	{"leader is cut off", (*World).drillDeposed},
	{"head is lost, watches are late", (*World).drillLoss},
}

// Drill holds one drill, has the fleet settle, and checks what has moved.
func (w *World) Drill(d drill) error {
	if len(w.Live()) < 2 {
		return nil
	}
	w.trace.add(w.now, "world", "drill: %s", d.name)
	before := w.check.last.destinations()
	movable, done := d.do(w)
	if !done || w.Err() != nil {
		return w.Err()
	}
	w.hit("drill: " + d.name)
	if err := w.Settle(); err != nil {
		return fmt.Errorf("drill %q: %w", d.name, err)
	}
	after := w.check.last.destinations()
	for _, id := range slices.Sorted(maps.Keys(before)) {
		who := before[id]
		if to := after[id]; to != who && !slices.Contains(movable, who) && !slices.Contains(movable, "to "+to) && !slices.Contains(movable, "*") {
			return fmt.Errorf("I7: at %v, drill %q: partition %s of %s went to %s", w.now, d.name, id, who, after[id])
		}
	}
	return nil
}

func (w *World) leader() *Worker {
	live := w.Live()
	if i := slices.IndexFunc(live, func(p *Worker) bool { return p.snap.Leader }); i >= 0 {
		return live[i]
	}
	return nil
}

func (w *World) anyone() *Worker {
	live := w.Live()
	p := live[w.rng.IntN(len(live))]
	p.onEnd = nil
	return p
}

// returns has a worker start again, on its host and with its configuration, once
// it has ended for d.
func (w *World) returns(p *Worker, d time.Duration) {
	w.coming++
	w.after(d, func() {
		w.coming--
		w.SpawnWith(p.host, p.cfg)
	})
}

// shortest is the shortest of a setting among the fleet.
func (w *World) shortest(of func(core.Config) time.Duration) time.Duration {
	d := time.Duration(1 << 62)
	for _, p := range w.Live() {
		d = min(d, of(p.cfg))
	}
	return d
}

func grace(c core.Config) time.Duration { return c.EmergencyGracePeriod }

func (w *World) drillRestart() ([]string, bool) {
	p := w.anyone()
	p.onEnd = func() { w.returns(p, p.cfg.PlannedScaleWindow*w.between(1, 70)/100) }
	p.Stop()
	w.Run(p.cfg.ShutdownTimeout)
	return nil, true
}

func (w *World) drillCrash() ([]string, bool) {
	p := w.anyone()
	p.Crash()
	w.returns(p, w.between(0, w.shortest(grace)/2))
	w.Run(2 * time.Second)
	return nil, true
}

func (w *World) drillLeader() ([]string, bool) {
	p := w.leader()
	if p == nil {
		return nil, false
	}
	p.Crash()
	w.Run(w.cfg.HeartbeatInterval)
	return []string{w.seatOf(p)}, true
}

// seatOf is the worker that the head names a process by.
func (w *World) seatOf(p *Worker) string {
	for _, s := range w.check.last.head.Seats {
		if nonceOf(s.Inc) == p.nonce() {
			return s.Worker
		}
	}
	return ""
}

func (w *World) drillLeavers() ([]string, bool) {
	live := w.Live()
	if len(live) < 3 {
		return nil, false
	}
	slices.SortFunc(live, func(a, b *Worker) int {
		return cmp.Or(len(a.trusted)-len(b.trusted), strings.Compare(a.trusted, b.trusted))
	})
	k := 1 + w.rng.IntN(len(live)-1)
	a, b := live[k], live[w.rng.IntN(k)] // the lower id is that of b, which returns
	a.onEnd = nil
	gone := w.seatOf(a)
	a.Stop()
	// b leaves before the window of a has ended, and returns after.
	w.Run(a.cfg.PlannedScaleWindow * w.between(50, 90) / 100)
	b.onEnd = func() { w.returns(b, b.cfg.PlannedScaleWindow*w.between(50, 75)/100-4*w.latency) }
	id := b.trusted
	b.Stop()
	w.Run(b.cfg.PlannedScaleWindow + b.cfg.ShutdownTimeout)
	return []string{gone, "to " + id}, true
}

func (w *World) drillCut() ([]string, bool) {
	p := w.anyone()
	d := w.shortest(grace) / 2
	lease := w.shortest(func(c core.Config) time.Duration {
		return c.HeartbeatTTL + c.EmergencyGracePeriod - c.HeartbeatInterval
	})
	if d+p.allowance > lease-p.cfg.HeartbeatInterval-500*time.Millisecond {
		return nil, false
	}
	p.cutLink(d, 0)
	w.Run(d + p.allowance)
	return nil, true
}

// drillHandoff has a worker join, and the leader crash when partitions are being
// drained.
func (w *World) drillHandoff() ([]string, bool) {
	for _, p := range w.Live() {
		p.drainMax, p.drainTo = p.cfg.HandoffTimeout/2, w.now+time.Hour
	}
	w.hosts++
	w.Spawn(w.hosts)
	limit := 4*(w.cfg.PlannedScaleWindow+w.cfg.MinRebalanceInterval) + 10*time.Second
	if !w.RunUntil(limit, time.Millisecond, func() bool { return w.check.last.drains > 0 }) || w.leader() == nil {
		return nil, false
	}
	w.leader().Crash()
	w.Run(w.cfg.HeartbeatTTL)
	return []string{"*"}, true
}

func (w *World) drillOutage() ([]string, bool) {
	d := w.between(time.Second, 20*time.Second)
	notice := w.between(0, time.Second)
	for _, p := range w.Live() {
		p.cutLink(d, notice)
	}
	w.Run(d + 3*time.Second)
	return nil, true
}

// drillRefused has one bucket refuse the writes of everybody, while all else works.
func (w *World) drillRefused() ([]string, bool) {
	d := w.between(w.cfg.HeartbeatInterval, 60*time.Second)
	w.refuse(core.Bucket(w.rng.IntN(int(core.NumBuckets))), d)
	w.Run(d)
	return nil, true
}

func (w *World) drillDeposed() ([]string, bool) {
	p := w.leader()
	if p == nil {
		return nil, false
	}
	seat := w.seatOf(p)
	d := w.between(w.cfg.HeartbeatTTL, 5*w.cfg.HeartbeatTTL)
	p.cutLink(d, w.between(0, 6*time.Second))
	w.Run(d + 6*time.Second)
	return []string{seat, "to " + seat}, true
}

func (w *World) drillLoss() ([]string, bool) {
	w.Wipe(core.Assignments)
	for end := w.now + 2*w.cfg.HeartbeatTTL; w.now < end && w.Err() == nil; w.Run(100 * time.Millisecond) {
		for _, p := range w.Live() {
			for _, wt := range p.watches {
				if wt.bucket == core.Assignments && wt.blocked <= w.now && w.chance(0.3) {
					wt.block(w.between(0, 3*time.Second))
				}
			}
		}
	}
	return nil, true
}
