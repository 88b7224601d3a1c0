package parti_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
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

// The remedies that docs/OPERATIONS.md names have their effect.

// plansOf counts the plans of all workers.
func plansOf(ms ...*told) int {
	n := 0
	for _, m := range ms {
		m.mu.Lock()
		n += len(m.plans)
		m.mu.Unlock()
	}
	return n
}

// TestMoreIDsLetMoreWorkersStart: WorkerIDMax bounds the fleet.
func TestMoreIDsLetMoreWorkersStart(t *testing.T) {
	for most, fits := range map[int]bool{1: false, 2: true} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			cfg := parti.Config{WorkerIDMax: most}
			src := source.NewStatic(fleettest.Numbered(10))
			startAll(t, newWorkers(t, srv, 2, cfg, src)...)
			err := newWorker(t, srv, cfg, src).Start(t.Context())
			if fits && err != nil || !fits && !errors.Is(err, parti.ErrStableIDExhausted) {
				t.Errorf("WorkerIDMax %d: %v", most, err)
			}
		})
	}
}

// TestLongerStartupTimeoutWaitsForNATS: StartupTimeout bounds the wait.
func TestLongerStartupTimeoutWaitsForNATS(t *testing.T) {
	for timeout, starts := range map[time.Duration]bool{30 * time.Second: false, time.Minute: true} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			w := newWorker(t, srv, parti.Config{StartupTimeout: timeout}, source.NewStatic(fleettest.Numbered(10)))
			srv.Shutdown()
			time.Sleep(time.Second)
			time.AfterFunc(40*time.Second, srv.Restart)
			err := w.Start(t.Context())
			if starts && err != nil || !starts && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("StartupTimeout %v: %v", timeout, err)
			}
			time.Sleep(time.Minute) // the server is back in any case
		})
	}
}

// TestLongerWindowStopsMoves: a worker that is back within PlannedScaleWindow
// moves nothing.
func TestLongerWindowStopsMoves(t *testing.T) {
	for window, moves := range map[time.Duration]bool{10 * time.Second: true, 20 * time.Second: false} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			cfg := parti.Config{PlannedScaleWindow: window}
			src := source.NewStatic(fleettest.Numbered(30))
			ws := newWorkers(t, srv, 3, cfg, src)
			startAll(t, ws...)
			time.Sleep(time.Minute)
			leader, others := leaderOf(t, ws...)
			others[0].stop(t)
			time.Sleep(15 * time.Second)
			back := newWorker(t, srv, cfg, src)
			startAll(t, back)
			time.Sleep(time.Minute)
			if n := leader.moved() + others[1].moved(); n > 0 != moves {
				t.Errorf("PlannedScaleWindow %v: %d moves", window, n)
			}
			check(t, 30, leader, others[1], back)
		})
	}
}

// TestLongerIntervalSpacesPlans: MinRebalanceInterval bounds how often the fleet
// is rebalanced, however often the list changes.
func TestLongerIntervalSpacesPlans(t *testing.T) {
	plans := map[time.Duration]int{}
	for _, interval := range []time.Duration{5 * time.Second, 30 * time.Second} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			m := &told{}
			src := source.NewStatic(fleettest.Numbered(10))
			cfg := parti.Config{Assignment: parti.AssignmentConfig{MinRebalanceInterval: interval}}
			w := newWorker(t, srv, cfg, src, parti.WithMetrics(m))
			startAll(t, w)
			ctx, cancel := context.WithCancel(t.Context())
			for i := range 60 {
				src.Update(fleettest.Numbered(11 + i))
				go func() { _ = w.RefreshPartitions(ctx) }() // that they come too often is the point
				time.Sleep(2 * time.Second)
			}
			cancel()
			time.Sleep(time.Minute)
			plans[interval] = plansOf(m)
			check(t, 70, w)
		})
	}
	if often, seldom := plans[5*time.Second], plans[30*time.Second]; often < 20 || seldom > 7 || seldom < 2 {
		t.Errorf("%v plans", plans)
	}
}

// TestHigherThresholdBearsWeights: weights that change by less than
// MinRebalanceThreshold move nothing.
func TestHigherThresholdBearsWeights(t *testing.T) {
	for threshold, moves := range map[float64]bool{0.05: true, 0.5: false} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			parts := fleettest.Numbered(40)
			src := source.NewStatic(parts)
			cfg := parti.Config{Assignment: parti.AssignmentConfig{MinRebalanceThreshold: threshold}}
			ws := newWorkers(t, srv, 2, cfg, src)
			startAll(t, ws...)
			time.Sleep(time.Minute)
			heavier := fleettest.Numbered(40)
			for i := range heavier {
				if _, mine := ws[0].Owns(heavier[i]); mine {
					heavier[i].Weight = 180
				}
			}
			src.Update(heavier)
			if err := ws[1].RefreshPartitions(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := ws[0].moved() + ws[1].moved(); n > 0 != moves {
				t.Errorf("MinRebalanceThreshold %v: %d moves", threshold, n)
			}
			check(t, 40, ws...)
		})
	}
}

// slowest keeps how long the slowest heartbeat took.
type slowest struct {
	parti.NopMetrics

	took atomic.Int64
}

func (s *slowest) ObserveHeartbeat(d time.Duration) { s.took.Store(max(s.took.Load(), int64(d))) }

