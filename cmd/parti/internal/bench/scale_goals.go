package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// scaleGoal is what an event of a size must not exceed.
type scaleGoal struct {
	size  ScaleSize
	total float64 // seconds
	heap  float64 // bytes
}

var scaleGoals = []scaleGoal{
	{ScaleSize{1_000_000, 1000}, 2, 250e6},
	{ScaleSize{10_000, 64}, 0.050, 0},
}

const (
	maxValueGoal  = 256 << 10
	headGoal      = 128 // bytes per worker
	writtenFactor = 3   // of the bytes that moved
)

// bytesGoal is how many bytes an event may write. Who joins is given what others give
// up first, which takes two heads.
func (f ScaleFigure) bytesGoal() int {
	heads := 1
	if f.Event == ScaleJoin {
		heads = 2
	}
	return writtenFactor*f.MovedBytes + heads*headGoal*f.Workers
}

// missedScale says which goals were missed. What is written holds for every
// size; how long it takes for some.
func missedScale(figures []ScaleFigure) []string {
	var missed []string
	for _, f := range figures {
		miss := func(format string, args ...any) {
			missed = append(missed, fmt.Sprintf("%d x %d, %s: %s", f.Partitions, f.Workers, f.Event, fmt.Sprintf(format, args...)))
		}
		if f.MaxValue > maxValueGoal {
			miss("a value of %d bytes, more than %d", f.MaxValue, maxValueGoal)
		}
		if goal := headGoal * f.Workers; f.HeadBytes > goal {
			miss("a head of %d bytes, more than %d", f.HeadBytes, goal)
		}
		if goal := f.bytesGoal(); f.Bytes > goal {
			miss("%d bytes written, more than %d", f.Bytes, goal)
		}
		i := slices.IndexFunc(scaleGoals, func(g scaleGoal) bool { return g.size == (ScaleSize{f.Partitions, f.Workers}) })
		if i < 0 || f.Event != ScaleLeave {
			continue
		}
		if g := scaleGoals[i]; f.Total > g.total {
			miss("%.3f s, more than %.3f", f.Total, g.total)
		} else if g.heap > 0 && f.Heap > g.heap {
			miss("%.0f MB beside the source's list, more than %.0f", f.Heap/1e6, g.heap/1e6)
		}
	}
	return missed
}

// writeScale prints the table.
func writeScale(w io.Writer, figures []ScaleFigure) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "partitions\tworkers\tevent\ttotal ms\tplan\tpublish\treach\tmoved\tvalues\tbytes\tof goal\tlargest\thead/worker\tmsgs in\tout\tMB in\tout\theap MB\tpeak\t")
	for _, f := range figures {
		goal := f.bytesGoal()
		_, _ = fmt.Fprintf(t, "%d\t%d\t%s\t%.1f\t%.1f\t%.1f\t%.1f\t%d\t%d\t%d\t%.2f\t%d\t%.0f\t%d\t%d\t%.1f\t%.1f\t%.1f\t%.1f\t\n",
			f.Partitions, f.Workers, f.Event, 1e3*f.Total, 1e3*f.Plan, 1e3*f.Publish, 1e3*f.Reach,
			f.Moved, f.Values, f.Bytes, float64(f.Bytes)/float64(goal), f.MaxValue, float64(f.HeadBytes)/float64(f.Workers),
			f.InMsgs, f.OutMsgs, float64(f.InBytes)/1e6, float64(f.OutBytes)/1e6, f.Heap/1e6, f.Peak/1e6)
	}
	return t.Flush()
}
