package sim

import (
	"strings"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// fleet returns a world with n stable workers.
func fleet(t *testing.T, cfg core.Config, n, partitions int) *World {
	t.Helper()
	w := watchTrace(NewWorld(cfg, 7, partitions))
	for i := range n {
		w.Spawn(i + 1)
	}
	must(t, w, w.Settle())
	return w
}

// converges runs until the fleet is as it should be, and tells how long it took.
func converges(t *testing.T, w *World, limit time.Duration) time.Duration {
	t.Helper()
	began := w.Now()
	if !w.RunUntil(limit, 50*time.Millisecond, func() bool { return w.Converged() == nil }) {
		must(t, w, w.Converged())
	}
	return w.Now() - began
}

func leaderOf(t *testing.T, w *World) *Worker {
	t.Helper()
	for _, p := range w.Live() {
		if p.snap.Leader {
			return p
		}
	}
	t.Fatal("there is no leader")
	return nil
}

func TestJoin(t *testing.T) {
	w := fleet(t, defaults(), 3, 48)
	w.Spawn(9)
	took := converges(t, w, w.cfg.PlannedScaleWindow+2*time.Second)
	if took < w.cfg.PlannedScaleWindow || w.check.moves != 12 || w.check.overlap != 0 {
		t.Errorf("took %v, %d moves, %d overlaps", took, w.check.moves, w.check.overlap)
	}
}

// TestLeave: the partitions of a leaver wait for its return, and move when the
// window has ended without it.
func TestLeave(t *testing.T) {
	w := fleet(t, defaults(), 4, 48)
	w.Live()[2].Stop()
	w.Run(w.cfg.PlannedScaleWindow - time.Second)
	must(t, w, nil)
	if w.check.moves != 0 {
		t.Errorf("%d moves within the window", w.check.moves)
	}
	converges(t, w, 3*time.Second)
	if w.check.moves != 12 || w.check.overlap != 0 {
		t.Errorf("%d moves, %d overlaps", w.check.moves, w.check.overlap)
	}
}

// TestRollingRestart: every process is replaced on its host, and nothing moves.
func TestRollingRestart(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := defaults()
		cfg.Exclusive = exclusive
		w := fleet(t, cfg, 4, 48)
		for _, p := range w.Live() {
			id := p.snap.Worker
			var again *Worker
			p.onEnd = func() { w.after(time.Second, func() { again = w.Spawn(p.host) }) }
			p.Stop()
			w.Run(2 * time.Second)
			converges(t, w, 4*time.Second)
			if again == nil || again.snap.Worker != id {
				t.Errorf("%s does not return", id)
			}
		}
		must(t, w, w.Settle())
		if w.check.moves != 0 || w.check.overlap != 0 {
			t.Errorf("exclusive %t: %d moves, %d overlaps", exclusive, w.check.moves, w.check.overlap)
		}
	}
}

// TestReturnPastAGap: a worker has left for good, and its id is free. Who is replaced
// within its time, stopped or crashed, comes back under the own id, also where that
// is the higher one, and nothing moves.
func TestReturnPastAGap(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := defaults()
		cfg.Exclusive = exclusive
		w := fleet(t, cfg, 5, 48)
		w.trusting(t, "worker-1").Stop()
		must(t, w, w.Settle())
		moves := w.check.moves
		for _, p := range w.Live() {
			for _, end := range []func(*Worker){(*Worker).Stop, (*Worker).Crash} {
				id := p.snap.Worker
				end(p)
				w.Run(time.Second)
				p = w.Spawn(p.host)
				w.Run(2 * time.Second)
				converges(t, w, 6*time.Second)
				if p.snap.Worker != id {
					t.Errorf("exclusive %t: %s comes back as %s", exclusive, id, p.snap.Worker)
				}
			}
		}
		must(t, w, w.Settle())
		if w.check.moves != moves || w.check.overlap != 0 {
			t.Errorf("exclusive %t: %d moves, %d overlaps", exclusive, w.check.moves-moves, w.check.overlap)
		}
	}
}

// trusting is the worker that holds an id.
func (w *World) trusting(t *testing.T, id string) *Worker {
	t.Helper()
	for _, p := range w.Live() {
		if p.snap.Worker == id {
			return p
		}
	}
	t.Fatalf("nobody is %s", id)
	return nil
}

// TestCrash: a worker that vanishes is replaced after its lease and the grace,
// the leader as well.
func TestCrash(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		for _, leader := range []bool{false, true} {
			cfg := defaults()
			cfg.Exclusive = exclusive
			w := fleet(t, cfg, 4, 48)
			if p := leaderOf(t, w); leader {
				p.Crash()
			} else {
				w.Live()[(w.slot(p)+1)%4].Crash()
			}
			limit := w.cfg.HeartbeatTTL + w.cfg.EmergencyGracePeriod + time.Second
			if leader && exclusive { // elected first, the leader follows the lease from the start
				limit += w.cfg.HeartbeatTTL
			}
			took := converges(t, w, limit)
			if w.check.moves != 12 {
				t.Errorf("%d moves", w.check.moves)
			}
			t.Logf("exclusive %t, leader %t: %v", exclusive, leader, took)
		}
	}
}

