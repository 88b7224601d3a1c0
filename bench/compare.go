package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

type size struct{ partitions, workers int }

func (s size) String() string { return fmt.Sprintf("%s x %d", thousands(s.partitions), s.workers) }

func thousands(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

var (
	sizes      = []size{{1_000, 10}, {10_000, 64}, {100_000, 64}, {100_000, 1_000}, {1_000_000, 1_000}}
	shortSizes = []size{{1_000, 10}, {5_000, 64}}
	drawers    = []drawer{uniform, lognormal, zipf}
)

// changes of a fleet.
const (
	joins = iota
	leaves
	grows // by a tenth
	numChanges
)

var changeNames = [numChanges]string{"+1 worker", "-1 worker", "+10 % workers"}

// row is how a contender does on a size with a distribution of weights.
type row struct {
	size    size
	weights string
	name    string
	took    time.Duration // to assign anew
	allocs  uint64
	bytes   uint64
	again   time.Duration       // to plan after a worker left, from what was; 0 when it cannot
	busiest float64             // over the mean
	least   float64             // what that cannot be below
	moved   [numChanges]float64 // weight, over the least that gives newcomers their share
}

func compare(out io.Writer, short bool, largest int, seed uint64, charts string) error {
	todo := sizes
	if short {
		todo = shortSizes
	}
	var rows []row
	for _, s := range todo {
		if s.partitions > largest {
			continue
		}
		for _, d := range drawers {
			f := newFleet(seed, s.partitions, s.workers, d)
			names := make([]string, len(f.parts))
			for i, p := range f.parts {
				names[i] = p.ID()
			}
			for _, c := range contenders() {
				r, err := measure(c, f, names)
				if err != nil {
					return fmt.Errorf("%s, %s, %s: %w", c.name, s, d.name, err)
				}
				r.size, r.weights = s, d.name
				rows = append(rows, r)
			}
		}
	}
	if err := writeRows(out, rows); err != nil {
		return err
	}
	if charts == "" || len(rows) == 0 {
		return nil
	}
	if err := os.MkdirAll(charts, 0o750); err != nil { //nolint:gosec // the user names the folder
		return err
	}
	return drawRows(charts, rows)
}

// measure has a contender divide the fleet's partitions, and again after each
// change.
func measure(c contender, f *fleet, names []string) (row, error) {
	r := row{name: c.name}
	got, err := timed(&r, len(f.parts), func() (result, error) { return c.assign(f.workers, f.parts, names) })
	if err != nil {
		return r, err
	}
	before, err := f.ownersIn(got, f.workers)
	if err != nil {
		return r, err
	}
	r.busiest, r.least = f.busiest(f.workers, before)
	loads := f.loads(f.workers, before)
	for change := range numChanges {
		workers, must := changed(f, change, loads)
		var got result
		if c.rebalance == nil {
			got, err = c.assign(workers, f.parts, names)
		} else {
			s := c.rebalance()
			in := f.input(workers, f.workers, before)
			if got, err = s.Rebalance(in); err == nil && change == leaves { // its hashes are there now
				runtime.GC()
				began := time.Now()
				got, err = s.Rebalance(in)
				r.again = time.Since(began)
			}
		}
		if err != nil {
			return r, err
		}
		after, err := f.ownersIn(got, workers)
		if err != nil {
			return r, err
		}
		r.moved[change] = float64(f.moved(f.workers, before, workers, after)) / must
	}
	return r, nil
}

// changed returns the workers after a change, and the weight that must move for
// it: what leavers had, or the shares of newcomers.
func changed(f *fleet, change int, loads []int64) (workers []string, must float64) {
	n := len(f.workers)
	workers = slices.Clone(f.workers)
	switch change {
	case leaves:
		must = float64(loads[n/2])
		return slices.Delete(workers, n/2, n/2+1), must
	case joins:
		workers = append(workers, fmt.Sprintf("worker-%d", n))
	case grows:
		for k := range max(1, n/10) {
			workers = append(workers, fmt.Sprintf("worker-%d", n+k))
		}
	}
	return workers, float64(f.total) * float64(len(workers)-n) / float64(len(workers))
}

// timed keeps the best of some runs.
func timed(r *row, partitions int, do func() (result, error)) (got result, err error) {
	runs := max(1, min(5, 400_000/partitions))
	for k := range runs {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began := time.Now()
		if got, err = do(); err != nil {
			return nil, err
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		if k == 0 || took < r.took {
			r.took = took
		}
		r.allocs, r.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	}
	return got, nil
}

func writeRows(out io.Writer, rows []row) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "size\tweights\tcontender\tanew ms\tallocs\tMB\tafter -1, ms\tbusiest\tleast\tmoved +1\t-1\t+10 %\t")
	for _, r := range rows {
		again := "-"
		if r.again > 0 {
			again = fmt.Sprintf("%.2f", ms(r.again))
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%.2f\t%d\t%.1f\t%s\t%.3f\t%.3f\t%.2f\t%.2f\t%.2f\t\n", r.size, r.weights, r.name, ms(r.took), r.allocs,
			float64(r.bytes)/1e6, again, r.busiest, r.least, r.moved[joins], r.moved[leaves], r.moved[grows])
	}
	return t.Flush()
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// shuffled is s in another order.
func shuffled[T any](r *rand.Rand, s []T) []T {
	s = slices.Clone(s)
	r.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
	return s
}
