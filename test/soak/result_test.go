package soak

import (
	"fmt"
	"maps"
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
	form
	*oracle.Verdict
	took  time.Duration
	notes map[string]int
	dir   string
	kills int
	stall time.Duration // of the runner, at worst
}

// counted are the moves with enough messages waiting.
func (r *result) counted() (n, inFlight, replanned, least int) {
	least = -1
	for _, m := range r.Moves {
		if least < 0 || m.Waiting < least {
			least = m.Waiting
		}
		if m.Waiting < r.waiting {
			continue
		}
		n++
		if m.InFlight {
			inFlight++
		}
		if m.Replanned {
			replanned++
		}
	}
	return n, inFlight, replanned, least
}

// pauses returns those of moves that nothing disturbed.
func (r *result) pauses(replanned bool) []time.Duration {
	var out []time.Duration
	for _, m := range r.Moves {
		if m.First != 0 && !m.Disturbed && m.Replanned == replanned {
			out = append(out, m.Pause())
		}
	}
	return out
}

// step returns one of the steps of the pauses.
func (r *result) step(i int) []time.Duration {
	var out []time.Duration
	for _, m := range r.Moves {
		if m.First != 0 && !m.Disturbed && !m.Replanned {
			out = append(out, m.Steps()[i])
		}
	}
	return out
}

// firsts returns how long orphaned partitions waited for their first message
// after the grant, and for the grant.
func (r *result) firsts() (firsts, grants []time.Duration) {
	for _, o := range r.Orphans {
		if o.First != 0 {
			firsts = append(firsts, time.Duration(o.First-o.Granted))
			grants = append(grants, time.Duration(o.Granted-o.Killed))
		}
	}
	return firsts, grants
}

// orphans shows, kill by kill, when each partition had its first message at its
// new owner, counted from the grant.
func (r *result) orphans() string {
	var b strings.Builder
	killed := int64(0)
	for _, o := range r.Orphans {
		if o.Killed != killed {
			killed = o.Killed
			_, _ = fmt.Fprintf(&b, "\nprocess %d killed, granted again from %s on; first messages after the grant:",
				o.From, crew.Short(time.Duration(o.Granted-o.Killed)))
		}
		first := "never"
		if o.First != 0 {
			first = crew.Short(time.Duration(o.First - o.Granted))
		}
		_, _ = fmt.Fprintf(&b, " %s %s", partitionKey(o.Part), first)
		if o.Excused > 0 {
			_, _ = fmt.Fprintf(&b, " (%d again)", o.Excused)
		}
	}
	return b.String()
}

// mostExcused is the largest number of messages doubled in one partition by one
// kill.
func (r *result) mostExcused() int {
	most := 0
	for _, o := range r.Orphans {
		most = max(most, o.Excused)
	}
	return most
}

// check fails the test where the run is not as it must be.
func (r *result) check(t *testing.T) {
	t.Helper()
	for _, f := range r.Faults {
		t.Errorf("%s: %v", r.name, f)
	}
	if !r.OK() {
		t.Errorf("%s: faults %v; histories in %s", r.name, r.Count, r.dir)
	}
	if n, _, _, _ := r.counted(); n < r.moves {
		t.Errorf("%s: %d moves with %d messages waiting, want %d", r.name, n, r.waiting, r.moves)
	}
	if r.kills < r.form.kills {
		t.Errorf("%s: the leader was killed %d times, want %d", r.name, r.kills, r.form.kills)
	}
}

// checkAll checks what holds for all runs together.
func checkAll(t *testing.T, results []*result) {
	t.Helper()
	var moves, inFlight, replanned int
	for _, r := range results {
		n, f, p, _ := r.counted()
		moves, inFlight, replanned = moves+n, inFlight+f, replanned+p
	}
	if 2*inFlight < moves || 10*replanned < moves {
		t.Errorf("of %d moves %d with a handler in flight and %d re-planned, want a half and a tenth", moves, inFlight, replanned)
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
	percent := func(n, of int) string { return fmt.Sprintf("%d %%", 100*n/max(1, of)) }
	row("", func(r *result) string { return r.name })
	row("planned moves", func(r *result) string { n, _, _, _ := r.counted(); return number(n) })
	row("handler in flight", func(r *result) string { n, f, _, _ := r.counted(); return percent(f, n) })
	row("re-planned while draining", func(r *result) string { n, _, p, _ := r.counted(); return percent(p, n) })
	row("taken back while draining", func(r *result) string { return number(r.Returned) })
	row("least messages waiting", func(r *result) string { _, _, _, l := r.counted(); return number(l) })
	row("leader killed", func(r *result) string { return number(r.kills) })
	row("messages", func(r *result) string { return number(r.Published) })
	row("handled", func(r *result) string { return number(r.Handled) })
	for _, kind := range oracle.Faults() {
		row(string(kind), func(r *result) string { return number(r.Count[kind]) })
	}
	row("doubled, ack unanswered", func(r *result) string { return number(r.Excused) })
	row("most in a partition", func(r *result) string { return number(r.mostExcused()) })
	row("token not known", func(r *result) string { return number(r.NoToken) })
	row("pause of moved p50", func(r *result) string { return crew.Short(crew.At(r.pauses(false), 50)) })
	row("p99", func(r *result) string { return crew.Short(crew.At(r.pauses(false), 99)) })
	row("worst", func(r *result) string { return crew.Short(crew.At(r.pauses(false), 100)) })
	for i, name := range []string{"of that let go", "granted", "first message"} {
		row(name+" p50, p99", func(r *result) string {
			return crew.Short(crew.At(r.step(i), 50)) + ", " + crew.Short(crew.At(r.step(i), 99))
		})
	}
	row("pause when re-planned p50", func(r *result) string { return crew.Short(crew.At(r.pauses(true), 50)) })
	row("p99", func(r *result) string { return crew.Short(crew.At(r.pauses(true), 99)) })
	row("others, nothing moves p50", func(r *result) string { return crew.Short(crew.At(r.Calm, 50)) })
	row("p99", func(r *result) string { return crew.Short(crew.At(r.Calm, 99)) })
	row("others, while moves p50", func(r *result) string { return crew.Short(crew.At(r.Moving, 50)) })
	row("p99", func(r *result) string { return crew.Short(crew.At(r.Moving, 99)) })
	row("orphaned partitions", func(r *result) string { return number(len(r.Orphans)) })
	row("kill to grant p50", func(r *result) string { _, g := r.firsts(); return crew.Short(crew.At(g, 50)) })
	row("grant to first message p50", func(r *result) string { f, _ := r.firsts(); return crew.Short(crew.At(f, 50)) })
	row("worst", func(r *result) string { f, _ := r.firsts(); return crew.Short(crew.At(f, 100)) })
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
