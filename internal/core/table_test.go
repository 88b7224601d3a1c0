package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestTable feeds every kind of event to a core in every state, and compares the
// state that results and the kinds of effects with testdata/table.txt. What is
// ignored says so.
func TestTable(t *testing.T) {
	golden(t, "testdata/table.txt", func(t *testing.T, _ string) string {
		t.Helper()
		var out strings.Builder
		out.WriteString("# state: event -> state: kinds of effects\n")
		for s := Init; s <= Shutdown; s++ {
			out.WriteString("\n")
			for _, ev := range tableEvents {
				n := inState(t, s)
				e := ev.make(n)
				if e == nil {
					fmt.Fprintf(&out, "%-17s  %-28s  cannot be\n", s, ev.name)
					continue
				}
				effects := n.core.Step(n.w.now, e)
				fmt.Fprintf(&out, "%-17s  %-28s  %-17s  %s\n", s, ev.name, n.core.Snapshot().State, kinds(effects))
			}
		}
		return out.String()
	})
}

// stateScripts bring the worker x into each state.
var stateScripts = map[State]string{
	Init:              "new x",
	ClaimingID:        "new x; fault x hold -1 create id.*; begin x; run 10ms",
	Electing:          "start x; run 4ms",
	WaitingAssignment: "start a; run 5s; start x; run 1s",
	Stable:            "start a; run 15s; start x; run 30s",
	Scaling:           "start x; run 15s; start b; run 1s",
	Rebalancing:       "start a; run 15s; start x; run 30s; busy x; list p1 p2 p3; refresh a 1; run 100ms",
	Emergency:         "start x,b,c; run 100ms; start d; run 15s; kill b,d; run 6450ms",
	Degraded:          "start a,x; run 15s; disconnect x; run 11s",
	Shutdown:          "start a,x; run 15s; busy x; stop x; run 100ms",
}

func inState(t *testing.T, want State) *node {
	t.Helper()
	s := &script{world: newWorld(), cfg: testConfig()}
	for cmd := range strings.SplitSeq(stateScripts[want], "; ") {
		if err := s.do(strings.Fields(cmd)); err != nil {
			t.Fatalf("%s: %v", cmd, err)
		}
	}
	n := s.node("x")
	if got := n.core.Snapshot().State; got != want {
		t.Fatalf("%q leads to %v, not to %v\n%s", stateScripts[want], got, want, s.trace.String())
	}
	return n
}