// slot is the place of a worker among the live ones.
func (w *World) slot(p *Worker) int {
	for i, o := range w.Live() {
		if o == p {
			return i
		}
	}
	return -1
}

// TestRestartAfterCrash: a process restarted at once on its host gets its id,
// and keeps its partitions without a move.
func TestRestartAfterCrash(t *testing.T) {
	w := fleet(t, defaults(), 4, 48)
	for i := range 4 {
		p := w.workers[i]
		id := p.snap.Worker
		p.Crash()
		again := w.Spawn(p.host)
		converges(t, w, w.cfg.HeartbeatTTL+3*time.Second)
		if again.snap.Worker != id {
			t.Errorf("%s is now %s", id, again.snap.Worker)
		}
	}
	if w.check.moves != 0 {
		t.Errorf("%d moves", w.check.moves)
	}
}

// TestTwoRestartOnOneHost: of two processes that start where one has died, one
// gets its id.
func TestTwoRestartOnOneHost(t *testing.T) {
	w := fleet(t, defaults(), 4, 48)
	p := w.workers[1]
	p.Crash()
	w.Spawn(p.host)
	w.Spawn(p.host)
	must(t, w, w.Settle())
}

// TestLateWatch: a leader whose watch falls behind takes nobody for dead.
func TestLateWatch(t *testing.T) {
	w := fleet(t, defaults(), 4, 48)
	for _, wt := range leaderOf(t, w).watches {
		if wt.bucket == core.Heartbeats {
			wt.block(30 * time.Second)
		}
	}
	at := w.check.last.head.Version
	w.Run(40 * time.Second)
	must(t, w, w.Converged())
	if w.check.last.head.Version != at {
		t.Errorf("the assignment changed from %d to %d", at, w.check.last.head.Version)
	}
}

// once makes one operation suffer, and then no other.
func once(w *World, f fault, match func(p *Worker, op core.KV) bool) (hit *bool) {
	hit = new(bool)
	w.script = func(p *Worker, op core.KV) fault {
		if !*hit && match(p, op) {
			*hit = true
			return f
		}
		return fine
	}
	return hit
}

// TestLostLeaderDeletion: a leader that steps down and does not hear that its
// key was deleted, or whose deletion was lost, can lead again.
func TestLostLeaderDeletion(t *testing.T) {
	for _, f := range []fault{unsent, unheard, refused} {
		cfg := defaults()
		cfg.Agent = true
		w := fleet(t, cfg, 1, 4)
		hit := once(w, f, func(_ *Worker, op core.KV) bool { return op.Verb == core.Delete && op.Key == "g.leader" })
		w.agent.holder, w.agent.until = "nobody", w.now+10*time.Second
		w.Run(30 * time.Second)
		must(t, w, w.Converged())
		if !*hit {
			t.Error("nothing was deleted")
		}
	}
}

// TestStopDuringCampaign: a worker that is stopped while it takes the leader key
// gives it back.
func TestStopDuringCampaign(t *testing.T) {
	for _, f := range []fault{fine, unheard} {
		w := fleet(t, defaults(), 2, 4)
		leader := leaderOf(t, w)
		stopped := once(w, f, func(p *Worker, op core.KV) bool {
			if p == leader || op.Key != "g.leader" || op.Verb == core.Delete {
				return false
			}
			w.after(0, p.Stop)
			return true
		})
		leader.Stop()
		w.Run(15 * time.Second)
		must(t, w, nil)
		if keys := w.kv.Keys(int(core.Election)); !*stopped || len(w.Live()) != 0 || len(keys) != 0 {
			t.Errorf("stopped %t, %d live, left %v", *stopped, len(w.Live()), keys)
		}
	}
}

// TestStrays: keys that arrive too late, and deletions that do not arrive, leave
// nothing for good.
func TestStrays(t *testing.T) {
	for _, c := range []struct {
		verb core.Verb
		key  string
		f    fault
	}{
		{core.Create, "g.id.", belated},
		{core.Create, "g.ticket.", belated},
		{core.Delete, "g.ticket.", unsent},
		{core.Delete, "g.hb.", unsent},
		{core.Delete, "g.id.", unsent},
	} {
		w := fleet(t, defaults(), 2, 4)
		hit := once(w, c.f, func(_ *Worker, op core.KV) bool { return op.Verb == c.verb && strings.HasPrefix(op.Key, c.key) })
		for i := range 3 {
			w.Spawn(10 + i)
		}
		w.Live()[1].Crash()
		w.Run(4 * w.cfg.IDTTL)
		must(t, w, w.Settle())
		if !*hit {
			t.Errorf("no operation on %s suffered", c.key)
		}
	}
}

