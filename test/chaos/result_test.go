package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// result is what a run comes to.
type result struct {
	*oracle.Verdict

	name          string
	dir           string
	err           error
	planned       int // faults
	faults        map[kind]int
	stable        []time.Duration // after each episode, until everybody was Stable
	within        time.Duration   // that is allowed
	rate          float64         // messages published a second
	pubPause      time.Duration
	used          usage // said last
	before, after usage // of the worker that lives from beginning to end, alone
	leftBehind    int   // goroutines, at worst, after Stop
	stall         time.Duration
	storm         [2]time.Time    // from when to when everything broke
	rests         []time.Duration // of each partition the longest, meanwhile
	took          time.Duration
	notes         map[string]int
}

// judge reads the histories of the processes and of the store.
func (r *result) judge(n int) error {
	records, err := crew.ReadHistories(r.dir, n)
	if err != nil {
		return err
	}
	stored, err := crew.ReadHistories(filepath.Join(r.dir, "store"), n)
	if err != nil {
		return err
	}
	r.Verdict = oracle.Judge(partitions, append(records, stored...))
	r.rest(stored)
	return nil
}

// rest finds the longest time in which a partition had no message handled. There
// are always some for it.
func (r *result) rest(stored []oracle.Record) {
	slices.SortFunc(stored, func(a, b oracle.Record) int { return cmp.Compare(a.At, b.At) })
	began, ended := r.storm[0].UnixNano(), r.storm[1].UnixNano()
	var last [partitions]int64
	r.rests = make([]time.Duration, partitions)
	for _, rec := range stored {
		if rec.Kind != oracle.Handled || rec.At < began {
			continue
		}
		if last[rec.Part] != 0 && last[rec.Part] < ended {
			r.rests[rec.Part] = max(r.rests[rec.Part], time.Duration(rec.At-last[rec.Part]))
		}
		last[rec.Part] = rec.At
	}
}

// check fails the test where the run is not as it must be.
func (r *result) check(t *testing.T, rate int) {
	t.Helper()
	bad := func(format string, args ...any) {
		t.Helper()
		t.Errorf(r.name+": "+format, args...)
	}
	if r.err != nil {
		bad("%v", r.err)
	}
	for _, f := range r.Faults {
		bad("%v", f)
	}
	if !r.OK() {
		bad("the history is bad: %v", r.Count)
	}
	sum := 0
	for _, n := range r.faults {
		sum += n
	}
	if sum != r.planned {
		bad("%d faults, want %d", sum, r.planned)
	}
	if r.MostAgain > inFlight {
		bad("%d messages of a partition were begun again under one grant, want at most %d", r.MostAgain, inFlight)
	}
	if worst := crew.At(r.stable, 100); worst > r.within {
		bad("everybody Stable after %v, want %v", worst, r.within)
	}
	if r.rate < float64(rate)*5/6 {
		bad("%.0f messages a second, want %d", r.rate, rate)
	}
	if r.after.goroutines != r.before.goroutines {
		bad("%d goroutines in the end, %d in the beginning", r.after.goroutines, r.before.goroutines)
	}
	if 10*r.after.heap > 12*r.before.heap {
		bad("%d bytes of heap in use in the end, %d in the beginning", r.after.heap, r.before.heap)
	}
	if r.leftBehind > 0 {
		bad("%d goroutines were left after Stop", r.leftBehind)
	}
}

// table shows results side by side.
func table(results []*result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, cell func(*result) string) {
		_, _ = fmt.Fprintf(w, "%s\t", name)
		for _, r := range results {
			_, _ = fmt.Fprintf(w, "%s\t", cell(r))
		}
		_, _ = fmt.Fprintln(w)
	}
	number := func(n int) string { return fmt.Sprint(n) }
	row("", func(r *result) string { return r.name })
	row("faults", func(r *result) string {
		sum := 0
		for _, n := range r.faults {
			sum += n
		}
		return number(sum)
	})
	for _, k := range kinds() {
		row(string(k), func(r *result) string { return number(r.faults[k]) })
	}
	row("messages", func(r *result) string { return number(r.Published) })
	row("a second", func(r *result) string { return fmt.Sprintf("%.0f", r.rate) })
	row("handled", func(r *result) string { return number(r.Handled) })
	for _, k := range oracle.Faults() {
		row(string(k), func(r *result) string { return number(r.Count[k]) })
	}
	row("doubled, ack unanswered", func(r *result) string { return number(r.Excused) })
	row("most in a partition", func(r *result) string { return fmt.Sprintf("%d of %d", r.MostAgain, inFlight) })
	row("taken from who seemed dead", func(r *result) string { return number(r.Taken) })
	row("begun late by those", func(r *result) string { return number(r.Late) })
	row("writes refused", func(r *result) string { return number(r.Refused) })
	row("partitions orphaned", func(r *result) string { return number(len(r.Orphans)) })
	row("Stable after faults p50", func(r *result) string { return crew.Short(crew.At(r.stable, 50)) })
	row("worst", func(r *result) string { return crew.Short(crew.At(r.stable, 100)) })
	row("allowed", func(r *result) string { return r.within.String() })
	row("goroutines before, after", func(r *result) string { return fmt.Sprintf("%d, %d", r.before.goroutines, r.after.goroutines) })
	row("left after Stop", func(r *result) string { return number(r.leftBehind) })
	row("heap in use before, after", func(r *result) string {
		return fmt.Sprintf("%.1f, %.1f MiB", float64(r.before.heap)/(1<<20), float64(r.after.heap)/(1<<20))
	})
	row("longest rest of a partition p50", func(r *result) string { return crew.Short(crew.At(r.rests, 50)) })
	row("worst", func(r *result) string { return crew.Short(crew.At(r.rests, 100)) })
	row("longest without publishing", func(r *result) string { return crew.Short(r.pubPause) })
	row("worst stall of the machine", func(r *result) string { return crew.Short(r.stall) })
	row("took", func(r *result) string { return r.took.Round(100 * time.Millisecond).String() })
	_ = w.Flush()
	for _, r := range results {
		for _, text := range slices.Sorted(maps.Keys(r.notes)) {
			_, _ = fmt.Fprintf(&b, "%s: %d x %s\n", r.name, r.notes[text], text)
		}
	}
	return b.String()
}
