package sim

import (
	"maps"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

var everything = []core.Bucket{core.IDs, core.Election, core.Heartbeats, core.Assignments}

// held is who works on what.
func held(w *World) map[string]string {
	all := map[string]string{}
	for _, p := range w.Live() {
		for id := range p.running {
			all[id] = p.name
		}
	}
	return all
}

// TestLoss: whatever the store loses, everybody goes on with what it has, and
// nothing moves; also when the leader crashes in the same moment.
func TestLoss(t *testing.T) {
	losses := map[string]func(w *World){
		"ids":         func(w *World) { w.Wipe(core.IDs) },
		"election":    func(w *World) { w.Wipe(core.Election) },
		"heartbeats":  func(w *World) { w.Wipe(core.Heartbeats) },
		"assignments": func(w *World) { w.Wipe(core.Assignments) },
		"all":         func(w *World) { w.Wipe(everything...) },
	}
	for name, lose := range losses {
		for _, exclusive := range []bool{false, true} {
			cfg := defaults()
			cfg.Exclusive = exclusive
			w := fleet(t, cfg, 4, 48)
			before := held(w)
			lose(w)
			w.Run(2 * w.cfg.IDTTL)
			must(t, w, w.Settle())
			if !maps.Equal(held(w), before) || w.check.moves != 0 || w.check.overlap != 0 {
				t.Errorf("%s, exclusive %t: %d moves, %d overlaps", name, exclusive, w.check.moves, w.check.overlap)
			}
		}
	}
}

// TestRollback brings back the store as it was before a worker joined.
func TestRollback(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := defaults()
		cfg.Exclusive = exclusive
		w := fleet(t, cfg, 3, 48)
		s := w.kv.Snapshot()
		w.Spawn(9)
		must(t, w, w.Settle())
		before, moves := held(w), w.check.moves
		w.Rollback(s)
		w.Run(2 * w.cfg.IDTTL)
		must(t, w, w.Settle())
		if !maps.Equal(held(w), before) || w.check.moves != moves || w.check.overlap != 0 {
			t.Errorf("exclusive %t: %d moves, %d overlaps", exclusive, w.check.moves-moves, w.check.overlap)
		}
	}
}

// TestLossAndCrash: the leader crashes as everything is lost. What it held goes to
// the others, and nothing else moves.
func TestLossAndCrash(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := defaults()
		cfg.Exclusive = exclusive
		w := fleet(t, cfg, 4, 48)
		before := held(w)
		leader := leaderOf(t, w)
		w.Wipe(everything...)
		leader.Crash()
		w.Run(2 * w.cfg.IDTTL)
		must(t, w, w.Settle())
		for id, who := range held(w) {
			if old := before[id]; old != who && old != leader.name {
				t.Errorf("exclusive %t: partition %s went from %s to %s", exclusive, id, old, who)
			}
		}
	}
}

// TestLostIDIsNotForTheTaking: a process that starts while the ids are lost takes
// none that somebody sends heartbeats under.
func TestLostIDIsNotForTheTaking(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := defaults()
		cfg.Exclusive = exclusive
		w := fleet(t, cfg, 3, 48)
		before := held(w)
		w.Wipe(core.IDs)
		p := w.Spawn(9)
		w.Run(w.cfg.PlannedScaleWindow / 2)
		must(t, w, nil)
		if got := held(w); !maps.Equal(got, before) {
			t.Errorf("exclusive %t: partitions moved", exclusive)
		}
		must(t, w, w.Settle())
		if p.snap.Worker != "worker-3" {
			t.Errorf("the newcomer is %s", p.snap.Worker)
		}
	}
}

// TestLongLease: a worker whose lease is longer than the leader's is cut off as
// everything is lost. In the Exclusive mode its partitions wait for its lease.
func TestLongLease(t *testing.T) {
	cfg := defaults()
	cfg.Exclusive = true
	w := watchTrace(NewWorld(cfg, 7, 12))
	w.Spawn(1)
	w.Spawn(2)
	cfg.HeartbeatTTL = 20 * time.Second
	long := w.SpawnWith(3, cfg)
	must(t, w, w.Settle())
	long.cutLink(2*time.Minute, 0)
	w.Run(10 * time.Millisecond)
	w.Wipe(everything...)
	w.Run(time.Minute)
	must(t, w, nil)
	if len(w.check.last.head.Seats) != 2 {
		t.Errorf("%d workers have a seat", len(w.check.last.head.Seats))
	}
	w.Run(2 * time.Minute)
	must(t, w, w.Settle())
}
