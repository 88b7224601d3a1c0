// Package prometheus collects what parti measures for Prometheus. One line
// registers it:
//
//	metrics := prometheus.MustRegister(client.DefaultRegisterer)
//
// Then give it to the manager with [parti.WithMetrics] and, where a
// [subscription.DurableHelper] consumes, to that as its Metrics, and the helper to
// [Collector.Consumers]. docs/OPERATIONS.md says what each metric means.
//
// A collector is for one worker. Where a process has several, register each with a
// label fleet of its own, by which alerts and dashboard tell them apart:
// client.WrapRegistererWith(client.Labels{"fleet": "orders"}, r).
// No label grows with the number of partitions or workers; a worker has fewer than
// 200 series.
package prometheus

import (
	"fmt"
	"net/http"
	"sync"

	client "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/metrics/internal/figures"
	"github.com/arloliu/parti/subscription"
)

// Collector is a [parti.MetricsCollector], a [subscription.Metrics] and a
// prometheus.Collector. It is safe for concurrent use.
type Collector struct {
	*figures.Recorder

	sink *sink

	mu        sync.Mutex
	consumers []figures.Consumer // asked at every scrape
}

var (
	_ parti.MetricsCollector = (*Collector)(nil)
	_ subscription.Metrics   = (*Collector)(nil)
	_ client.Collector       = (*Collector)(nil)
)

// Consumer is what a [Collector] asks about the consumers of a worker at every
// scrape; *subscription.DurableHelper is one.
type Consumer interface {
	Stats() []subscription.PartitionStats
}

// New returns a collector, to be registered by the caller.
func New() *Collector {
	s := newSink()
	return &Collector{Recorder: figures.New(s), sink: s}
}

// Register returns a collector that is registered with r.
func Register(r client.Registerer) (*Collector, error) {
	c := New()
	if err := r.Register(c); err != nil {
		return nil, fmt.Errorf("register parti's metrics: %w", err)
	}
	return c, nil
}

// MustRegister is [Register] for programs that cannot go on without.
func MustRegister(r client.Registerer) *Collector {
	c, err := Register(r)
	if err != nil {
		panic(err)
	}
	return c
}

// Consumers has the collector ask a consumer about its lag and what it handles.
func (c *Collector) Consumers(all ...Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range all {
		c.consumers = append(c.consumers, k)
	}
}

// Handler serves what the collector has, and nothing else, for programs that have
// no registry of their own.
func (c *Collector) Handler() http.Handler {
	r := client.NewRegistry()
	r.MustRegister(c)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *client.Desc) {
	for _, m := range c.sink.all {
		m.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- client.Metric) {
	c.sink.Set(figures.CacheAge, "", c.CacheAge().Seconds())
	c.mu.Lock()
	consumers := c.consumers
	c.mu.Unlock()
	if len(consumers) > 0 {
		figures.Consumed(consumers).Show(c.sink)
	}
	for _, m := range c.sink.all {
		m.Collect(to)
	}
}
