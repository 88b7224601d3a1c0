// Package otel gives what parti measures to OpenTelemetry: the metrics of the
// Prometheus collector, under the same names, and spans for what takes time.
//
//	metrics, err := otel.New(otel.WithMeterProvider(mp), otel.WithTracerProvider(tp))
//
// Then give it to the manager with [parti.WithMetrics] and, where a
// [subscription.DurableHelper] consumes, to that as its Metrics, and the helper to
// [Collector.Consumers]. docs/OPERATIONS.md says what each metric means.
//
// The spans are:
//   - parti.rebalance, at the leader: a plan, from the call of the strategy to the
//     last grant, with its phases parti.plan, parti.publish and parti.handoff as
//     children;
//   - parti.apply, at every worker whose partitions change: from the arrival of the
//     assignment until consumers and hook have followed it, which is this worker's
//     part of a handoff.
//
// Both carry the attributes parti.term and parti.version, which belong together.
package otel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/metrics/internal/figures"
	"github.com/arloliu/parti/subscription"
)

// scope is the name of the instrumentation.
const scope = "github.com/arloliu/parti/metrics/otel"

// Collector is a [parti.MetricsCollector] and a [subscription.Metrics]. It is safe
// for concurrent use.
type Collector struct {
	*figures.Recorder

	sink   *sink
	tracer trace.Tracer
	common []attribute.KeyValue

	mu        sync.Mutex
	consumers []figures.Consumer
}

var (
	_ parti.MetricsCollector = (*Collector)(nil)
	_ subscription.Metrics   = (*Collector)(nil)
)

// Option changes where a collector sends to. The default is what is set globally.
type Option func(*options)

type options struct {
	meters  metric.MeterProvider
	tracers trace.TracerProvider
	common  []attribute.KeyValue
}

// WithMeterProvider sets where metrics go.
func WithMeterProvider(p metric.MeterProvider) Option { return func(o *options) { o.meters = p } }

// WithTracerProvider sets where spans go.
func WithTracerProvider(p trace.TracerProvider) Option { return func(o *options) { o.tracers = p } }

// WithAttributes adds attributes to everything, such as the name of the fleet where
// a process has several workers.
func WithAttributes(all ...attribute.KeyValue) Option {
	return func(o *options) { o.common = append(o.common, all...) }
}

// New returns a collector. It fails when an instrument cannot be made.
func New(opts ...Option) (*Collector, error) {
	o := options{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider()}
	for _, opt := range opts {
		opt(&o)
	}
	c := &Collector{tracer: o.tracers.Tracer(scope), common: o.common}
	s, err := newSink(o.meters.Meter(scope), o.common, c.refresh)
	if err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	c.sink, c.Recorder = s, figures.New(s)
	return c, nil
}

// Close ends the observation of gauges.
func (c *Collector) Close() error { return c.sink.registration.Unregister() }

// Consumer is what a [Collector] asks about the consumers of a worker at every
// collection; *subscription.DurableHelper is one.
type Consumer interface {
	Stats() []subscription.PartitionStats
}

// Consumers has the collector ask consumers about their lag and what they handle.
func (c *Collector) Consumers(all ...Consumer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range all {
		c.consumers = append(c.consumers, k)
	}
}

// refresh brings up to date what is asked for when it is collected.
func (c *Collector) refresh() {
	c.sink.Set(figures.CacheAge, "", c.CacheAge().Seconds())
	c.mu.Lock()
	consumers := c.consumers
	c.mu.Unlock()
	if len(consumers) > 0 {
		figures.Consumed(consumers).Show(c.sink)
	}
}

// ObserveRebalance records the phases, and a span for each.
func (c *Collector) ObserveRebalance(r parti.Rebalance) {
	c.Recorder.ObserveRebalance(r)
	ctx, end := c.span(context.Background(), "parti.rebalance", r.Began, r.Plan+r.Publish+r.Handoff,
		attribute.String("parti.reason", r.Reason), attribute.Int64("parti.term", int64(r.Term)),
		attribute.Int64("parti.version", int64(r.Version)), attribute.Int("parti.workers", r.Workers),
		attribute.Int("parti.partitions", r.Partitions), attribute.Int("parti.moves", r.Moves))
	at := r.Began
	for _, phase := range []struct {
		name string
		took time.Duration
	}{{"parti.plan", r.Plan}, {"parti.publish", r.Publish}, {"parti.handoff", r.Handoff}} {
		_, endPhase := c.span(ctx, phase.name, at, phase.took)
		endPhase()
		at = at.Add(phase.took)
	}
	end()
}

