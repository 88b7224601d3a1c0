package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
)

// goal is one promise of the design and what was measured.
type goal struct {
	what  string
	limit float64
	least bool // the limit must be reached, not kept
	unit  string
	got   float64
	loose bool // a miss is no error: it needs a quiet machine, or the long form
}

func (g goal) met() bool {
	if g.least {
		return g.got >= g.limit
	}
	return g.got <= g.limit
}

// goals prints every goal of the placement beside what is measured now, and fails
// when one is missed that does not depend on how busy the machine is, nor on more
// runs than the short form makes.
func goals(out io.Writer, short bool, seed, seeds uint64) error {
	g := gauge{short: short, seed: seed, seeds: seeds, large: size{1_000_000, 1_000}, middle: size{100_000, 64}, fleet: size{64_000, 64}, wander: 200}
	if short {
		g.seeds, g.large, g.middle, g.fleet, g.wander = 2, size{50_000, 50}, size{20_000, 16}, size{16_000, 16}, 40
	}
	for _, part := range []func() error{g.times, g.load, g.join, g.leave, g.alone, g.walk, g.comeBack, g.determinism} {
		if err := part(); err != nil {
			return err
		}
	}
	_, _ = fmt.Fprintf(out, "seeds from %d, %d for each row, %d processors\n\n", seed, g.seeds, runtime.GOMAXPROCS(0))
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "what\tgoal\tmeasured\t\t")
	missed := 0
	for _, r := range g.rows {
		sign, verdict := "≤", "ok"
		if r.least {
			sign = "≥"
		}
		if !r.met() {
			verdict = "MISSED"
			if r.loose {
				verdict = "missed in this run"
			} else {
				missed++
			}
		}
		_, _ = fmt.Fprintf(t, "%s\t%s %.4g %s\t%.4g\t%s\t\n", r.what, sign, r.limit, r.unit, r.got, verdict)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if missed > 0 {
		return fmt.Errorf("%d goals are missed", missed)
	}
	return nil
}