// TestOneLostOperation: an operation that is not answered among others that are
// does not make a worker degraded.
func TestOneLostOperation(t *testing.T) {
	w := fleet(t, defaults(), 2, 4)
	hit := once(w, unsent, func(_ *Worker, op core.KV) bool { return op.Verb == core.Get && op.Timeout >= w.cfg.EnterThreshold })
	degraded := false
	w.RunUntil(40*time.Second, 50*time.Millisecond, func() bool {
		for _, p := range w.Live() {
			degraded = degraded || p.snap.State == core.Degraded
		}
		return false
	})
	must(t, w, w.Converged())
	if degraded || !*hit {
		t.Errorf("degraded %t, hit %t", degraded, *hit)
	}
}

// TestSlowCampaign: a worker whose campaign takes long does not take the leader
// key from one that was elected meanwhile.
func TestSlowCampaign(t *testing.T) {
	w := fleet(t, defaults(), 3, 6)
	leader := leaderOf(t, w)
	var slow *Worker
	w.script = func(p *Worker, op core.KV) fault {
		campaigns := op.Verb == core.Get && op.Key == "g.head" && op.Timeout == w.cfg.ElectionTimeout
		if !campaigns || slow != nil && slow != p {
			return fine
		}
		slow = p
		return sluggish
	}
	term := w.check.last.head.Term
	leader.Crash()
	must(t, w, w.Settle())
	if got := w.check.last.head.Term - term; slow == nil || got != 1 {
		t.Errorf("%d terms later", got)
	}
}

// TestOutage: all lose the store for a minute. In the Available mode everybody
// goes on with what it has; in the Exclusive mode nothing is worked on after the
// lease. Afterwards nothing has moved.
func TestOutage(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		for _, notice := range []time.Duration{0, 5 * time.Second} {
			cfg := defaults()
			cfg.Exclusive = exclusive
			w := fleet(t, cfg, 4, 48)
			for _, p := range w.Live() {
				p.cutLink(time.Minute, notice)
			}
			w.Run(w.cfg.EnterThreshold + notice + time.Second)
			for _, p := range w.Live() {
				if p.snap.State != core.Degraded {
					t.Errorf("%s is in state %s", p.name, states[p.snap.State])
				}
				if got := len(p.running) - len(p.void); exclusive && got != 0 || !exclusive && got != 12 {
					t.Errorf("exclusive %t: %s works on %d partitions", exclusive, p.name, got)
				}
			}
			w.Run(50 * time.Second)
			must(t, w, w.Settle())
			if w.check.moves != 0 || w.check.overlap != 0 {
				t.Errorf("exclusive %t: %d moves, %d overlaps", exclusive, w.check.moves, w.check.overlap)
			}
		}
	}
}

// TestCut: one worker loses its link. In the Available mode it goes on with what
// it has until it hears that others have it; nobody else gives anything up.
func TestCut(t *testing.T) {
	for _, exclusive := range []bool{false, true} {
		cfg := defaults()
		cfg.Exclusive = exclusive
		w := fleet(t, cfg, 4, 48)
		p := w.Live()[2]
		p.cutLink(40*time.Second, 0)
		w.Run(w.cfg.HeartbeatTTL + w.cfg.EmergencyGracePeriod + time.Second)
		must(t, w, nil)
		if got := len(p.running) - len(p.void); exclusive && got != 0 || !exclusive && got != 12 {
			t.Errorf("exclusive %t: %s works on %d partitions", exclusive, p.name, got)
		}
		if len(w.check.last.grants) != 48 || len(w.check.last.head.Seats) != 3 {
			t.Errorf("%d granted to %d", len(w.check.last.grants), len(w.check.last.head.Seats))
		}
		w.Run(40 * time.Second)
		must(t, w, w.Settle())
	}
}

// TestDeposedLeaderKeepsItsLease: a leader that can renew its heartbeat and not
// the leader key is deposed. Its lease on partitions lasts from its last
// heartbeat, however long the leader key has been silent.
func TestDeposedLeaderKeepsItsLease(t *testing.T) {
	cfg := defaults()
	cfg.Exclusive = true
	w := fleet(t, cfg, 3, 6)
	old, term := leaderOf(t, w), w.check.last.head.Term
	w.script = func(p *Worker, op core.KV) fault {
		deposed := w.check.last.head.Term != term
		if p == old && (op.Key == "g.leader" || deposed && op.Bucket == core.Heartbeats) {
			return unsent
		}
		return fine
	}
	w.Run(time.Minute)
	must(t, w, nil)
	if n := len(w.check.last.head.Seats); n != 2 {
		t.Errorf("%d workers have a seat", n)
	}
}