// ObserveApply records how long it took, and a span.
func (c *Collector) ObserveApply(a parti.AppliedChange) {
	c.Recorder.ObserveApply(a)
	_, end := c.span(context.Background(), "parti.apply", a.Began, a.Took,
		attribute.Int64("parti.term", int64(a.Term)), attribute.Int64("parti.version", int64(a.Version)),
		attribute.Int("parti.added", a.Added), attribute.Int("parti.removed", a.Removed), attribute.Int("parti.owned", a.Owned))
	end()
}

// span begins a span of the past.
func (c *Collector) span(ctx context.Context, name string, began time.Time, took time.Duration, attrs ...attribute.KeyValue) (context.Context, func()) {
	ctx, s := c.tracer.Start(ctx, name, trace.WithTimestamp(began), trace.WithAttributes(c.common...), trace.WithAttributes(attrs...))
	return ctx, func() { s.End(trace.WithTimestamp(began.Add(took))) }
}

// sink gives samples to instruments.
type sink struct {
	counters     map[*figures.Figure]metric.Float64Counter
	histograms   map[*figures.Figure]metric.Float64Histogram
	common       []attribute.KeyValue
	registration metric.Registration

	mu     sync.Mutex
	gauges map[*figures.Figure]map[string]float64 // by value of the label
}

func newSink(m metric.Meter, common []attribute.KeyValue, refresh func()) (*sink, error) {
	s := &sink{
		counters:   map[*figures.Figure]metric.Float64Counter{},
		histograms: map[*figures.Figure]metric.Float64Histogram{},
		common:     common,
		gauges:     map[*figures.Figure]map[string]float64{},
	}
	observed := map[*figures.Figure]metric.Float64ObservableGauge{}
	var instruments []metric.Observable
	var errs []error
	for _, f := range figures.All() {
		switch f.Kind {
		case figures.Counter:
			k, err := m.Float64Counter(f.Name, metric.WithDescription(f.Help))
			s.counters[f], errs = k, append(errs, err)
		case figures.Histogram:
			h, err := m.Float64Histogram(f.Name, metric.WithDescription(f.Help), metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(f.Bounds...))
			s.histograms[f], errs = h, append(errs, err)
		case figures.Gauge:
			g, err := m.Float64ObservableGauge(f.Name, metric.WithDescription(f.Help))
			observed[f], errs, instruments = g, append(errs, err), append(instruments, g)
			s.gauges[f] = map[string]float64{}
			for _, v := range f.Values {
				s.gauges[f][v] = 0
			}
			if f.Label == "" {
				s.gauges[f][""] = 0
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var err error
	s.registration, err = m.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		refresh()
		s.mu.Lock()
		defer s.mu.Unlock()
		for f, values := range s.gauges {
			for label, v := range values {
				to.ObserveFloat64(observed[f], v, s.attributes(f, label))
			}
		}
		return nil
	}, instruments...)
	return s, err
}

func (s *sink) attributes(f *figures.Figure, label string) metric.MeasurementOption {
	if f.Label == "" {
		return metric.WithAttributes(s.common...)
	}
	return metric.WithAttributes(append(slices.Clip(s.common), attribute.String(f.Label, label))...)
}

// Set implements figures.Sink. Where the values of the label are not known
// beforehand, one that is 0 goes.
func (s *sink) Set(f *figures.Figure, label string, v float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Label != "" && f.Values == nil && v == 0 {
		delete(s.gauges[f], label)
		return
	}
	s.gauges[f][label] = v
}

// Add implements figures.Sink.
func (s *sink) Add(f *figures.Figure, label string, v float64) {
	s.counters[f].Add(context.Background(), v, s.attributes(f, label))
}

// Observe implements figures.Sink.
func (s *sink) Observe(f *figures.Figure, label string, v float64, n int) {
	at := s.attributes(f, label)
	for range n {
		s.histograms[f].Record(context.Background(), v, at)
	}
}
