package main

import (
	"fmt"
	"math"
	"reflect"
	"runtime"
	"slices"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/strategy"
)

// gauge measures what the goals are about.
type gauge struct {
	seed, seeds   uint64
	large, middle size // that are timed
	fleet         size // thousand partitions per worker
	wander        int
	short         bool
	rows          []goal
}

func (g *gauge) add(what string, got, limit float64) {
	g.rows = append(g.rows, goal{what: what, got: got, limit: limit})
}

// each calls do for fleets of the middle size and a small one, of every seed.
func (g *gauge) each(drawers []drawer, do func(f *fleet) error) error {
	for _, d := range drawers {
		for _, s := range []size{{6_000, 6}, g.fleet} {
			for seed := range max(1, g.seeds/2) {
				f := newFleet(g.seed+seed, s.partitions, s.workers, d)
				if err := do(f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// plan makes a plan for workers, from what stands, and returns the weight that
// moved.
func (f *fleet) plan(s parti.Rebalancer, workers []string) (moved int64, err error) {
	prev := f.workers
	if f.owners == nil {
		prev = nil
	}
	got, err := s.Rebalance(f.input(workers, prev, f.owners))
	if err != nil {
		return 0, err
	}
	owners, err := f.ownersIn(got, workers)
	if err != nil {
		return 0, err
	}
	if f.owners != nil {
		moved = f.moved(f.workers, f.owners, workers, owners)
	}
	f.workers, f.owners = workers, owners
	return moved, nil
}

// leave takes worker w away and returns what moved and what it had.
func (f *fleet) leave(s parti.Rebalancer, w int) (moved, had int64, err error) {
	had = f.loads(f.workers, f.owners)[w]
	moved, err = f.plan(s, slices.Delete(slices.Clone(f.workers), w, w+1))
	return moved, had, err
}

func (f *fleet) join(s parti.Rebalancer, name string) (moved int64, err error) {
	return f.plan(s, append(slices.Clone(f.workers), name))
}

// best is the shortest of some runs.
func best(runs int, do func() error) (time.Duration, error) {
	shortest := time.Duration(math.MaxInt64)
	for range runs {
		runtime.GC()
		began := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		shortest = min(shortest, time.Since(began))
	}
	return shortest, nil
}

func (g *gauge) times() error {
	wall := func(what string, got time.Duration, limit float64) {
		g.rows = append(g.rows, goal{what: what, got: ms(got), limit: limit, unit: "ms", loose: true})
	}
	// The ratios are promised for long lists.
	ratio := func(got, limit float64) {
		g.rows = append(g.rows, goal{what: "... of a naive ring in the same run", got: got, limit: limit, loose: g.short})
	}
	allocs := 0.0
	for _, c := range []struct {
		size  size
		limit float64
	}{{g.large, 100}, {g.middle, 8}, {size{10_000, 64}, 1.2}} {
		f := newFleet(g.seed, c.size.partitions, c.size.workers, uniform)
		cold := func() error {
			_, err := strategy.NewConsistentHash().Assign(f.workers, f.parts)
			return err
		}
		took, err := best(5, cold)
		if err != nil {
			return err
		}
		wall("Assign, cold, "+c.size.String(), took, c.limit)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := cold(); err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		allocs = max(allocs, float64(after.Mallocs-before.Mallocs))
		if c.size != g.large {
			continue
		}
		naive, err := best(2, func() error {
			_, err := naiveRing(f.workers, f.parts, nil)
			return err
		})
		if err != nil {
			return err
		}
		ratio(float64(took)/float64(naive), 0.25)
		s := strategy.NewConsistentHash()
		if _, err := f.plan(s, f.workers); err != nil {
			return err
		}
		in := f.input(slices.Delete(slices.Clone(f.workers), 5, 6), f.workers, f.owners)
		again, err := best(5, func() error {
			_, err := s.Rebalance(in)
			return err
		})
		if err != nil {
			return err
		}
		wall("Rebalance, -1 worker, "+c.size.String()+", hashes cached", again, 40)
		ratio(float64(again)/float64(naive), 0.1)
	}
	g.add("allocations of a call, whatever the size", allocs, 100)
	return nil
}

// load compares the busiest worker with the level.
func (g *gauge) load() error {
	worst, evenWorst := 0.0, 0.0
	err := g.each([]drawer{equal, uniform, lognormal}, func(f *fleet) error {
		s := strategy.NewConsistentHash()
		for _, step := range []func() error{
			func() error { _, err := f.plan(s, f.workers); return err },
			func() error { _, err := f.join(s, f.newName()); return err },
			func() error { _, _, err := f.leave(s, 2); return err },
		} {
			if err := step(); err != nil {
				return err
			}
			got, _ := f.busiest(f.workers, f.owners)
			if slices.Min(f.weights) == slices.Max(f.weights) {
				evenWorst = max(evenWorst, got-float64(len(f.workers))/float64(len(f.parts)))
			} else {
				worst = max(worst, got)
			}
		}
		return nil
	})
	g.add("busiest over the level: cold, +1, -1", worst, 1.023)
	g.add("... with equal weights, less one partition", evenWorst, 1.023)
	// The heaviest partition may be more than a share.
	over := 0.0
	for seed := range g.seeds {
		f := newFleet(g.seed+seed, 10_000, 64, zipf)
		if _, err := f.plan(strategy.NewConsistentHash(), f.workers); err != nil {
			return err
		}
		got, least := f.busiest(f.workers, f.owners)
		over = max(over, got/max(least, 1))
	}
	g.add("... with Zipf weights, over the heaviest partition or the level", over, 1.023)
	return err
}

func (g *gauge) join() error {
	most, least := 0.0, 2.0
	err := g.each([]drawer{equal, uniform, lognormal}, func(f *fleet) error {
		s := strategy.NewConsistentHash()
		if _, err := f.plan(s, f.workers); err != nil {
			return err
		}
		moved, err := f.join(s, f.newName())
		if err != nil {
			return err
		}
		share := float64(f.total) / float64(len(f.workers))
		most = max(most, float64(moved)/share)
		least = min(least, float64(f.loads(f.workers, f.owners)[len(f.workers)-1])/share)
		return nil
	})
	g.add("+1 worker: weight moved over its share, worst", most, 1)
	g.rows = append(g.rows, goal{what: "... what the newcomer gets of the mean, worst", got: least, limit: 0.95, least: true})
	return err
}

func (g *gauge) leave() error {
	for _, c := range []struct {
		d          drawer
		partitions int
		limit      float64
	}{{equal, 10_000, 1.005}, {uniform, 100_000, 1.005}, {lognormal, 10_000, 1.15}, {zipf, 10_000, 1.4}} {
		sum := 0.0
		// With Zipf weights a leaver of a few heavy partitions, or without any, moves
		// the mean of few runs.
		runs := g.seeds * uint64(300_000/c.partitions)
		if g.short || c.partitions > 10_000 {
			runs = g.seeds
		}
		for seed := range runs {
			f := newFleet(g.seed+seed, c.partitions, 64, c.d)
			s := strategy.NewConsistentHash()
			if _, err := f.plan(s, f.workers); err != nil {
				return err
			}
			moved, had, err := f.leave(s, f.rng.IntN(64))
			if err != nil {
				return err
			}
			sum += float64(moved) / float64(had) / float64(runs)
		}
		g.rows = append(g.rows, goal{
			what: fmt.Sprintf("-1 worker: weight moved over the leaver's, %s, %s x 64, mean of %d", c.d.name, thousands(c.partitions), runs),
			got:  sum, limit: c.limit, loose: g.short && c.d.name == zipf.name,
		})
	}
	return nil
}

// alone has no previous owners to go by.
func (g *gauge) alone() error {
	least := 1.0
	err := g.each([]drawer{equal, uniform, lognormal}, func(f *fleet) error {
		f.owners = nil
		if _, err := f.plan(strategy.NewConsistentHash(), f.workers); err != nil {
			return err
		}
		was, before := f.workers, f.owners
		f.owners = nil
		if _, err := f.plan(strategy.NewConsistentHash(), append(slices.Clone(f.workers), f.newName())); err != nil {
			return err
		}
		kept := 0
		for i := range before {
			if was[before[i]] == f.workers[f.owners[i]] {
				kept++
			}
		}
		least = min(least, float64(kept)/float64(len(before)))
		return nil
	})
	g.rows = append(g.rows, goal{what: "Assign alone, +1 worker: partitions that keep their owner, worst", got: least, limit: 0.8, least: true})
	return err
}

// walk makes many random joins and leaves.
func (g *gauge) walk() error {
	for _, drifts := range []bool{false, true} {
		worst, busiest := 0.0, 0.0
		for _, d := range []drawer{equal, uniform, lognormal} {
			for seed := range max(1, g.seeds/3) {
				f := newFleet(g.seed+seed, 6_400, 64, d)
				s := strategy.NewConsistentHash()
				if _, err := f.plan(s, f.workers); err != nil {
					return err
				}
				moved, ideal := 0.0, 0.0
				for range g.wander {
					if drifts {
						f.redraw(d, 0.01)
					}
					if n := len(f.workers); n > 96 || n > 32 && f.rng.IntN(2) == 0 {
						m, had, err := f.leave(s, f.rng.IntN(n))
						if err != nil {
							return err
						}
						moved, ideal = moved+float64(m), ideal+float64(had)
					} else {
						m, err := f.join(s, f.newName())
						if err != nil {
							return err
						}
						moved, ideal = moved+float64(m), ideal+float64(f.total)/float64(len(f.workers))
					}
					b, _ := f.busiest(f.workers, f.owners)
					busiest = max(busiest, b)
				}
				worst = max(worst, moved/ideal)
			}
		}
		if drifts {
			g.add(fmt.Sprintf("%d joins and leaves with drifting weights: busiest over the level, worst", g.wander), busiest, 1.04)
		} else {
			g.add(fmt.Sprintf("%d joins and leaves: weight moved over the ideal, worst", g.wander), worst, 1.05)
		}
	}
	return nil
}

func (g *gauge) comeBack() error {
	worst := 0.0
	for _, d := range []drawer{equal, uniform, lognormal} {
		for seed := range g.seeds {
			f := newFleet(g.seed+seed, g.fleet.partitions, 64, d)
			s := strategy.NewConsistentHash()
			if _, err := f.plan(s, f.workers); err != nil {
				return err
			}
			was, before := f.workers, f.owners
			if _, _, err := f.leave(s, 5); err != nil {
				return err
			}
			if _, err := f.join(s, was[5]); err != nil {
				return err
			}
			worst = max(worst, float64(f.moved(was, before, f.workers, f.owners))/float64(f.total))
		}
	}
	g.add("a worker leaves and returns: weight elsewhere than before, worst", worst, 0.02)
	return nil
}

// determinism plans the same in other orders and on other numbers of processors.
func (g *gauge) determinism() error {
	differ := 0
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for seed := range g.seeds {
		f := newFleet(g.seed+seed, 100_000, 64, lognormal)
		if _, err := f.plan(strategy.NewConsistentHash(), f.workers); err != nil {
			return err
		}
		in := f.input(append(slices.Clone(f.workers[1:]), "worker-new"), f.workers, f.owners)
		want, err := strategy.NewConsistentHash().Rebalance(in)
		if err != nil {
			return err
		}
		order := make([]int, len(in.Partitions))
		for i := range order {
			order[i] = i
		}
		order = shuffled(f.rng, order)
		other := parti.RebalanceInput{Workers: shuffled(f.rng, in.Workers), PrevWorkers: in.PrevWorkers}
		for _, i := range order {
			other.Partitions = append(other.Partitions, in.Partitions[i])
			other.PrevOwner = append(other.PrevOwner, in.PrevOwner[i])
		}
		runtime.GOMAXPROCS(1 + int(seed%4))
		got, err := strategy.NewConsistentHash().Rebalance(other)
		if err != nil {
			return err
		}
		if !reflect.DeepEqual(got, want) {
			differ++
		}
	}
	g.add("plans that differ when the input is shuffled, on 1 to 4 processors", float64(differ), 0)
	return nil
}
