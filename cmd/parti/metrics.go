package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
	"github.com/arloliu/parti/health"
	"github.com/arloliu/parti/metrics/prometheus"
)

// measures is what a worker measures for its parent, and for Prometheus.
type measures struct {
	*prometheus.Collector
	meter *fleet.Meter
}

var _ parti.MetricsCollector = measures{}

func (m measures) AddMoves(reason string, n int) {
	m.Collector.AddMoves(reason, n)
	m.meter.AddMoves(reason, n)
}

func (m measures) IncrementRebalance(reason string) {
	m.Collector.IncrementRebalance(reason)
	m.meter.IncrementRebalance(reason)
}

func (m measures) SetLeader(leader bool) {
	m.Collector.SetLeader(leader)
	m.meter.SetLeader(leader)
}

func (m measures) IncrementForcedHandoff() {
	m.Collector.IncrementForcedHandoff()
	m.meter.IncrementForcedHandoff()
}

// serveMetrics serves /metrics, /livez, /readyz and /status on a free port of host,
// and says which. Nothing is served where host is empty.
func serveMetrics(ctx context.Context, host string, c *prometheus.Collector, mgr *parti.Manager) (stop func(), err error) {
	if host == "" {
		return func() {}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, fmt.Errorf("serve metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", c.Handler())
	mux.Handle("/", health.Handler(mgr))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "serve metrics:", err)
		}
	}()
	fmt.Fprintf(os.Stderr, "metrics at http://%s/metrics\n", l.Addr())
	return func() {
		_ = srv.Close()
		<-done
	}, nil
}
