package core

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

var stateNames = [...]string{
	"Init", "ClaimingID", "Election", "WaitingAssignment", "Stable", "Scaling", "Rebalancing", "Emergency", "Degraded", "Shutdown",
}

func (s State) String() string { return stateNames[s] }

var faultNames = map[FaultKind]string{
	FaultConnection: "connection", FaultKV: "kv", FaultIDsExhausted: "ids-exhausted", FaultIDLost: "id-lost",
	FaultElection: "election", FaultSource: "source", FaultStrategy: "strategy", FaultVersion: "version",
	FaultForced: "forced", FaultForeignApp: "foreign-app", FaultForeignValue: "foreign-value",
	FaultTimeout: "timeout", FaultStopped: "stopped",
}

func (f Fault) String() string { return faultNames[f.Kind] + ": " + f.Text }

var errNames = [...]string{
	OK: "ok", Conflict: "conflict", NotFound: "not found", Down: "down", Ambiguous: "no answer", Failed: "failed",
}

var metricNames = map[Metric]string{
	MetricDegraded: "degraded", MetricAlertLevel: "alert level", MetricDegradedTime: "degraded time", MetricAlerts: "alerts",
	MetricCacheFallback: "cache fallback", MetricLeader: "leader", MetricPartitions: "partitions", MetricMoves: "moves",
	MetricRebalances: "rebalances", MetricRebalanceTime: "rebalance time", MetricForced: "forced", MetricOverlaps: "overlaps",
	MetricClaimConflicts: "claim conflicts", MetricWatchRestarts: "watch restarts", MetricKVErrors: "kv errors",
	MetricCacheAge: "cache age",
}

// say adds a line to the transcript, unless it is routine that the script did
// not ask to be shown.
func (w *world) say(e Effect, who, text string) {
	show := true
	switch e := e.(type) {
	case KV:
		show = text != "" && (w.shows["kv"] || !routine(e) || !strings.Contains(text, "= ok") && !strings.HasSuffix(text, "= not found"))
	case Watch, Unwatch:
		show = w.shows["watch"]
	case Serve, Listen, Probe:
		show = w.shows["presence"]
	case Source:
		show = w.shows["source"]
	case Log:
		show = w.shows["log"]
	case Measure:
		show = w.shows["measure"]
	}
	if show {
		w.printf(who, "%s", text)
	}
}

// routine are the operations whose success goes without saying: renewals,
// reads, and the payloads that the head after them names.
func routine(e KV) bool {
	kind, _, _ := strings.Cut(strings.TrimPrefix(e.Key, "g."), ".")
	switch {
	case e.Verb == Get:
		return true
	case kind == "hb", kind == "id", kind == "leader":
		return e.Verb == Update
	}
	return false
}

// render writes an effect in one line; operations are shown with their answer.
func render(e Effect) string {
	switch e := e.(type) {
	case Watch:
		return "watch " + strings.TrimPrefix(e.Filter, "g.") + " as " + e.Name
	case Unwatch:
		return "unwatch"
	case Source:
		return "source"
	case Plan:
		return fmt.Sprintf("plan %d partitions among %s", len(e.List.IDs), strings.Join(e.Workers, " "))
	case Agent:
		return "agent " + [...]string{"request", "renew", "release"}[e.Verb] + " " + e.Worker
	case Processes:
		keys := make([]string, 0, len(e.All))
		for k := range e.All {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		return "processes of " + strings.Join(keys, " ")
	case Apply:
		return fmt.Sprintf("apply %d.%d %s [%s]", e.Term, e.Version, e.Lifecycle, renderOwned(e.Owned))
	case Started:
		return "started"
	case StartFailed:
		return "start failed: " + e.Fault.String()
	case Ended:
		if e.Fault != nil {
			return "ended: " + e.Fault.String()
		}
		return "ended"
	case Refreshed:
		if e.Fault != nil {
			return fmt.Sprintf("refreshed %d: %s", e.ID, e.Fault)
		}
		return fmt.Sprintf("refreshed %d", e.ID)
	case StateChanged:
		return fmt.Sprintf("%s -> %s", e.From, e.To)
	case Report:
		return "report " + e.Fault.String()
	case Alert:
		return fmt.Sprintf("alert %s after %s", AlertNames[e.Level], e.Since)
	case Log:
		s := [...]string{"debug", "info", "warn", "error"}[e.Level] + " " + e.Message
		for i := 0; i+1 < len(e.Pairs); i += 2 {
			s += fmt.Sprintf(" %v=%v", e.Pairs[i], e.Pairs[i+1])
		}
		return s
	case Measure:
		return strings.TrimRight(fmt.Sprintf("measure %s %s %s", metricNames[e.Metric], strconv.FormatFloat(e.Value, 'f', -1, 64), e.Label), " ")
	}
	return renderPresence(e)
}

func renderOwned(owned []Owned) string {
	s := make([]string, len(owned))
	for i, o := range owned {
		s[i] = fmt.Sprintf("%s@%d.%d", o.ID, o.Token.Term, o.Token.Version)
	}
	return strings.Join(s, " ")
}

func renderDone(e KV, d Done) string {
	s := verbNames[e.Verb] + " " + strings.TrimPrefix(e.Key, "g.")
	if e.Verb == Create || e.Verb == Update {
		if v := renderValue(e.Key, e.Val); v != "" {
			s += " " + v
		}
	}
	return s + " = " + errNames[d.Err]
}

// renderValue writes what matters of a value.
func renderValue(key string, val []byte) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(key, "g."), ".")
	read := func(v any) string {
		if err := json.Unmarshal(val, v); err != nil {
			return string(val)
		}
		return ""
	}
	switch kind {
	case "id":
		var r idRecord
		return read(&r) + "{" + r.Inc + "}"
	case "hb":
		var r hbRecord
		s := read(&r) + "{" + r.Inc + " applied " + r.Applied.String()
		if r.Leaving {
			s += " leaving"
		}
		if r.Released {
			s += " released"
		}
		if r.Revoked != 0 {
			s += " revoked by " + strconv.FormatUint(r.Revoked, 10)
		}
		return s + "}"
	case "leader":
		var r leaderRecord
		return read(&r) + "{" + r.Worker + " term " + strconv.FormatUint(r.Term, 10) + "}"
	case "head":
		var r headRecord
		return read(&r) + renderHead(&r)
	case "part":
		var r partRecord
		return read(&r) + "{" + r.Inc + ": " + renderOwned(ownedBy(r)) + "}"
	case "drain":
		var r drainRecord
		s := read(&r)
		var items []string
		for _, i := range r.Items {
			items = append(items, fmt.Sprintf("%s from %s to %s until %s", i.ID, i.Inc, i.Next, i.Release))
		}
		return s + "{" + strings.Join(items, ", ") + "}"
	}
	return ""
}

func renderHead(r *headRecord) string {
	s := fmt.Sprintf("{%s %s by %s", r.at(), r.Lifecycle, r.Leader)
	for _, h := range r.Seats {
		s += "; " + h.Worker + " " + h.Inc
		if !h.Part.none() {
			s += fmt.Sprintf(" part %d.%d", h.Part.Term, h.Part.Version)
		}
		if !h.Drain.none() {
			s += fmt.Sprintf(" drain %d.%d", h.Drain.Term, h.Drain.Version)
		}
		if h.Away != 0 {
			s += " away " + h.Away.duration().Round(time.Millisecond).String()
		}
		if h.Vacant {
			s += " vacant"
		}
	}
	return s + "}"
}
