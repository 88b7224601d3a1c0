package sim

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

var verbose = flag.Bool("trace", false, "write the whole history to standard error")

// watchTrace has the whole history written out if that was asked for.
func watchTrace(w *World) *World {
	if *verbose {
		w.trace.out = os.Stderr
	}
	return w
}

// defaults is the default configuration.
func defaults() core.Config {
	return core.Config{
		Group: "g", Prefix: "worker", IDMin: 0, IDMax: 99,
		IDTTL: 30 * time.Second, HeartbeatInterval: 2 * time.Second, HeartbeatTTL: 6 * time.Second,
		ColdStartWindow: 30 * time.Second, ColdStartSettle: 2 * time.Second, PlannedScaleWindow: 10 * time.Second,
		EmergencyGracePeriod: 1500 * time.Millisecond, RestartRatio: 0.5,
		OperationTimeout: 10 * time.Second, ElectionTimeout: 5 * time.Second, StartupTimeout: 30 * time.Second,
		ShutdownTimeout: 10 * time.Second, HandoffTimeout: 10 * time.Second,
		MinRebalanceThreshold: 0.15, MinRebalanceInterval: 10 * time.Second, PayloadTTL: time.Hour,
		EnterThreshold: 10 * time.Second, ExitThreshold: 5 * time.Second, KVErrorThreshold: 5, KVErrorWindow: 30 * time.Second,
		RecoveryGracePeriod: 30 * time.Second,
		AlertThresholds:     [5]time.Duration{0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute},
		AlertInterval:       30 * time.Second,
	}
}

// fast is a configuration for networks that never take long.
func fast() core.Config {
	c := defaults()
	c.IDTTL, c.HeartbeatInterval, c.HeartbeatTTL = 5*time.Second, 500*time.Millisecond, 1500*time.Millisecond
	c.ColdStartWindow, c.ColdStartSettle, c.PlannedScaleWindow = 5*time.Second, 500*time.Millisecond, 2*time.Second
	c.EmergencyGracePeriod, c.MinRebalanceInterval = 500*time.Millisecond, 2*time.Second
	c.OperationTimeout, c.ElectionTimeout, c.StartupTimeout = 3*time.Second, 2*time.Second, 10*time.Second
	c.ShutdownTimeout, c.HandoffTimeout = 5*time.Second, 3*time.Second
	c.EnterThreshold, c.ExitThreshold, c.RecoveryGracePeriod = 3*time.Second, time.Second, 8*time.Second
	return c
}

// must ends a test at a broken invariant, with the last part of the history.
func must(t *testing.T, w *World, err error) {
	t.Helper()
	if err == nil {
		err = w.Err()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, w.trace.Last())
	}
}

func TestColdStart(t *testing.T) {
	for _, n := range []int{1, 4, 16} {
		w := watchTrace(NewWorld(defaults(), 1, 50))
		for i := range n {
			w.Spawn(i)
		}
		if !w.RunUntil(w.cfg.ColdStartSettle+time.Second, 50*time.Millisecond, func() bool { return w.Converged() == nil }) {
			must(t, w, w.Converged())
		}
		t.Logf("%d workers: stable after %v", n, w.Now())
		must(t, w, w.Settle())
		must(t, w, w.StopAll())
	}
}
