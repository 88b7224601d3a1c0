package prometheus_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/metrics/internal/figures"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/subscription"
)

// maxSeries is how many series a worker may have.
const maxSeries = 200

func registered(t testing.TB) (*client.Registry, *prometheus.Collector) {
	t.Helper()
	reg := client.NewPedanticRegistry()
	return reg, prometheus.MustRegister(reg)
}

func gather(t testing.TB, reg client.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]*dto.MetricFamily{}
	for _, f := range all {
		byName[f.GetName()] = f
	}
	return byName
}

// Every figure is there from the start, under its name, and promlint has nothing
// to say.
func TestCatalogue(t *testing.T) {
	reg, c := registered(t)
	c.SetWorker("worker-1")
	families := gather(t, reg)
	for _, f := range figures.All() {
		if families[f.Name] == nil {
			t.Errorf("%s is missing", f.Name)
		}
		delete(families, f.Name)
	}
	for name := range families {
		t.Errorf("%s is not in the catalogue", name)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// The names that the user guide gives for degraded mode.
func TestNamesOfTheGuide(t *testing.T) {
	reg, c := registered(t)
	c.SetDegradedMode(1)
	c.SetAlertLevel(3)
	c.ObserveDegradedDuration(70 * time.Second)
	c.IncrementAlertEmitted("Warn")
	c.IncrementCacheFallback()
	err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP parti_alert_level Degraded alert: 0 none, 1 Info, 2 Warn, 3 Error, 4 Critical.
# TYPE parti_alert_level gauge
parti_alert_level 3
# HELP parti_cache_fallback_total Times that the worker went on with a cached assignment because NATS was away.
# TYPE parti_cache_fallback_total counter
parti_cache_fallback_total 1
# HELP parti_degraded_alerts_total Degraded alerts by level.
# TYPE parti_degraded_alerts_total counter
parti_degraded_alerts_total{level="Critical"} 0
parti_degraded_alerts_total{level="Error"} 0
parti_degraded_alerts_total{level="Info"} 0
parti_degraded_alerts_total{level="Warn"} 1
# HELP parti_degraded_mode 1 while the worker is degraded, else 0.
# TYPE parti_degraded_mode gauge
parti_degraded_mode 1
`), "parti_degraded_mode", "parti_alert_level", "parti_degraded_alerts_total", "parti_cache_fallback_total")
	if err != nil {
		t.Error(err)
	}
	h := gather(t, reg)["parti_degraded_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 1 || h.GetSampleSum() != 70 {
		t.Errorf("parti_degraded_duration_seconds: %v", h)
	}
}

// calls call every method once.
func calls(c *prometheus.Collector) {
	var m interface {
		parti.MetricsCollector
		subscription.Metrics
	} = c
	m.SetDegradedMode(1)
	m.SetCacheAge(time.Minute)
	m.SetAlertLevel(2)
	m.ObserveDegradedDuration(time.Minute)
	m.IncrementAlertEmitted("Info")
	m.IncrementCacheFallback()
	m.SetState(parti.StateStable)
	m.SetWorker("worker-7")
	m.SetVersion(3, 4)
	m.SetAssignedPartitions(5)
	m.SetAssignedWeight(500)
	m.ObserveApply(parti.AppliedChange{Took: time.Second})
	m.AddOverlaps(2)
	m.IncrementError("kv")
	m.AddMoves("scale", 9)
	m.IncrementRebalance("scale")
	m.ObserveRebalance(parti.Rebalance{Plan: 1 * time.Second, Publish: 2 * time.Second, Handoff: 3 * time.Second})
	m.ObserveHandoffPause("move", 2*time.Second, 4)
	m.IncrementForcedHandoff()
	m.SetFleet(100, 6)
	m.SetLeader(true)
	m.IncrementClaimConflict()
	m.ObserveHeartbeat(time.Second)
	m.ObserveCommit(time.Second)
	m.IncrementKVError("ids")
	m.IncrementWatchRestart()
	m.ObserveHandler(time.Second, true)
	m.ObserveHandler(time.Second, false)
	m.ObserveRelease(time.Second)
	m.IncrementPanic()
	m.IncrementStuck()
	m.IncrementRevoked()
	m.IncrementDeadLettered()
	m.IncrementTerminated()
	m.IncrementTakeover()
	m.IncrementResync()
	m.IncrementRetired()
	m.SetAbandoned(1, 9)
	m.AddHandedBack(3)
	c.Consumers(consumer{{Pending: 7, InFlight: 1, Failing: true}, {Pending: 5, InFlight: 2, Stuck: true}})
}

// Partitions of a worker's durable tell the same backlog, which counts once.
func TestBacklogOfAWorkersDurableCountsOnce(t *testing.T) {
	all := consumer{{Durable: "a", Pending: 7}, {Durable: "a", Pending: 7}}
	if sum := figures.Consumed([]figures.Consumer{all, all[:1]}); sum.Pending != 14 || sum.Partitions != 3 {
		t.Errorf("%+v", sum)
	}
}

type consumer []subscription.PartitionStats

func (c consumer) Stats() []subscription.PartitionStats { return c }

// Every method changes its figure, and every figure has a method.
func TestEveryMethodCounts(t *testing.T) {
	reg, c := registered(t)
	calls(c)
	want := map[string]float64{
		"parti_degraded_mode": 1, "parti_cache_age_seconds": 60, "parti_alert_level": 2, "parti_degraded_duration_seconds": 1,
		"parti_degraded_alerts_total/Info": 1, "parti_cache_fallback_total": 1, "parti_state/Stable": 1,
		"parti_worker_info/worker-7": 1, "parti_assignment_term": 3, "parti_assignment_version": 4,
		"parti_assigned_partitions": 5, "parti_assigned_weight": 500, "parti_apply_duration_seconds": 1,
		"parti_overlaps_total": 2, "parti_errors_total/kv": 1, "parti_moves_total/scale": 9, "parti_rebalances_total/scale": 1,
		"parti_rebalance_duration_seconds/plan": 1, "parti_rebalance_duration_seconds/publish": 1,
		"parti_rebalance_duration_seconds/handoff": 1, "parti_handoff_pause_seconds/move": 4,
		"parti_unowned_partition_seconds_total": 8, "parti_forced_handoffs_total": 1, "parti_fleet_partitions": 100,
		"parti_unowned_partitions": 6, "parti_leader": 1, "parti_claim_conflicts_total": 1,
		"parti_heartbeat_duration_seconds": 1, "parti_commit_duration_seconds": 1, "parti_kv_errors_total/ids": 1,
		"parti_watch_restarts_total": 1, "parti_handler_duration_seconds/ok": 1, "parti_handler_duration_seconds/error": 1,
		"parti_release_duration_seconds": 1, "parti_handler_panics_total": 1, "parti_handler_stuck_total": 1,
		"parti_handler_revoked_total": 1, "parti_dead_lettered_total": 1, "parti_terminated_total": 1,
		"parti_takeovers_total": 1, "parti_resyncs_total": 1, "parti_handed_back_total": 3,
		"parti_abandoned_durables": 1, "parti_abandoned_messages": 9, "parti_durables_removed_total": 1,
		"parti_consumer_partitions": 2, "parti_consumer_pending": 12, "parti_consumer_max_pending": 7, "parti_consumer_in_flight": 3,
		"parti_consumer_failing_partitions": 1, "parti_consumer_stuck_partitions": 1,
	}
	for name, f := range gather(t, reg) {
		for _, m := range f.GetMetric() {
			key := name
			for _, l := range m.GetLabel() {
				key += "/" + l.GetValue()
			}
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if name == "parti_cache_age_seconds" {
				v = float64(int(v))
			}
			if v != want[key] {
				t.Errorf("%s is %v, want %v", key, v, want[key])
			}
			delete(want, key)
		}
	}
	for key := range want {
		t.Errorf("%s was not collected", key)
	}
}

// The present state is the one series of its figure that is 1, and a worker that
// changed its id has one id.
func TestOneAtATime(t *testing.T) {
	reg, c := registered(t)
	for _, s := range parti.States() {
		c.SetState(s)
		c.SetWorker("worker-" + s.String())
	}
	families := gather(t, reg)
	sum := 0.0
	for _, m := range families["parti_state"].GetMetric() {
		sum += m.GetGauge().GetValue()
	}
	if sum != 1 {
		t.Errorf("%v states", sum)
	}
	if n := len(families["parti_worker_info"].GetMetric()); n != 1 {
		t.Errorf("%d ids", n)
	}
	c.SetWorker("")
	if gather(t, reg)["parti_worker_info"] != nil {
		t.Error("a worker without an id has one")
	}
}

// The age of the cached assignment grows although nothing is told meanwhile.
func TestCacheAgeGrows(t *testing.T) {
	reg, c := registered(t)
	age := func() float64 {
		return gather(t, reg)["parti_cache_age_seconds"].GetMetric()[0].GetGauge().GetValue()
	}
	if a := age(); a != 0 {
		t.Errorf("%v before there is any", a)
	}
	c.SetCacheAge(time.Hour)
	if a, b := age(), age(); a < 3600 || b <= a {
		t.Errorf("ages %v, %v", a, b)
	}
	c.SetState(parti.StateShutdown)
	if a := age(); a != 0 {
		t.Errorf("%v after the end", a)
	}
}

// No label says how many partitions or workers there are.
func TestSeriesAreBounded(t *testing.T) {
	reg, c := registered(t)
	c.Consumers(manyPartitions(10_000))
	calls(c)
	n := 0
	for name, f := range gather(t, reg) {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains([]string{"level", "state", "worker", "kind", "cause", "reason", "phase", "bucket", "result"}, l.GetName()) {
					t.Errorf("%s has a label %q", name, l.GetName())
				}
			}
			switch {
			case m.GetHistogram() != nil:
				n += len(m.GetHistogram().GetBucket()) + 3 // +Inf, sum, count
			default:
				n++
			}
		}
	}
	t.Logf("%d series", n)
	if n > maxSeries {
		t.Errorf("%d series, want at most %d", n, maxSeries)
	}
}

func manyPartitions(n int) consumer {
	all := make(consumer, n)
	for i := range all {
		all[i] = subscription.PartitionStats{Pending: uint64(i), InFlight: 1}
	}
	return all
}

// A second worker of a process needs labels of its own.
func TestTwoWorkersOfAProcess(t *testing.T) {
	reg, _ := registered(t)
	if _, err := prometheus.Register(reg); err == nil {
		t.Error("registered twice")
	}
	second, err := prometheus.Register(client.WrapRegistererWith(client.Labels{"fleet": "other"}, client.NewRegistry()))
	if err != nil || second == nil {
		t.Error(err)
	}
}

// One worker of 64 that share 10,000 partitions, as Prometheus asks it.
func BenchmarkScrape(b *testing.B) {
	c := prometheus.New()
	c.Consumers(manyPartitions(10_000 / 64))
	calls(c)
	h := c.Handler()
	size := 0
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
		size = w.Body.Len()
	}
	b.ReportMetric(float64(size), "bytes/scrape")
}
