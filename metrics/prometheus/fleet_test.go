package prometheus_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
	partitest "github.com/arloliu/parti/testing"
)

// measured is a worker of a fleet with what it measures.
type measured struct {
	*parti.Manager
	reg  *client.Registry
	link *partitest.Link
	slow atomic.Bool // its consumer does not let go
}

func (m *measured) UpdateWorkerConsumer(ctx context.Context, _ string, _ []parti.Partition) error {
	if m.slow.Load() {
		<-ctx.Done()
	}
	return ctx.Err()
}

// flaky is a source that fails when told to.
type flaky struct {
	*source.Static
	broken atomic.Bool
}

func (f *flaky) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	if f.broken.Load() {
		return nil, errors.New("the database is down")
	}
	return f.Static.ListPartitions(ctx)
}

func newMeasured(t *testing.T, srv *partitest.Server, src parti.PartitionSource) *measured {
	t.Helper()
	return newMeasuredWith(t, srv, src, parti.Config{}, strategy.NewConsistentHash())
}

func newMeasuredWith(t *testing.T, srv *partitest.Server, src parti.PartitionSource, cfg parti.Config, strat parti.AssignmentStrategy) *measured {
	t.Helper()
	m := &measured{reg: client.NewPedanticRegistry(), link: srv.NewLink(t)}
	m.Manager = fleettest.NewManagerWith(t, m.link.Connect(t, parti.NATSOptions()...), cfg, src, strat,
		parti.WithMetrics(prometheus.MustRegister(m.reg)), parti.WithWorkerConsumerUpdater(m))
	return m
}

// value adds up the series of a figure; of a histogram it is the number of
// samples. A label value chooses one of several.
func value(t *testing.T, m *measured, name, label string) float64 {
	t.Helper()
	sum := 0.0
	for _, s := range gather(t, m.reg)[name].GetMetric() {
		if label != "" && s.GetLabel()[0].GetValue() != label {
			continue
		}
		sum += s.GetGauge().GetValue() + s.GetCounter().GetValue() + float64(s.GetHistogram().GetSampleCount())
	}
	return sum
}

