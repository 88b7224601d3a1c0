package parti_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

const (
	enters = 10 * time.Second // EnterThreshold
	exits  = 5 * time.Second  // ExitThreshold
	slack  = 500 * time.Millisecond
)

// moments are the times at which a worker entered degraded mode, and left it.
func (w *worker) moments() (in, out []time.Time) {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, s := range w.states {
		switch {
		case s == parti.StateDegraded:
			in = append(in, w.when[i])
		case i > 0 && w.states[i-1] == parti.StateDegraded:
			out = append(out, w.when[i])
		}
	}
	return in, out
}

// degradedOnce fails unless a worker was degraded once, from EnterThreshold after
// the loss until ExitThreshold after its connection was up again. Where the loss
// shows only when something is asked, or the connection stays up, both may come
// later by slop.
func degradedOnce(t *testing.T, w *worker, lost, back time.Time, slop time.Duration) {
	t.Helper()
	in, out := w.moments()
	if len(in) != 1 || len(out) != 1 {
		t.Errorf("%s was degraded %d times, and left %d times", w.WorkerID(), len(in), len(out))
		return
	}
	w.mu.Lock()
	if n := len(w.back); slop == 0 && n == 0 {
		t.Errorf("%s: the application's own handler was not told of the reconnect", w.WorkerID())
	} else if slop == 0 {
		if late := w.back[n-1].Sub(back); late < 0 || late > slack {
			t.Errorf("%s reconnected after %v", w.WorkerID(), late)
		}
		back = w.back[n-1]
	}
	w.mu.Unlock()
	if late := in[0].Sub(lost) - enters; late < 0 || late > slop+slack {
		t.Errorf("%s entered degraded mode %v after the loss", w.WorkerID(), in[0].Sub(lost))
	}
	if late := out[0].Sub(back) - exits; late < 0 || late > slop+slack {
		t.Errorf("%s left degraded mode %v after NATS was back", w.WorkerID(), out[0].Sub(back))
	}
}

// rested waits for as long as a fleet may take once NATS is back, and for the window
// or the grace that runs, and fails unless it is at rest.
func rested(t *testing.T, back time.Time, runs time.Duration, parts int, ws ...*worker) {
	t.Helper()
	time.Sleep(time.Until(back.Add(exits + 5*time.Second + runs)))
	check(t, parts, ws...)
}

// alertedAt fails unless a worker was alerted of these levels and no other, each this
// long after the loss, to the second.
func alertedAt(t *testing.T, w *worker, lost time.Time, want ...string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.alerts, want) {
		t.Errorf("%s: alerts %v, want %v", w.WorkerID(), w.alerts, want)
		return
	}
	for i, at := range w.alerted {
		_, d, _ := strings.Cut(want[i], " ")
		due, err := time.ParseDuration(d)
		if late := at.Sub(lost) - due; err != nil || late < 0 || late > slack {
			t.Errorf("%s: %s came %v after the loss", w.WorkerID(), want[i], at.Sub(lost))
		}
	}
}

// TestSplitBrainRecovery is the guide's third recovery scenario. The worker that is
// back first leads; it judges nobody dead before RecoveryGracePeriod has passed.
func TestSplitBrainRecovery(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		ws := newWorkers(t, srv, 4, parti.Config{}, source.NewStatic(fleettest.Numbered(40)))
		startAll(t, ws...)
		time.Sleep(time.Minute)
		first, missing := ws[1], ws[3]
		gone := missing.CurrentAssignment().Partitions
		lost := time.Now()
		at := func(d time.Duration) { time.Sleep(time.Until(lost.Add(d))); synctest.Wait() }
		for _, w := range ws {
			w.link.Cut()
		}
		at(enters - 100*time.Millisecond)
		for _, w := range ws {
			if s := w.State(); s != parti.StateStable {
				t.Errorf("T+9.9s: %s is %v", w.WorkerID(), s)
			}
		}
		at(enters + slack)
		for _, w := range ws {
			if s := w.State(); s != parti.StateDegraded || w.IsLeader() {
				t.Errorf("T+10s: %s is %v, leads %v", w.WorkerID(), s, w.IsLeader())
			}
		}
		at(30 * time.Second)
		first.link.Heal()
		at(35 * time.Second)
		ws[0].link.Heal()
		ws[2].link.Heal()
		at(36 * time.Second)
		if s := first.State(); s == parti.StateDegraded {
			t.Errorf("T+35s: %s is %v", first.WorkerID(), s)
		}
		at(38 * time.Second)
		if !first.IsLeader() { // the lease of the leader before it has ended
			t.Errorf("T+38s: %s does not lead", first.WorkerID())
		}
		at(41 * time.Second)
		degradedOnce(t, first, lost, lost.Add(30*time.Second), 0)
		for _, w := range ws[:3] {
			if w != first {
				degradedOnce(t, w, lost, lost.Add(35*time.Second), 0)
			}
			if s := w.State(); s != parti.StateStable {
				t.Errorf("T+40s: %s is %v", w.WorkerID(), s)
			}
		}
		at(64*time.Second + slack)
		for _, w := range ws {
			if w.moved() != 0 {
				t.Errorf("%s: %d moves before T+65s", w.WorkerID(), w.moved())
			}
		}
		at(71 * time.Second)
		if !ownAll(40, ws[:3]) {
			t.Error("T+71s: the missing worker was not replaced")
		}
		check(t, 40, ws[:3]...)
		if n := ws[0].moved() + ws[1].moved() + ws[2].moved(); n != len(gone) {
			t.Errorf("%d moves, want %d", n, len(gone))
		}
	})
}

