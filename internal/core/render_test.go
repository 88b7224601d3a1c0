package core

import (
	"fmt"
	"maps"
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
	MetricRebalances: "rebalances", MetricForced: "forced",
	MetricClaimConflicts: "claim conflicts", MetricWatchRestarts: "watch restarts", MetricKVErrors: "kv errors",
	MetricCacheAge: "cache age", MetricCommitTime: "commit time", MetricOverlaps: "overlaps",
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
	case Measure, Rebalanced, Handed, Fleet:
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
		who := slices.Clone(e.Workers)
		for i := range who {
			if e.Capacity[i] != 1 {
				who[i] += "*" + strconv.FormatFloat(e.Capacity[i], 'g', -1, 64)
			}
			for _, k := range slices.Sorted(maps.Keys(e.Labels[i])) {
				who[i] += "{" + k + ":" + e.Labels[i][k] + "}"
			}
		}
		return fmt.Sprintf("plan %d partitions among %s", len(e.List.IDs), strings.Join(who, " "))
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
	case Rebalanced:
		return fmt.Sprintf("rebalanced %s %d.%d: %d workers, %d partitions, %d moves; began %.3f, plan %v, publish %v, handoff %v",
			e.Reason, e.Term, e.Version, e.Workers, e.Partitions, e.Moves, e.Began.Seconds(), e.Plan, e.Publish, e.Handoff)
	case Fleet:
		return fmt.Sprintf("fleet: %d partitions, %d without an owner", e.Partitions, e.Unowned)
	case Handed:
		return fmt.Sprintf("handed %d partitions after %v: %s", e.Partitions, e.Pause, e.Cause)
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
	switch kind {
	case "id":
		r, err := decode[idRecord](val)
		if err != nil {
			return string(val)
		}
		return "{" + r.Inc + "}"
	case "hb":
		r, err := decode[hbRecord](val)
		if err != nil {
			return string(val)
		}
		s := "{" + r.Inc + " applied " + r.Applied.String()
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
		r, err := decode[leaderRecord](val)
		if err != nil {
			return string(val)
		}
		return "{" + r.Worker + " term " + strconv.FormatUint(r.Term, 10) + "}"
	case "head":
		r, err := decode[headRecord](val)
		if err != nil {
			return string(val)
		}
		return renderHead(&r)
	case "part":
		r, err := decode[partRecord](val)
		if err != nil {
			return string(val)
		}
		s := "{" + r.Inc + ": " + renderOwned(ownedBy(r))
		if !r.Base.none() {
			s += fmt.Sprintf(" on %d.%d", r.Base.Term, r.Base.Version)
		}
		if len(r.Removed) > 0 {
			s += " without " + strings.Join(r.Removed, " ")
		}
		return s + "}"
	case "drain":
		r, err := decode[drainRecord](val)
		if err != nil {
			return string(val)
		}
		var items []string
		for _, i := range r.Items {
			items = append(items, fmt.Sprintf("%s from %s to %s until %s", i.ID, i.Inc, i.Next, i.Release))
		}
		return "{" + strings.Join(items, ", ") + "}"
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
