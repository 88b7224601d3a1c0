package prometheus

import (
	client "github.com/prometheus/client_golang/prometheus"

	"github.com/arloliu/parti/metrics/internal/figures"
)

// sink keeps every figure as a metric of Prometheus.
type sink struct {
	gauges     map[*figures.Figure]*client.GaugeVec
	counters   map[*figures.Figure]*client.CounterVec
	histograms map[*figures.Figure]*client.HistogramVec
	all        []client.Collector
}

// newSink makes all series whose labels are known, so that rates begin at 0.
func newSink() *sink {
	s := &sink{
		gauges:     map[*figures.Figure]*client.GaugeVec{},
		counters:   map[*figures.Figure]*client.CounterVec{},
		histograms: map[*figures.Figure]*client.HistogramVec{},
	}
	for _, f := range figures.All() {
		var labels []string
		values := []string{""}
		if f.Label != "" {
			labels, values = []string{f.Label}, f.Values
		}
		switch f.Kind {
		case figures.Gauge:
			s.gauges[f] = keep(s, client.NewGaugeVec(client.GaugeOpts{Name: f.Name, Help: f.Help}, labels))
		case figures.Counter:
			s.counters[f] = keep(s, client.NewCounterVec(client.CounterOpts{Name: f.Name, Help: f.Help}, labels))
		case figures.Histogram:
			s.histograms[f] = keep(s, client.NewHistogramVec(client.HistogramOpts{Name: f.Name, Help: f.Help, Buckets: f.Bounds}, labels))
		}
		for _, v := range values {
			switch f.Kind {
			case figures.Gauge:
				s.gauges[f].WithLabelValues(of(f, v)...)
			case figures.Counter:
				s.counters[f].WithLabelValues(of(f, v)...)
			case figures.Histogram:
				s.histograms[f].WithLabelValues(of(f, v)...)
			}
		}
	}
	return s
}

func keep[C client.Collector](s *sink, c C) C {
	s.all = append(s.all, c)
	return c
}

// of returns the values of the labels of a figure, which has one or none.
func of(f *figures.Figure, label string) []string {
	if f.Label == "" {
		return nil
	}
	return []string{label}
}

// Set implements figures.Sink. Where the values of the label are not known
// beforehand, the series of one that is 0 goes.
func (s *sink) Set(f *figures.Figure, label string, v float64) {
	if f.Label != "" && f.Values == nil && v == 0 {
		s.gauges[f].DeleteLabelValues(label)
		return
	}
	s.gauges[f].WithLabelValues(of(f, label)...).Set(v)
}

// Add implements figures.Sink.
func (s *sink) Add(f *figures.Figure, label string, v float64) {
	s.counters[f].WithLabelValues(of(f, label)...).Add(v)
}

// Observe implements figures.Sink.
func (s *sink) Observe(f *figures.Figure, label string, v float64, n int) {
	h := s.histograms[f].WithLabelValues(of(f, label)...)
	for range n {
		h.Observe(v)
	}
}
