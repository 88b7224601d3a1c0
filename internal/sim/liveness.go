package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// Converged tells what is missing until the fleet is as it should be: every
// worker stable, every partition with one of them, nothing else in the store.
func (w *World) Converged() error {
	live := w.Live()
	byID := map[string]*Worker{}
	leaders := 0
	if w.coming > 0 {
		return fmt.Errorf("%d processes are about to start", w.coming)
	}
	if len(live) == 0 {
		return nil
	}
	for _, p := range live {
		if p.stopped {
			return fmt.Errorf("%s is stopping", p.name)
		}
		if p.snap.State != core.Stable {
			return fmt.Errorf("%s (%s) is in state %s", p.name, p.snap.Worker, states[p.snap.State])
		}
		if o := byID[p.snap.Worker]; o != nil {
			return fmt.Errorf("%s and %s share the id %s", o.name, p.name, p.snap.Worker)
		}
		byID[p.snap.Worker] = p
		if p.snap.Leader {
			leaders++
		}
	}
	if leaders != 1 {
		return fmt.Errorf("there are %d leaders", leaders)
	}
	last := w.check.last
	if w.check.rebuilding && w.remembered() {
		return errors.New("the head was lost, and is not rebuilt")
	}
	if last.head.List != w.list.Digest {
		return fmt.Errorf("the head names list %s, the sources give %s", last.head.List, w.list.Digest)
	}
	if last.drains > 0 {
		return fmt.Errorf("%d partitions are being drained", last.drains)
	}
	for _, s := range last.head.Seats {
		switch p := byID[s.Worker]; {
		case p == nil:
			return fmt.Errorf("%s has a seat and does not live", s.Worker)
		case nonceOf(s.Inc) != p.nonce():
			return fmt.Errorf("the seat of %s is for incarnation %s", s.Worker, s.Inc)
		case s.Away != 0:
			return fmt.Errorf("%s is away", s.Worker)
		}
	}
	if len(last.head.Seats) != len(live) {
		return fmt.Errorf("%d seats for %d workers", len(last.head.Seats), len(live))
	}
	runs := 0
	for _, p := range live {
		runs += len(p.running)
	}
	for _, id := range slices.Sorted(maps.Keys(last.grants)) {
		g := last.grants[id]
		if t, ok := byID[g.worker].running[id]; !ok || t != g.token {
			return fmt.Errorf("%s does not work on %s under token %v", g.worker, id, g.token)
		}
	}
	if runs != len(w.list.IDs) || len(last.grants) != runs {
		return fmt.Errorf("%d partitions, %d granted, %d worked on", len(w.list.IDs), len(last.grants), runs)
	}
	if err := w.unbalanced(); err != nil {
		return err
	}
	return w.leftovers(byID)
}

// unbalanced tells whether a worker has more than the strategy would give it.
func (w *World) unbalanced() error {
	has := map[string]int{}
	for _, s := range w.check.last.head.Seats {
		has[s.Worker] = 0
	}
	for _, g := range w.check.last.grants {
		has[g.worker]++
	}
	least := len(w.check.last.grants) / max(1, len(has))
	for _, name := range slices.Sorted(maps.Keys(has)) {
		if n := has[name]; n < least || n > least+1 {
			return fmt.Errorf("%s has %d partitions, its share is %d", name, n, least)
		}
	}
	return nil
}

func (p *Worker) nonce() string { return "nonce" + p.name[1:] }

// leftovers tells what is in the store beside the keys of live workers.
func (w *World) leftovers(live map[string]*Worker) error {
	want := map[string]bool{}
	for name := range live {
		_, n, _ := strings.Cut(name, w.cfg.Prefix+"-")
		want[w.cfg.Group+".id."+n] = true
		want[w.cfg.Group+".hb."+name] = true
	}
	for _, b := range []core.Bucket{core.IDs, core.Heartbeats} {
		for _, key := range w.kv.Keys(int(b)) {
			if !want[key] {
				return fmt.Errorf("%w: %s", errLeftOver, key)
			}
			delete(want, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		return fmt.Errorf("key %s is missing", key)
	}
	return nil
}

// errLeftOver says that a key of nobody is in the store. Leaders list the keys now
// and then, and remove what nobody has renewed since the time before.
var errLeftOver = errors.New("key is left over")

// bound is how long a fleet may take to converge once faults have stopped.
func (w *World) bound() time.Duration {
	c := w.cfg
	n := time.Duration(2)
	if w.mixed {
		n = 4
	}
	return n * (c.HeartbeatTTL + c.EmergencyGracePeriod + c.ElectionTimeout + c.ExitThreshold + c.RecoveryGracePeriod +
		c.ColdStartWindow + c.PlannedScaleWindow + c.MinRebalanceInterval + c.HandoffTimeout + c.OperationTimeout)
}

// idTTL is the longest lease of an id that anybody was configured with.
func (w *World) idTTL() time.Duration {
	d := w.cfg.IDTTL
	for _, p := range w.workers {
		d = max(d, p.cfg.IDTTL)
	}
	return d
}

// Settle lets the world go on until it has converged, and checks that nothing
// moves from then on.
func (w *World) Settle() error {
	limit := w.bound()
	w.Run(w.cfg.HeartbeatTTL) // a lease that lapsed in the last fault shows now
	for end := w.now + limit; ; w.Run(500 * time.Millisecond) {
		if err := w.Err(); err != nil {
			return err
		}
		missing := w.Converged()
		if missing == nil {
			break
		}
		if w.now >= end && (!errors.Is(missing, errLeftOver) || w.now >= end+4*w.idTTL()) {
			return fmt.Errorf("I11: at %v, %v after the last fault: %w", w.now, limit, missing)
		}
	}
	at := w.check.last.head
	w.Run(2*w.cfg.MinRebalanceInterval + w.cfg.PlannedScaleWindow)
	if err := w.Err(); err != nil {
		return err
	}
	if missing := w.Converged(); missing != nil {
		return fmt.Errorf("I11: at %v, after having converged: %w", w.now, missing)
	}
	if h := w.check.last.head; h.Term != at.Term || h.Version != at.Version {
		return fmt.Errorf("I7: at %v, without a cause the head went on from %d.%d to %d.%d", w.now, at.Term, at.Version, h.Term, h.Version)
	}
	return nil
}

// StopAll stops every worker and checks that nothing is left.
func (w *World) StopAll() error {
	live := w.Live()
	if len(live) == 0 { // nobody who could remove what was left while faults lasted
		return nil
	}
	for _, p := range live {
		p.onEnd = nil
		w.after(w.between(0, 2*time.Second), p.Stop)
	}
	w.Run(2*time.Second + w.cfg.ShutdownTimeout + time.Second)
	if err := w.Err(); err != nil {
		return err
	}
	for _, p := range live {
		if p.live || p.failed {
			return fmt.Errorf("I13: at %v, %s has not stopped in good order", w.now, p.name)
		}
	}
	for _, b := range []core.Bucket{core.IDs, core.Election} {
		for _, key := range w.kv.Keys(int(b)) {
			return fmt.Errorf("I13: at %v, all have stopped and key %s is left", w.now, key)
		}
	}
	return nil
}