// TestFiguresOfAFleet takes a fleet through everything that is measured.
func TestFiguresOfAFleet(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		const parts = 60
		src := &flaky{Static: source.NewStatic(fleettest.Numbered(parts))}
		var ws []*measured
		total := func(name, label string) float64 {
			t.Helper()
			sum := 0.0
			for _, w := range ws {
				sum += value(t, w, name, label)
			}
			return sum
		}
		at := func(when, name, label string, want float64) {
			t.Helper()
			if got := total(name, label); got != want {
				t.Errorf("%s: %s{%s} is %v, want %v", when, name, label, got, want)
			}
		}
		some := func(when, name, label string) {
			t.Helper()
			if total(name, label) <= 0 {
				t.Errorf("%s: no %s{%s}", when, name, label)
			}
		}
		leader := func() (l *measured, others []*measured) {
			t.Helper()
			for _, w := range ws {
				if w.IsLeader() {
					l = w
				} else {
					others = append(others, w)
				}
			}
			if l == nil {
				t.Fatal("no leader")
			}
			return l, others
		}

		const born = "after a cold start"
		for range 3 {
			ws = append(ws, newMeasured(t, srv, src))
		}
		fleettest.StartAll(t, ws...)
		time.Sleep(10 * time.Second)
		at(born, "parti_leader", "", 1)
		at(born, "parti_state", "Stable", 3)
		at(born, "parti_state", "", 3)
		at(born, "parti_worker_info", "", 3)
		at(born, "parti_assigned_partitions", "", parts)
		at(born, "parti_assigned_weight", "", 100*parts)
		at(born, "parti_fleet_partitions", "", parts)
		at(born, "parti_unowned_partitions", "", 0)
		at(born, "parti_rebalances_total", "cold_start", 1)
		at(born, "parti_rebalance_duration_seconds", "plan", 1)
		at(born, "parti_apply_duration_seconds", "", 3)
		for _, w := range ws {
			if v, a := value(t, w, "parti_assignment_version", ""), w.CurrentAssignment(); v != float64(a.Version) || v == 0 {
				t.Errorf("version %v, the assignment has %d", v, a.Version)
			}
			if v, a := value(t, w, "parti_assignment_term", ""), w.CurrentAssignment(); v != float64(a.Term) || v == 0 {
				t.Errorf("term %v, the assignment has %d", v, a.Term)
			}
		}
		some(born, "parti_heartbeat_duration_seconds", "")
		some(born, "parti_commit_duration_seconds", "")

		const joined = "after a join"
		ws = append(ws, newMeasured(t, srv, src))
		fleettest.StartAll(t, ws[3])
		time.Sleep(20 * time.Second)
		at(joined, "parti_rebalances_total", "scale", 1)
		some(joined, "parti_moves_total", "scale")
		at(joined, "parti_handoff_pause_seconds", "move", total("parti_moves_total", "scale"))
		at(joined, "parti_rebalance_duration_seconds", "handoff", 2)

		const stuck = "while a worker does not let go"
		l, others := leader()
		others[0].slow.Store(true)
		others[1].slow.Store(true)
		ws = append(ws, newMeasured(t, srv, src))
		fleettest.StartAll(t, ws[4])
		time.Sleep(5 * time.Second)
		some(stuck, "parti_unowned_partitions", "")
		time.Sleep(15 * time.Second)
		some(stuck, "parti_forced_handoffs_total", "")
		some(stuck, "parti_errors_total", "handoff")
		some(stuck, "parti_unowned_partition_seconds_total", "")
		others[0].slow.Store(false)
		others[1].slow.Store(false)
		time.Sleep(time.Minute)
		some(stuck, "parti_errors_total", "consumer_update")

		const failing = "while the source fails"
		src.broken.Store(true)
		if err := l.RefreshPartitions(t.Context()); !errors.Is(err, parti.ErrSource) {
			t.Error(err)
		}
		some(failing, "parti_errors_total", "source")
		src.broken.Store(false)
		src.Update(fleettest.Numbered(parts + 5))
		if err := l.RefreshPartitions(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Second)
		at("after a refresh", "parti_rebalances_total", "refresh", 1)
		at("after a refresh", "parti_fleet_partitions", "", parts+5)

		const cut = "while a worker is cut off"
		_, others = leader()
		lost := others[0]
		age := value(t, lost, "parti_cache_age_seconds", "")
		lost.link.Cut()
		time.Sleep(90 * time.Second)
		at(cut, "parti_degraded_mode", "", 1)
		at(cut, "parti_alert_level", "", 1)
		at(cut, "parti_cache_fallback_total", "", 1)
		some(cut, "parti_degraded_alerts_total", "Info")
		some(cut, "parti_errors_total", "connection")
		some(cut, "parti_watch_restarts_total", "")
		at(cut, "parti_rebalances_total", "emergency", 1)
		some(cut, "parti_handoff_pause_seconds", "crash")
		if grown := value(t, lost, "parti_cache_age_seconds", "") - age; grown < 80 {
			t.Errorf("%s: the assignment aged by %v s", cut, grown)
		}
		lost.link.Heal()
		time.Sleep(time.Minute)
		const back = "when it is back"
		at(back, "parti_degraded_mode", "", 0)
		at(back, "parti_alert_level", "", 0)
		at(back, "parti_degraded_duration_seconds", "", 1)
		some(back, "parti_overlaps_total", "")

		const silent = "when NATS does not answer"
		lost.link.Blackhole()
		time.Sleep(5 * time.Second)
		some(silent, "parti_kv_errors_total", "")
		some(silent, "parti_errors_total", "kv")
		lost.link.Heal()
		time.Sleep(time.Minute)

		const left = "after a restart"
		l, others = leader()
		if err := others[0].Stop(t.Context()); err != nil {
			t.Error(err)
		}
		at(left, "parti_worker_info", "", 4)
		time.Sleep(3 * time.Second)
		some(left, "parti_unowned_partitions", "")
		replaced := newMeasured(t, srv, src)
		fleettest.StartAll(t, replaced)
		time.Sleep(10 * time.Second)
		ws = append(ws, replaced)
		some(left, "parti_handoff_pause_seconds", "restart")
		if n := value(t, l, "parti_unowned_partitions", ""); n != 0 {
			t.Errorf("%s: %v partitions without an owner", left, n)
		}
	})
}