// tableEvents make one event of each kind; nil when the core cannot get it.
var tableEvents = []struct {
	name string
	make func(*node) Event
}{
	{"start", func(*node) Event { return Start{Nonce: "again", Seed: 2} }},
	{"stop", func(*node) Event { return Stop{} }},
	{"abort", func(*node) Event { return Abort{} }},
	{"tick, too early", func(*node) Event { return Tick{} }},
	{"tick, due", func(n *node) Event {
		at, ok := n.core.Wake()
		if !ok {
			return nil
		}
		n.w.now = at
		return Tick{}
	}},
	{"tick, after a suspension", func(n *node) Event { n.w.now += time.Minute; return Tick{} }},
	{"connected", func(*node) Event { return Connected{Server: "n2", Allowance: time.Second} }},
	{"disconnected", func(*node) Event { return Disconnected{} }},
	{"reconnected", func(n *node) Event {
		n.core.Step(n.w.now, Disconnected{})
		n.w.now += 100 * time.Millisecond
		return Connected{Server: "n2", Allowance: time.Second}
	}},
	{"done, of nothing", func(*node) Event { return Done{Op: 1 << 40} }},
	{"done, down", answerWith(Down)},
	{"done, no answer", answerWith(Ambiguous)},
	{"done, refused", answerWith(Failed)},
	{"done, conflict", answerWith(Conflict)},
	{"done, not found", answerWith(NotFound)},
	{"source failed", func(n *node) Event {
		n.core.Step(n.w.now, Refresh{ID: 8})
		return Done{Op: n.core.lastOp, Text: "broken"}
	}},
	{"watched, of nothing", func(*node) Event { return Watched{Watch: 1 << 40, Key: "g.head"} }},
	{"watched, an id", watched(watchClaim, "g.id.7", `{"f":1,"inc":"q"}`)},
	{"watched, own id another's", func(n *node) Event {
		return watched(watchClaim, n.core.idKeyName(0), `{"f":1,"inc":"q"}`)(n)
	}},
	{"watched, a ticket", watched(watchClaim, "g.ticket.q", `{"f":1}`)},
	{"watched, a head", watched(watchHeads, "g.head", `{"f":1,"t":99999999,"v":1,"l":"w-8","lc":"stable","w":[]}`)},
	{"watched, an older head", watched(watchHeads, "g.head", `{"f":1,"t":1,"v":0,"l":"w-8","lc":"stable","w":[]}`)},
	{"watched, a foreign head", watched(watchHeads, "g.head", `{"f":99}`)},
	{"watched, head deleted", func(n *node) Event { return gone(n, watchHeads, "g.head") }},
	{"watched, another leader", watched(watchLeader, "g.leader", `{"f":1,"w":"w-8","inc":"q","t":99999999,"ttl":6000}`)},
	{"watched, leader deleted", func(n *node) Event { return gone(n, watchLeader, "g.leader") }},
	{"watched, a joiner", watched(watchBeats, "g.hb.w-8", `{"f":1,"inc":"q","n":1,"ttl":6000,"iv":2000}`)},
	{"watched, a foreign heartbeat", watched(watchBeats, "g.hb.w-8", `{"f":99}`)},
	{"watched, heartbeat deleted", func(n *node) Event { return gone(n, watchBeats, "g.hb.w-1") }},
	{"watch lost, of nothing", func(*node) Event { return WatchLost{Watch: 1 << 40} }},
	{"watch lost, ids", lost(watchClaim)},
	{"watch lost, head", lost(watchHeads)},
	{"watch lost, leader", lost(watchLeader)},
	{"watch lost, heartbeats", lost(watchBeats)},
	{"applied, of nothing", func(*node) Event { return Applied{Seq: 1 << 40} }},
	{"applied", func(n *node) Event {
		if n.applying == nil {
			return nil
		}
		return Applied{Seq: n.applying.Seq}
	}},
	{"refresh", func(*node) Event { return Refresh{ID: 7} }},
	{"list changed", func(*node) Event { return ListChanged{} }},
}

// answerWith answers the operation in flight, or that which the next turn asks
// for.
func answerWith(kind ErrKind) func(*node) Event {
	return func(n *node) Event {
		for range 50 {
			for _, e := range n.core.out {
				if op, ok := e.(KV); ok && n.core.ops[op.Op] != nil {
					return Done{Op: op.Op, Err: kind, Text: "x"}
				}
			}
			at, ok := n.core.Wake()
			if !ok || n.core.life.phase != running {
				return nil
			}
			n.w.now = max(n.w.now, at)
			n.core.Step(n.w.now, Tick{})
		}
		return nil
	}
}

func watched(k watchKind, key, val string) func(*node) Event {
	return func(n *node) Event {
		if n.core.watch[k].id == 0 {
			return nil
		}
		return Watched{Watch: n.core.watch[k].id, Key: key, Val: []byte(val), Rev: 1 << 40}
	}
}

func gone(n *node, k watchKind, key string) Event {
	if n.core.watch[k].id == 0 {
		return nil
	}
	return Watched{Watch: n.core.watch[k].id, Key: key, Rev: 1 << 40, Deleted: true}
}

func lost(k watchKind) func(*node) Event {
	return func(n *node) Event {
		if n.core.watch[k].id == 0 {
			return nil
		}
		return WatchLost{Watch: n.core.watch[k].id}
	}
}

// kinds lists effects in short, in order, without logs and metrics.
func kinds(effects []Effect) string {
	var out []string
	for _, e := range effects {
		s := ""
		switch e := e.(type) {
		case KV:
			kind, _, _ := strings.Cut(strings.TrimPrefix(e.Key, "g."), ".")
			s = verbNames[e.Verb] + " " + kind
		case Watch:
			s = "watch"
		case Report:
			s = "report " + faultNames[e.Fault.Kind]
		case StateChanged, Log, Measure, Rebalanced, Handed, Fleet:
			continue
		case Apply:
			s = fmt.Sprintf("apply %d", len(e.Owned))
		case Refreshed:
			s = "refreshed"
			if e.Fault != nil {
				s += " " + faultNames[e.Fault.Kind]
			}
		case Plan:
			s = "plan"
		case Ended:
			s = "ended"
		default:
			s, _, _ = strings.Cut(render(e), ":")
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return "ignored"
	}
	return strings.Join(out, ", ")
}
