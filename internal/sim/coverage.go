package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/arloliu/parti/internal/core"
)

// Coverage is what happened in a world.
type Coverage struct {
	Steps  int            // events told to cores, without idle ticks
	Faults map[string]int // by kind
	// Pairs is how often each event came in each state.
	Pairs [core.Shutdown + 1][numEvents]int
}

func newCoverage() Coverage { return Coverage{Faults: map[string]int{}} }

// hit counts a fault.
func (w *World) hit(kind string) { w.seen.Faults[kind]++ }

// eventNames are the kinds of events, in the order of eventKind.
var eventNames = [...]string{
	"Start", "Stop", "Abort", "Tick", "Connected", "Disconnected", "Done", "Watched", "WatchLost", "Applied",
	"Probed", "Notice", "Rebound", "Refresh", "ListChanged",
}

const numEvents = 15

func eventKind(ev core.Event) int {
	switch ev.(type) {
	case core.Start:
		return 0
	case core.Stop:
		return 1
	case core.Abort:
		return 2
	case core.Tick:
		return 3
	case core.Connected:
		return 4
	case core.Disconnected:
		return 5
	case core.Done:
		return 6
	case core.Watched:
		return 7
	case core.WatchLost:
		return 8
	case core.Applied:
		return 9
	case core.Probed:
		return 10
	case core.Notice:
		return 11
	case core.Rebound:
		return 12
	case core.Refresh:
		return 13
	case core.ListChanged:
		return 14
	}
	panic(fmt.Sprintf("an event of no known kind: %T", ev))
}

// step counts an event. A tick without an effect is idle.
func (c *Coverage) step(s core.State, ev core.Event, effects int) {
	k := eventKind(ev)
	c.Pairs[s][k]++
	if _, tick := ev.(core.Tick); !tick || effects > 0 {
		c.Steps++
	}
}

// Add takes in another world's.
func (c *Coverage) Add(o Coverage) {
	c.Steps += o.Steps
	for kind, n := range o.Faults {
		c.Faults[kind] += n
	}
	for s := range c.Pairs {
		for k := range c.Pairs[s] {
			c.Pairs[s][k] += o.Pairs[s][k]
		}
	}
}

// Total is the number of faults.
func (c *Coverage) Total() int {
	n := 0
	for _, k := range c.Faults {
		n += k
	}
	return n
}

// Missing names the pairs that did not happen.
func (c *Coverage) Missing() []string {
	var out []string
	for s := range c.Pairs {
		for k, n := range c.Pairs[s] {
			if n == 0 {
				out = append(out, states[s]+" "+eventNames[k])
			}
		}
	}
	return out
}

// String is a table of the faults, and one of the pairs.
func (c *Coverage) String() string {
	var b strings.Builder
	for i, kind := range slices.Sorted(maps.Keys(c.Faults)) {
		fmt.Fprintf(&b, "%-26s %8d", kind, c.Faults[kind])
		if i%3 == 2 {
			b.WriteByte('\n')
		} else {
			b.WriteString("   ")
		}
	}
	fmt.Fprintf(&b, "\n%-18s", "")
	for _, name := range eventNames {
		fmt.Fprintf(&b, " %12s", name)
	}
	for s := range c.Pairs {
		fmt.Fprintf(&b, "\n%-18s", states[s])
		for _, n := range c.Pairs[s] {
			fmt.Fprintf(&b, " %12d", n)
		}
	}
	return b.String()
}
