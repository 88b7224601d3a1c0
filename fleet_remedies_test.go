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
