package parti_test

import (
	"fmt"
	"time"

	"github.com/arloliu/parti"
)

// PrometheusCollector collects what degraded mode tells. The embedded NopMetrics
// makes it a MetricsCollector that ignores everything else, and keeps it one when
// a later version of parti measures more.
type PrometheusCollector struct {
	parti.NopMetrics

	degradedMode gauge       // prometheus.Gauge
	cacheAge     gauge       // prometheus.Gauge
	alertsTotal  *counterVec // *prometheus.CounterVec
}

func (c *PrometheusCollector) SetDegradedMode(value float64) {
	c.degradedMode.Set(value) // 1.0 = degraded, 0.0 = normal
}

func (c *PrometheusCollector) SetCacheAge(duration time.Duration) {
	c.cacheAge.Set(duration.Seconds())
}

func (c *PrometheusCollector) IncrementAlertEmitted(level string) {
	c.alertsTotal.WithLabelValues(level).Inc()
}

func ExampleMetricsCollector() {
	var collector parti.MetricsCollector = &PrometheusCollector{
		degradedMode: gauge{"parti_degraded_mode"},
		cacheAge:     gauge{"parti_cache_age_seconds"},
		alertsTotal:  &counterVec{"parti_degraded_alerts_total"},
	}
	opt := parti.WithMetrics(collector) // for NewManager
	_ = opt

	collector.SetDegradedMode(1)
	collector.SetCacheAge(90 * time.Second)
	collector.IncrementAlertEmitted("Info")
	collector.SetAssignedPartitions(12) // ignored
	// Output:
	// parti_degraded_mode 1
	// parti_cache_age_seconds 90
	// parti_degraded_alerts_total{level="Info"} +1
}

// gauge, counterVec and counter stand for the metrics of package prometheus.
type (
	gauge      struct{ name string }
	counterVec struct{ name string }
	counter    struct{ name string }
)

func (g gauge) Set(v float64) { fmt.Println(g.name, v) }

func (c *counterVec) WithLabelValues(level string) counter {
	return counter{fmt.Sprintf("%s{level=%q}", c.name, level)}
}

func (c counter) Inc() { fmt.Println(c.name, "+1") }
