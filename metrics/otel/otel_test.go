package otel_test

import (
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/metrics/internal/figures"
	"github.com/arloliu/parti/metrics/otel"
	"github.com/arloliu/parti/subscription"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type sample struct{ name, label string }

// collect returns all values; of a histogram it is the number of samples.
func collect(t *testing.T, from sdkmetric.Reader) map[sample]float64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := from.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	label := func(s attribute.Set) string {
		for _, kv := range s.ToSlice() {
			if kv.Key != "fleet" {
				return kv.Value.AsString()
			}
		}
		return ""
	}
	got := map[sample]float64{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					got[sample{m.Name, label(p.Attributes)}] = p.Value
				}
			case metricdata.Sum[float64]:
				for _, p := range d.DataPoints {
					got[sample{m.Name, label(p.Attributes)}] = p.Value
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					got[sample{m.Name, label(p.Attributes)}] = float64(p.Count)
				}
			default:
				t.Errorf("%s is a %T", m.Name, d)
			}
		}
	}
	return got
}

func newCollector(t *testing.T) (*otel.Collector, sdkmetric.Reader, *tracetest.SpanRecorder) {
	t.Helper()
	reader, spans := sdkmetric.NewManualReader(), tracetest.NewSpanRecorder()
	c, err := otel.New(
		otel.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))),
		otel.WithTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))),
		otel.WithAttributes(attribute.String("fleet", "orders")),
	)
	if err != nil {
		t.Fatal(err)
	}
	return c, reader, spans
}

type consumer []subscription.PartitionStats

func (c consumer) Stats() []subscription.PartitionStats { return c }

// Every figure of the catalogue arrives, in its kind and with its label.
func TestEveryFigureArrives(t *testing.T) {
	c, reader, _ := newCollector(t)
	for _, f := range figures.All() {
		label := ""
		if f.Label != "" {
			label = "x"
		}
		switch f.Kind {
		case figures.Gauge:
			otel.SinkOf(c).Set(f, label, 3)
		case figures.Counter:
			otel.SinkOf(c).Add(f, label, 3)
		case figures.Histogram:
			otel.SinkOf(c).Observe(f, label, 0.5, 3)
		}
	}
	c.SetCacheAge(time.Hour)
	got := collect(t, reader)
	for _, f := range figures.All() {
		key := sample{name: f.Name}
		if f.Label != "" {
			key.label = "x"
		}
		v := got[key]
		if f == figures.CacheAge {
			if v < 3600 || v > 3700 {
				t.Errorf("%s is %v", f.Name, v)
			}
			continue
		}
		if v != 3 {
			t.Errorf("%v is %v", key, v)
		}
	}
}

func TestConsumersAreAsked(t *testing.T) {
	c, reader, _ := newCollector(t)
	c.Consumers(consumer{{Pending: 7, InFlight: 1}, {Pending: 5, InFlight: 2}})
	got := collect(t, reader)
	for name, want := range map[string]float64{"parti_consumer_pending": 12, "parti_consumer_in_flight": 3, "parti_consumer_partitions": 2, "parti_consumer_max_pending": 7} {
		if v := got[sample{name: name}]; v != want {
			t.Errorf("%s is %v, want %v", name, v, want)
		}
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := collect(t, reader); len(got) != 0 {
		t.Errorf("%v after Close", got)
	}
}

// A worker has one id and is in one state.
func TestOneAtATime(t *testing.T) {
	c, reader, _ := newCollector(t)
	for _, s := range parti.States() {
		c.SetState(s)
		c.SetWorker("worker-" + s.String())
	}
	states, ids := 0.0, 0
	for k, v := range collect(t, reader) {
		switch k.name {
		case "parti_state":
			states += v
		case "parti_worker_info":
			ids++
		}
	}
	if states != 1 || ids != 1 {
		t.Errorf("%v states, %d ids", states, ids)
	}
}

// A rebalance is a span with its phases one after another inside.
func TestSpansOfARebalance(t *testing.T) {
	c, reader, spans := newCollector(t)
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	c.ObserveRebalance(parti.Rebalance{
		Reason: "scale", Term: 3, Version: 9, Workers: 4, Partitions: 100, Moves: 25,
		Began: began, Plan: time.Second, Publish: 2 * time.Second, Handoff: 4 * time.Second,
	})
	ended := spans.Ended()
	if len(ended) != 4 {
		t.Fatalf("%d spans", len(ended))
	}
	whole := ended[3]
	if whole.Name() != "parti.rebalance" || !whole.StartTime().Equal(began) || whole.EndTime().Sub(began) != 7*time.Second {
		t.Errorf("%s from %v to %v", whole.Name(), whole.StartTime(), whole.EndTime())
	}
	for _, want := range []attribute.KeyValue{
		attribute.String("fleet", "orders"), attribute.String("parti.reason", "scale"), attribute.Int64("parti.term", 3),
		attribute.Int64("parti.version", 9), attribute.Int("parti.workers", 4), attribute.Int("parti.partitions", 100), attribute.Int("parti.moves", 25),
	} {
		if !slices.Contains(whole.Attributes(), want) {
			t.Errorf("no %v in %v", want, whole.Attributes())
		}
	}
	at := began
	for i, want := range []string{"parti.plan", "parti.publish", "parti.handoff"} {
		s := ended[i]
		if s.Name() != want || !s.StartTime().Equal(at) || s.Parent().SpanID() != whole.SpanContext().SpanID() {
			t.Errorf("phase %d: %s at %v", i, s.Name(), s.StartTime())
		}
		at = s.EndTime()
	}
	if !at.Equal(whole.EndTime()) {
		t.Errorf("the last phase ends at %v", at)
	}
	if v := collect(t, reader)[sample{"parti_rebalance_duration_seconds", "handoff"}]; v != 1 {
		t.Errorf("measured %v times", v)
	}
}

// A worker's part of a handoff is a span.
func TestSpanOfAHandoff(t *testing.T) {
	c, reader, spans := newCollector(t)
	began := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	c.ObserveApply(parti.AppliedChange{Term: 3, Version: 9, Added: 2, Removed: 1, Owned: 7, Began: began, Took: time.Second})
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Name() != "parti.apply" || !ended[0].StartTime().Equal(began) || ended[0].EndTime().Sub(began) != time.Second {
		t.Fatalf("%v", ended)
	}
	for _, want := range []attribute.KeyValue{attribute.Int64("parti.version", 9), attribute.Int("parti.added", 2), attribute.Int("parti.removed", 1)} {
		if !slices.Contains(ended[0].Attributes(), want) {
			t.Errorf("no %v in %v", want, ended[0].Attributes())
		}
	}
	if v := collect(t, reader)[sample{"parti_apply_duration_seconds", ""}]; v != 1 {
		t.Errorf("measured %v times", v)
	}
}
