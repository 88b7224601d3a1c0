package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arloliu/parti/internal/core"
)

var (
	seeds   = flag.Int("seeds", defaultSeeds, "how many seeds to simulate")
	oneSeed = flag.Uint64("seed", 0, "simulate this seed only")
	verbose = flag.Bool("trace", false, "write the whole history to standard error")
)

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
		Capacity: 1, MinRebalanceThreshold: 0.15, MinRebalanceInterval: 10 * time.Second, PayloadTTL: time.Hour,
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

// world draws a fleet from a seed, and starts it.
func world(seed uint64) (*World, int) {
	cfg := fast()
	if seed%4 == 0 {
		cfg = defaults()
	}
	w := NewWorld(cfg, seed, 1)
	n := 1 + w.rng.IntN(6)
	w.cfg.Exclusive = w.chance(0.4)
	w.cfg.Agent = w.chance(0.1)
	w.agent.liar = w.chance(0.3)
	if w.chance(0.1) {
		w.cfg.IDMax = n + 2 // few ids
	}
	ids := make([]string, 1+w.rng.IntN(24))
	weights := make([]int64, len(ids))
	for i := range ids {
		ids[i], weights[i] = fmt.Sprintf("k%03d", i), 100
	}
	w.setList(ids, weights)
	if w.chance(0.3) {
		w.latency = 50 * time.Millisecond
	}
	w.mixed = w.chance(0.25)
	return w, n
}

// simulate runs a seed from the start of a fleet to its end.
func simulate(seed uint64, see func(*World)) (*World, error) {
	w, n := world(seed)
	see(w)
	d := w.between(20, 150) * w.cfg.HeartbeatInterval
	nem := NewNemesis(w, n, d)
	for i := range n {
		w.coming++
		w.after(w.between(0, 2*time.Second), func() {
			w.coming--
			nem.spawn(i)
		})
	}
	w.Run(d)
	nem.End()
	w.Run(max(0, w.faultsEnd-w.now))
	if err := w.Settle(); err != nil {
		return w, err
	}
	return w, w.StopAll()
}

// TestSim simulates fleets from many seeds. The first one that fails is shown
// with the end of its history, the others by their seed.
func TestSim(t *testing.T) {
	first, last := uint64(1), uint64(*seeds)
	if *oneSeed != 0 {
		first, last = *oneSeed, *oneSeed
	}
	var next, failed atomic.Uint64
	next.Store(first)
	var wg sync.WaitGroup
	var mu sync.Mutex
	hits, steps := map[string]int{}, 0
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed <= last; seed = next.Add(1) - 1 {
				w, err := simulate(seed, func(w *World) { watchTrace(w) })
				mu.Lock()
				for kind, n := range w.hits {
					hits[kind] += n
				}
				steps += w.steps
				mu.Unlock()
				switch {
				case err == nil:
					t.Logf("seed %d: %d steps, %d plans, %d moves, %d forced, %d overlaps", seed, w.steps, w.check.plans, w.check.moves, w.check.forced, w.check.overlap)
				case failed.Add(1) == 1:
					t.Errorf("%s\nseed %d: %v\nreplay: go test ./internal/sim -run Sim -args -seed=%d", w.trace.Last(), seed, err, seed)
				default:
					t.Errorf("seed %d: %v", seed, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d steps; faults: %v", steps, hits)
	if *oneSeed != 0 {
		return
	}
	for _, k := range allKinds {
		if hits[k.name] == 0 && last >= 300 {
			t.Errorf("no fault of kind %q in %d seeds", k.name, last)
		}
	}
}

func TestSameSeedSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		a, errA := simulate(seed, func(*World) {})
		b, errB := simulate(seed, func(*World) {})
		if a.trace.Sum() != b.trace.Sum() || a.trace.n != b.trace.n || fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Errorf("seed %d: two runs differ: %d lines and %d", seed, a.trace.n, b.trace.n)
		}
	}
}
