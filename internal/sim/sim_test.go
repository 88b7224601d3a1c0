package sim

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
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
	only    = flag.String("only", "", "of a seed, these faults only: their numbers, with commas")
	// firstOnly is for who looks for one failure.
	firstOnly = flag.Bool("first", false, "end at the first seed that fails, and do not shrink it")
	shrinkFor = flag.Duration("shrink", 20*time.Second, "how long to shrink a seed that fails")
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

// world draws a fleet from a seed.
func world(seed uint64) (*World, int) {
	cfg := fast()
	if seed%4 == 0 {
		cfg = defaults()
	}
	w := NewWorld(cfg, seed, 1)
	n := 1 + w.rng.IntN(7)
	if w.chance(0.36) {
		n = 8 + w.rng.IntN(9)
	}
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

// run is a seed, and how it is run.
type run struct {
	seed  uint64
	skip  map[int]bool // faults that are left out
	trace bool         // keep the end of the history
	out   io.Writer    // gets all of it
}

// simulate runs a seed from the start of a fleet to its end.
func simulate(r run) (*World, *Nemesis, error) {
	w, n := world(r.seed)
	w.trace.off, w.trace.out = !r.trace && r.out == nil, r.out
	w.first = n
	d := w.between(20, 120) * w.cfg.HeartbeatInterval
	nem := NewNemesis(w, r.seed, n, d, r.skip)
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
		return w, nem, err
	}
	if w.chance(0.5) {
		if err := w.Drill(drills[w.rng.IntN(len(drills))]); err != nil {
			return w, nem, err
		}
	}
	return w, nem, w.StopAll()
}

// explain runs a seed that fails again, with fewer and fewer faults, and shows
// what happens then.
func explain(t *testing.T, seed uint64, skip map[int]bool) {
	t.Helper()
	w, nem, err := simulate(run{seed: seed, skip: skip})
	if err == nil {
		t.Errorf("seed %d fails once and not again", seed)
		return
	}
	t.Logf("seed %d: %d steps, %d faults drawn: %v", seed, w.seen.Steps, nem.count, err)
	faults := nem.count
	skip = Shrink(faults, time.Now().Add(*shrinkFor), func(skip map[int]bool) bool {
		_, _, again := simulate(run{seed: seed, skip: skip})
		return again != nil && invariantOf(again) == invariantOf(err)
	})
	w, _, err = simulate(run{seed: seed, skip: skip, trace: true})
	t.Errorf("%s\nseed %d, with the faults %v only: %d steps: %v\nreplay: go test ./internal/sim -run '^TestSim$' -args -seed=%d -only=%s -trace",
		w.trace.Last(), seed, left(faults, skip), w.seen.Steps, err, seed, join(left(faults, skip)))
}

// invariantOf is what an error says is broken: "I7", "I11", or "" of a check
// without a number.
func invariantOf(err error) string { return invariantName.FindString(err.Error()) }

var invariantName = regexp.MustCompile(`\bI[0-9]+\b`)

func join(ns []int) string {
	if len(ns) == 0 {
		return "0"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(ns), " ", ","), "[]")
}

// skipped reads the flag -only: the faults that are not left out.
func skipped(t *testing.T) map[int]bool {
	t.Helper()
	if *only == "" {
		return nil
	}
	skip := map[int]bool{}
	for i := 1; i < 10_000; i++ {
		skip[i] = true
	}
	for s := range strings.SplitSeq(*only, ",") {
		i, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		delete(skip, i)
	}
	return skip
}

