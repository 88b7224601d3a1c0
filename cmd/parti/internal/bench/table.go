package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Row is what one thing costs, over several runs.
type Row struct {
	Workers int    `json:"workers"`
	What    string `json:"what"`
	Unit    string `json:"unit"`
	// Samples are in the order of the runs.
	Samples []float64 `json:"samples"`
	Median  float64   `json:"median"`
	Worst   float64   `json:"worst"`
	// Goal is what the worst sample must not exceed; absent without a goal.
	Goal *float64 `json:"goal,omitempty"`
	// Moves counts partitions over all runs; absent where nothing should be said.
	Moves *Moves `json:"moves,omitempty"`
	OK    bool   `json:"ok"`
	// Bearable: not OK, but no more than a machine that is slow or busy explains.
	Bearable bool   `json:"bearable,omitempty"`
	Note     string `json:"note,omitempty"`
}

// Moves compares the partitions that changed their worker with those that had to.
type Moves struct {
	Moved int `json:"moved"`
	// Least is how many must have moved: those of workers that are gone, and
	// those that newcomers need for their share.
	Least int `json:"least"`
	// Others were of a worker that stayed, and went to one that was there before.
	Others int `json:"others"`
}

func (m *Moves) add(o Moves) {
	m.Moved += o.Moved
	m.Least += o.Least
	m.Others += o.Others
}

// row makes a row of samples. A goal of zero means none when it is absent.
func newRow(workers int, what, unit string, goal *float64, samples []float64) Row {
	r := Row{Workers: workers, What: what, Unit: unit, Samples: samples, Goal: goal, OK: len(samples) > 0}
	if len(samples) == 0 {
		return r
	}
	sorted := slices.Sorted(slices.Values(samples))
	r.Worst = sorted[len(sorted)-1]
	r.Median = (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
	r.OK = goal == nil || r.Worst <= *goal
	return r
}

// withMoves adds moves, of which none may be of others.
func (r Row) withMoves(m Moves) Row {
	r.Moves = &m
	r.OK = r.OK && m.Others == 0
	return r
}

// margins are what the short form adds to goals that depend on how fast the machine
// is, by unit: times so much, and so much more.
var margins = map[string]struct{ times, more float64 }{
	"s":        {2, 1},
	"% of one": {2, 0},
	"KB":       {1.5, 0},
}

// bear makes a missed goal bearable when the machine explains it: within the
// margin, or when the machine stood still meanwhile.
func (r Row) bear(stall time.Duration) Row {
	switch m, some := margins[r.Unit]; {
	case r.OK:
	case stall >= longStall:
		r.Bearable, r.Note = true, fmt.Sprintf("the machine stood still for %v", stall.Round(10*time.Millisecond))
	case some && r.Goal != nil && len(r.Samples) > 0 && (r.Moves == nil || r.Moves.Others == 0):
		r.Bearable = r.Worst <= *r.Goal*m.times+m.more
	}
	return r
}

func (r Row) verdict() string {
	switch {
	case r.Bearable && r.Note != "":
		return "not judged: " + r.Note
	case r.Bearable:
		return "slow, within the margin"
	case !r.OK:
		return "MISSED"
	case r.Goal == nil && r.Moves == nil:
		return ""
	}
	return "ok"
}

// write prints the table.
func writeTable(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight|tabwriter.DiscardEmptyColumns)
	line := func(what string, cells ...string) {
		for _, c := range cells[:1] {
			_, _ = fmt.Fprintf(t, "%s\t", c)
		}
		_, _ = fmt.Fprintf(t, "%-46s\t", what)
		for _, c := range cells[1:] {
			_, _ = fmt.Fprintf(t, "%s\t", c)
		}
		_, _ = fmt.Fprintln(t)
	}
	line("what", "workers", "runs", "median", "worst", "goal", "", "moved", "least", "of others", "")
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Workers, b.Workers) })
	for _, r := range rows {
		goal := "-"
		if r.Goal != nil {
			goal = "≤ " + number(*r.Goal)
		}
		moved, least, others := "", "", ""
		if m := r.Moves; m != nil {
			moved, least, others = fmt.Sprint(m.Moved), fmt.Sprint(m.Least), fmt.Sprint(m.Others)
		}
		line(r.What, fmt.Sprint(r.Workers), fmt.Sprint(len(r.Samples)), number(r.Median), number(r.Worst), goal,
			r.Unit, moved, least, others, r.verdict())
	}
	return t.Flush()
}

// number writes what is small with two decimals.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v < 100:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