// TestLongerTTLBearsSlowHeartbeats: heartbeats that NATS stores late for longer than
// HeartbeatTTL are taken for a death, and those within a longer one are not.
func TestLongerTTLBearsSlowHeartbeats(t *testing.T) {
	for ttl, dies := range map[time.Duration]bool{6 * time.Second: true, 15 * time.Second: false} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			const parts = 20
			took := &slowest{}
			src := source.NewStatic(fleettest.Numbered(parts))
			cfg := parti.Config{HeartbeatTTL: ttl}
			leader := newWorker(t, srv, cfg, src)
			// No pings, so that a slow server is not given up.
			conn := append(parti.NATSOptions(), nats.PingInterval(time.Hour))
			slow := newWorkerOn(t, srv.NewLink(t), conn, cfg, src, strategy.NewConsistentHash(), parti.WithMetrics(took))
			startAll(t, leader)
			startAll(t, slow)
			time.Sleep(time.Minute)
			check(t, parts, leader, slow)
			before := leader.moved() + slow.moved()
			for range 3 {
				slow.link.Blackhole()
				time.Sleep(9 * time.Second)
				slow.link.Heal() // and what waited arrives
				time.Sleep(5 * time.Second)
			}
			if d := time.Duration(took.took.Load()); d < time.Second {
				t.Errorf("the slowest heartbeat took %v", d)
			}
			time.Sleep(time.Minute)
			check(t, parts, leader, slow)
			if n := leader.moved() + slow.moved() - before; n > 0 != dies || dies != slices.Contains(leader.history(), parti.StateEmergency) {
				t.Errorf("HeartbeatTTL %v: %d moves, %v", ttl, n, leader.history())
			}
		})
	}
}

// TestLongerTTLKeepsTheIDOfASuspendedWorker: what is found dead loses its id to the next
// who comes, however long WorkerIDTTL is.
func TestLongerTTLKeepsTheIDOfASuspendedWorker(t *testing.T) {
	for ttl, loses := range map[time.Duration]bool{6 * time.Second: true, 75 * time.Second: false} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			cfg := parti.Config{HeartbeatTTL: ttl, WorkerIDTTL: 90 * time.Second}
			src := source.NewStatic(fleettest.Numbered(20))
			ws := newWorkers(t, srv, 3, cfg, src)
			startAll(t, ws[0])
			startAll(t, ws[1])
			time.Sleep(time.Minute)
			ws[1].link.Blackhole()
			time.Sleep(20 * time.Second)
			startAll(t, ws[2])
			time.Sleep(40 * time.Second)
			ws[1].link.Heal()
			time.Sleep(time.Minute)
			if ws[1].reported(parti.ErrIDLost) != loses {
				t.Errorf("HeartbeatTTL %v: reported %v", ttl, ws[1].errors())
			}
			check(t, 20, ws...)
		})
	}
}

// TestShorterWorkNeedsNoForce: a handoff is forced when the work of the giver takes
// longer than HandoffTimeout to end, and not with shorter work or a longer timeout.
func TestShorterWorkNeedsNoForce(t *testing.T) {
	for _, c := range []struct {
		work, timeout time.Duration
		forced        bool
	}{
		{8 * time.Second, 5 * time.Second, true},
		{3 * time.Second, 5 * time.Second, false},
		{8 * time.Second, 20 * time.Second, false},
	} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			src := source.NewStatic(fleettest.Numbered(20))
			cfg := parti.Config{HandoffTimeout: c.timeout}
			u := &hesitant{}
			leader := newWorker(t, srv, cfg, src, parti.WithWorkerConsumerUpdater(u))
			startAll(t, leader)
			time.Sleep(time.Minute)
			u.slow.Store(int64(c.work))
			second := newWorker(t, srv, cfg, src)
			startAll(t, second)
			time.Sleep(time.Minute)
			if leader.reported(parti.ErrHandoffForced) != c.forced {
				t.Errorf("work of %v, HandoffTimeout %v: reported %v", c.work, c.timeout, leader.errors())
			}
			u.slow.Store(0)
			check(t, 20, leader, second)
		})
	}
}

// TestFastRecovery: the guide's configuration for it recovers from a crash sooner than
// the defaults.
func TestFastRecovery(t *testing.T) {
	took := map[bool]time.Duration{}
	for _, fast := range []bool{true, false} {
		partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
			cfg, conn := parti.Config{}, parti.NATSOptions()
			if fast {
				cfg.HeartbeatInterval, cfg.HeartbeatTTL = 250*time.Millisecond, 750*time.Millisecond
				cfg.EmergencyGracePeriod = 100 * time.Millisecond
				conn = append(conn, nats.ReconnectWait(100*time.Millisecond), nats.ReconnectJitter(0, 0))
			}
			src := source.NewStatic(fleettest.Numbered(20))
			var ws []*worker
			for range 3 {
				ws = append(ws, newWorkerOn(t, srv.NewLink(t), conn, cfg, src, strategy.NewConsistentHash()))
			}
			startAll(t, ws...)
			time.Sleep(time.Minute)
			leader, others := leaderOf(t, ws...)
			others[0].link.Cut()
			rest := []*worker{leader, others[1]}
			took[fast] = until(20*time.Second, func() bool { return ownAll(20, rest) })
			check(t, 20, rest...)
		})
	}
	if took[true] > 700*time.Millisecond || took[false] > 2800*time.Millisecond || took[false] < 2*took[true] {
		t.Errorf("fast %v, with the defaults %v", took[true], took[false])
	}
}