// TestOutageLongerThanEveryLease: an outage in which every lease lapses moves
// nothing, and leaves no trace in the version.
func TestOutageLongerThanEveryLease(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				cfg := parti.Config{Ownership: mode}
				ws := newWorkers(t, srv, 4, cfg, source.NewStatic(fleettest.Numbered(40)))
				startAll(t, ws...)
				time.Sleep(time.Minute)
				had := map[*worker]string{}
				version := ws[0].CurrentAssignment().Version
				for _, w := range ws {
					had[w] = fmt.Sprint(w.CurrentAssignment().Partitions)
				}
				lost := time.Now()
				srv.Shutdown()
				time.Sleep(20 * time.Minute)
				srv.Restart()
				back := time.Now()
				rested(t, back, 0, 40, ws...)
				for _, w := range ws {
					degradedOnce(t, w, lost, back, 0)
					if now := fmt.Sprint(w.CurrentAssignment().Partitions); now != had[w] {
						t.Errorf("%s had %s, has %s", w.WorkerID(), had[w], now)
					}
					if mode == parti.OwnershipAvailable && w.moved() != 0 {
						t.Errorf("%s: %d moves", w.WorkerID(), w.moved())
					}
					if v := w.CurrentAssignment().Version; mode == parti.OwnershipAvailable && v != version {
						t.Errorf("%s has version %d, had %d", w.WorkerID(), v, version)
					}
				}
			})
		})
	}
}

// TestOneIsCutOff: a leader, or a follower, that is cut off is replaced, and is
// back at work after its window; nobody else loses a partition that it need not.
func TestOneIsCutOff(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		for _, leads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, leader %v", mode, leads), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					parts := fleettest.Numbered(40)
					ws := newWorkers(t, srv, 4, parti.Config{Ownership: mode}, source.NewStatic(parts))
					startAll(t, ws...)
					time.Sleep(time.Minute)
					leader, others := leaderOf(t, ws...)
					cut := others[0]
					if leads {
						cut = leader
					}
					rest := slices.DeleteFunc(slices.Clone(ws), func(w *worker) bool { return w == cut })
					had := len(cut.CurrentAssignment().Partitions)
					lost := time.Now()
					cut.link.Cut()
					time.Sleep(30 * time.Second)
					check(t, 40, rest...)
					took := 0
					for _, w := range rest {
						took += w.moved()
					}
					if took != had {
						t.Errorf("%d moves while it was cut off, want %d", took, had)
					}
					cut.link.Heal()
					back := time.Now()
					rested(t, back, 10*time.Second, 40, ws...) // the window of a worker that joins
					degradedOnce(t, cut, lost, back, 0)
					moved := -took
					for _, w := range rest {
						moved += w.moved()
					}
					if now := len(cut.CurrentAssignment().Partitions); moved != now || now > had {
						t.Errorf("%d partitions were given back, it has %d, had %d", moved, now, had)
					}
				})
			})
		}
	}
}

// TestSilentCut: a link that swallows everything is missed from the first
// operation on that stays unanswered, and durations are counted from there,
// whether pings find it soon or never.
func TestSilentCut(t *testing.T) {
	for name, conn := range map[string][]nats.Option{"pings": parti.NATSOptions(), "no pings": {nats.MaxReconnects(-1)}} {
		for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) { silentCut(t, srv, conn, mode) })
			})
		}
	}
}

func silentCut(t *testing.T, srv *partitest.Server, conn []nats.Option, mode parti.Ownership) {
	t.Helper()
	alerts := parti.DegradedAlertConfig{InfoThreshold: 15 * time.Second, AlertInterval: time.Hour}
	cfg := parti.Config{DegradedAlert: alerts, Ownership: mode}
	src := source.NewStatic(fleettest.Numbered(40))
	var ws []*worker
	for range 2 {
		ws = append(ws, newWorkerOn(t, srv.NewLink(t), conn, cfg, src, strategy.NewConsistentHash()))
	}
	startAll(t, ws...)
	time.Sleep(time.Minute)
	had := map[*worker]string{}
	for _, w := range ws {
		had[w] = fmt.Sprint(w.CurrentAssignment().Partitions)
	}
	lost := time.Now()
	for _, w := range ws {
		w.link.Blackhole()
	}
	time.Sleep(30 * time.Second)
	for _, w := range ws {
		w.link.Heal()
	}
	back := time.Now()
	rested(t, back, 0, 40, ws...)
	if mode == parti.OwnershipAvailable {
		nothingHappened(t, ws...)
	}
	for _, w := range ws {
		if now := fmt.Sprint(w.CurrentAssignment().Partitions); now != had[w] {
			t.Errorf("%s had %s, has %s", w.WorkerID(), had[w], now)
		}
		degradedOnce(t, w, lost, back, 2*time.Second) // an operation every heartbeat
		in, _ := w.moments()
		w.mu.Lock()
		if len(in) == 1 && (len(w.alerted) != 1 || w.alerted[0].Sub(in[0]) < 4500*time.Millisecond || w.alerted[0].Sub(in[0]) > 5500*time.Millisecond) {
			t.Errorf("%s: degraded at %v, alerts %v at %v", w.WorkerID(), in, w.alerts, w.alerted)
		}
		if want := []string{"Info 15s"}; !slices.Equal(w.alerts, want) {
			t.Errorf("%s: alerts %v, want %v", w.WorkerID(), w.alerts, want)
		}
		w.mu.Unlock()
	}
}
