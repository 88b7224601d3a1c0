package otel

import "github.com/arloliu/parti/metrics/internal/figures"

// SinkOf returns where the figures of a collector go.
func SinkOf(c *Collector) figures.Sink { return c.sink }
