package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
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
	Note  string `json:"note,omitempty"`
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

func (r Row) verdict() string {
	switch {
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
