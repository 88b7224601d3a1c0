package sim

import (
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// traced is how many of the last lines a trace keeps.
const traced = 400

// Trace is the history of a world, line by line. All of it goes into the hash;
// the last lines are kept to be read.
type Trace struct {
	sum  uint64
	ring [traced]string
	n    int
	out  io.Writer // gets every line, if not nil
	// off: nothing is noted. To write a line costs more than what it tells of, and
	// a seed that fails can be run again.
	off bool
}

func newTrace() *Trace { return &Trace{} }

func (t *Trace) add(at time.Duration, who, format string, args ...any) {
	if t.off {
		return
	}
	line := fmt.Sprintf("%12.6f %-5s ", at.Seconds(), who) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%x", t.sum)
	_, _ = io.WriteString(h, line)
	t.sum = h.Sum64()
	t.ring[t.n%traced] = line
	t.n++
	if t.out != nil {
		_, _ = fmt.Fprintln(t.out, line)
	}
}

// Sum is a hash of the whole history.
func (t *Trace) Sum() uint64 { return t.sum }

// Last returns the last lines.
func (t *Trace) Last() string {
	var b strings.Builder
	for i := max(0, t.n-traced); i < t.n; i++ {
		b.WriteString(t.ring[i%traced])
		b.WriteByte('\n')
	}
	return b.String()
}

func showEvent(ev core.Event) string {
	switch ev := ev.(type) {
	case core.Done:
		s := fmt.Sprintf("done %d %s", ev.Op, kinds[ev.Err])
		if ev.Text != "" {
			s += " " + ev.Text
		}
		if ev.Owners != nil {
			s += fmt.Sprintf(" owners %v", ev.Owners)
		}
		if ev.List != nil {
			s += " list " + ev.List.Digest
		}
		if len(ev.Dead) > 0 {
			s += fmt.Sprintf(" dead %v", ev.Dead)
		}
		return s
	case core.Watched:
		return fmt.Sprintf("watched %d %s rev %d deleted %t synced %t", ev.Watch, ev.Key, ev.Rev, ev.Deleted, ev.Synced)
	default:
		return fmt.Sprintf("%T%+v", ev, ev)
	}
}

func showEffect(e core.Effect) string {
	switch e := e.(type) {
	case core.KV:
		return fmt.Sprintf("op %d %s %s rev %d", e.Op, verbs[e.Verb], e.Key, e.Rev)
	case core.Plan:
		return fmt.Sprintf("plan %d workers %v", e.Op, e.Workers)
	case core.Apply:
		var b strings.Builder
		for _, o := range e.Owned {
			_, _ = fmt.Fprintf(&b, " %s@%d.%d", o.ID, o.Token.Term, o.Token.Version)
		}
		return fmt.Sprintf("apply %d of %d.%d:%s", e.Seq, e.Term, e.Version, b.String())
	case core.Measure:
		return ""
	case core.Log:
		return fmt.Sprintf("log %s %v", e.Message, e.Pairs)
	case core.Refreshed:
		return fmt.Sprintf("refreshed %d%s", e.ID, showFault(e.Fault))
	case core.Ended:
		return "ended" + showFault(e.Fault)
	case core.StateChanged:
		return fmt.Sprintf("state %s -> %s", states[e.From], states[e.To])
	default:
		return fmt.Sprintf("%T%+v", e, e)
	}
}

// showFault shows what a pointer points to.
func showFault(f *core.Fault) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf(" %d: %s", f.Kind, f.Text)
}

var states = [...]string{
	core.Init: "Init", core.ClaimingID: "ClaimingID", core.Electing: "Election", core.WaitingAssignment: "WaitingAssignment",
	core.Stable: "Stable", core.Scaling: "Scaling", core.Rebalancing: "Rebalancing", core.Emergency: "Emergency",
	core.Degraded: "Degraded", core.Shutdown: "Shutdown",
}