// TestSim simulates fleets from many seeds. The first one that fails is shrunk,
// and shown with the end of its history, the others by their seed.
func TestSim(t *testing.T) {
	if *oneSeed != 0 {
		r := run{seed: *oneSeed, skip: skipped(t)}
		if *verbose {
			r.out = os.Stderr
			if w, _, err := simulate(r); err != nil {
				t.Errorf("seed %d: %d steps: %v", r.seed, w.seen.Steps, err)
			}
			return
		}
		if w, _, err := simulate(r); err != nil {
			explain(t, r.seed, r.skip)
		} else {
			t.Logf("seed %d: %d steps, %d faults", r.seed, w.seen.Steps, w.seen.Total())
		}
		return
	}
	began := time.Now()
	total, large, failed := newCoverage(), 0, []uint64{}
	var next atomic.Uint64
	var wg sync.WaitGroup
	var mu sync.Mutex
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= uint64(*seeds); seed = next.Add(1) {
				w, _, err := simulate(run{seed: seed})
				mu.Lock()
				total.Add(w.seen)
				if w.first >= 8 {
					large++
				}
				if err != nil {
					failed = append(failed, seed)
					t.Errorf("seed %d: %d steps: %v", seed, w.seen.Steps, err)
				}
				enough := *firstOnly && len(failed) > 0
				mu.Unlock()
				if enough {
					return
				}
			}
		})
	}
	wg.Wait()
	report(t, total, large, time.Since(began))
	if len(failed) > 0 && !*firstOnly {
		explain(t, slices.Min(failed), nil)
	}
}

// report says what the seeds have covered, and demands it of a run that is long
// enough.
func report(t *testing.T, total Coverage, large int, took time.Duration) {
	t.Helper()
	rate := 1000 * float64(total.Total()) / float64(max(1, total.Steps))
	_, _ = fmt.Printf("%s\n%d seeds, %d of them with 8 workers or more; %d steps, %d faults: %.1f per 1000 steps; %v\n",
		total.String(), *seeds, large, total.Steps, total.Total(), rate, took.Round(time.Second))
	if *seeds < 2000 || *firstOnly {
		return
	}
	if total.Steps < 2_000_000 || rate < 20 || 10*large < 3**seeds {
		t.Errorf("%d steps, %.1f faults per 1000 of them, %d of %d seeds with 8 workers or more", total.Steps, rate, large, *seeds)
	}
	if missing := total.Missing(); len(missing) > 0 {
		t.Errorf("never happened: %v", missing)
	}
	for _, k := range allKinds {
		if total.Faults[k.name] == 0 {
			t.Errorf("no fault of kind %q", k.name)
		}
	}
	for _, name := range messageKinds {
		if total.Faults[name] == 0 {
			t.Errorf("no fault of kind %q", name)
		}
	}
	for _, d := range drills {
		if total.Faults["drill: "+d.name] == 0 {
			t.Errorf("no drill %q", d.name)
		}
	}
}

func TestSameSeedSameHistory(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		var one, two bytes.Buffer
		a, _, errA := simulate(run{seed: seed, out: &one})
		b, _, errB := simulate(run{seed: seed, out: &two})
		if !bytes.Equal(one.Bytes(), two.Bytes()) || one.Len() == 0 || a.trace.Sum() != b.trace.Sum() || fmt.Sprint(errA) != fmt.Sprint(errB) {
			t.Errorf("seed %d: two runs differ: %d lines and %d", seed, a.trace.n, b.trace.n)
		}
		// Nor does it matter whether anybody looks.
		c, _, errC := simulate(run{seed: seed})
		if c.seen.Steps != a.seen.Steps || c.now != a.now || fmt.Sprint(errC) != fmt.Sprint(errA) {
			t.Errorf("seed %d: without a trace, it differs: %d steps and %d", seed, a.seen.Steps, c.seen.Steps)
		}
	}
}

// TestShrink: what is left is what it takes.
func TestShrink(t *testing.T) {
	for _, need := range [][]int{{1}, {3, 7}, {20}, {1, 10, 20}} {
		skip := Shrink(20, time.Now().Add(time.Minute), func(skip map[int]bool) bool {
			return !slices.ContainsFunc(need, func(i int) bool { return skip[i] })
		})
		if got := left(20, skip); !slices.Equal(got, need) {
			t.Errorf("left %v, need %v", got, need)
		}
	}
}
