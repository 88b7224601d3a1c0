package parti

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// perform performs one effect without blocking. It returns true when it was
// the last one of the run. newest is what the last Apply effect of its step asks
// for; those before it are superseded already.
func (r *run) perform(e core.Effect, newest *application) (ended bool) {
	switch e := e.(type) {
	case core.KV:
		r.ops.add(e)
	case core.Watch:
		r.watches.add(e)
	case core.Unwatch:
		r.watches.end(e.ID)
	case core.Rebind:
		r.rebind()
	case core.Source:
		r.own.start("listing partitions", func() { r.box.post(r.list(e)) })
	case core.Plan:
		r.own.start("planning", func() { r.box.post(r.plan(e)) })
	case core.Agent:
		r.agent.add(r, e)
	case core.Processes:
		r.own.start("looking for processes", func() { r.box.post(deadProcesses(e)) })
	case core.Serve:
		r.presence.set(&r.presence.serve, e.Inc)
	case core.Listen:
		r.presence.set(&r.presence.listen, e.Name)
	case core.Probe:
		r.presence.probe(e)
	case core.Apply:
		if e.Seq == newest.seq {
			r.applier.apply(*newest)
		}
	case core.Started:
		close(r.started)
	case core.StartFailed:
		r.startErr = r.causes.err(e.Fault)
		r.hurry(r.startErr)
	case core.Ended:
		if e.Fault != nil {
			r.fault = r.causes.err(*e.Fault)
		}
		return true
	case core.Refreshed:
		var err error
		if e.Fault != nil {
			err = r.causes.err(*e.Fault)
		}
		r.refresh.end(e.ID, err)
	default:
		r.tell(e)
	}
	return false
}

// tell performs the effects that only inform somebody.
func (r *run) tell(e core.Effect) {
	switch e := e.(type) {
	case core.StateChanged:
		from, to := State(e.From), State(e.To)
		r.log.Info("state changed", "from", from.String(), "to", to.String())
		r.m.opts.metrics.SetState(to)
		r.m.waiters.reached(to)
		r.hooks.stateChanged(from, to)
	case core.Report:
		r.report(r.causes.err(e.Fault))
	case core.Alert:
		level := alertName(e.Level)
		r.log.Warn("degraded", "alert", level, "since", e.Since.String())
		r.hooks.alert(level, e.Since)
	case core.Log:
		logTo(r.log, e)
	case core.Measure:
		measure(r.m.opts.metrics, e)
	case core.Rebalanced:
		r.m.opts.metrics.ObserveRebalance(Rebalance{
			Reason: e.Reason, Term: e.Term, Version: e.Version, Workers: e.Workers, Partitions: e.Partitions, Moves: e.Moves,
			Began: r.clock.date(e.Began), Plan: e.Plan, Publish: e.Publish, Handoff: e.Handoff,
		})
	case core.Handed:
		r.m.opts.metrics.ObserveHandoffPause(e.Cause, e.Pause, e.Partitions)
	case core.Fleet:
		r.m.opts.metrics.SetFleet(e.Partitions, e.Unowned)
	}
}

// report tells a recoverable error to whoever wants to know.
func (r *run) report(err error) {
	kind := errorKind(err)
	r.log.Warn("recoverable error", append([]any{"kind", kind, "error", err}, stackOf(err)...)...)
	r.m.opts.metrics.IncrementError(kind)
	r.m.health.note(err)
	r.hooks.err(err)
}

// idsShown is how many partitions a line of the log names.
const idsShown = 20

// changed tells that this worker owns other partitions than before.
func (r *run) changed(w *application, added, removed []Partition) {
	c := AppliedChange{
		Term: w.held.term, Version: w.held.version, Added: len(added), Removed: len(removed), Owned: len(w.held.owned),
		Began: w.arrived, Took: time.Since(w.arrived),
	}
	r.log.Info("ownership changed", "term", c.Term, "version", c.Version, "partitions", c.Owned,
		"added", shown(added), "removed", shown(removed), "took", c.Took.String())
	r.m.opts.metrics.ObserveApply(c)
}

// shown names partitions, the first ones when there are many.
func shown(ps []Partition) string {
	var b strings.Builder
	fmt.Fprint(&b, len(ps))
	for i, p := range ps {
		switch i {
		case idsShown:
			b.WriteString(" ...")
			return b.String()
		case 0:
			b.WriteString(": ")
		default:
			b.WriteByte(' ')
		}
		b.WriteString(p.ID())
	}
	return b.String()
}

// holding makes what users see of an assignment.
func (r *run) holding(a core.Apply) *holding {
	h, bad := newHolding(r.m.board.load().held, a)
	for _, id := range bad {
		r.report(&faultError{kind: ErrForeignValue, text: fmt.Sprintf("partition id %q in the published assignment", id)})
	}
	return h
}

// list asks the source.
func (r *run) list(e core.Source) core.Done {
	ctx, cancel := context.WithTimeout(r.ctx, r.m.cfg.OperationTimeout)
	defer cancel()
	l, err := call(ctx, &r.source, func(ctx context.Context) (*partitionList, error) {
		parts, err := r.m.source.ListPartitions(ctx)
		if err != nil {
			return nil, err
		}
		return newPartitionList(parts)
	})
	if err != nil {
		return core.Done{Op: e.Op, Text: r.causes.note(core.FaultSource, err)}
	}
	l = r.lists.keep(l)
	r.follow.listed(l.partitions)
	return core.Done{Op: e.Op, List: l.core}
}

// plan asks the strategy, which gets no context: it is left to itself when it
// takes too long.
func (r *run) plan(e core.Plan) core.Done {
	ctx, cancel := context.WithTimeout(r.ctx, r.m.cfg.OperationTimeout)
	defer cancel()
	workers := make([]WorkerInfo, len(e.Workers))
	for i, id := range e.Workers {
		workers[i] = WorkerInfo{ID: id, Capacity: e.Capacity[i], Labels: e.Labels[i]}
	}
	owners, err := call(ctx, &r.strategy, func(context.Context) ([]int32, error) {
		l, err := r.lists.find(e.List)
		if err != nil {
			return nil, err
		}
		return r.planner.plan(workers, l, e.PrevWorkers, e.PrevOwner)
	})
	if err != nil {
		return core.Done{Op: e.Op, Text: r.causes.note(core.FaultStrategy, err)}
	}
	return core.Done{Op: e.Op, Owners: owners}
}

// listCache finds the partitions behind a list of the core. It keeps few: the
// core plans on the last one read, or on the one before while a list that shrank
// awaits its confirmation.
type listCache struct {
	mu   sync.Mutex
	last []*partitionList
}

const keptLists = 3

// keep returns l, or one that it has already and that lists the same: a long list
// takes a hundred megabytes, and what strategies remember of it as much again.
func (c *listCache) keep(l *partitionList) *partitionList {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, old := range c.last {
		if listsSame(old.core, l.core) && slices.Equal(old.weights, l.weights) {
			return old
		}
	}
	if len(c.last) == keptLists {
		c.last = slices.Delete(c.last, 0, 1)
	}
	c.last = append(c.last, l)
	return l
}

// find returns the list, made from its ids when it did not come from our
// source: a new leader begins with the published one.
func (c *listCache) find(want *core.List) (*partitionList, error) {
	c.mu.Lock()
	for _, l := range c.last {
		if listsSame(l.core, want) {
			c.mu.Unlock()
			return l, nil
		}
	}
	c.mu.Unlock()
	parts := make([]Partition, len(want.IDs))
	for i, id := range want.IDs {
		p, err := partitionFromID(id, want.Weights[i])
		if err != nil {
			return nil, err
		}
		parts[i] = p
	}
	l, err := newPartitionList(parts)
	if err != nil {
		return nil, err
	}
	l.core = want // found by it next time
	return c.keep(l), nil
}

// listsSame tells whether two lists have the same partitions in the same order.
func listsSame(a, b *core.List) bool {
	return a == b || slices.Equal(a.IDs, b.IDs) && slices.Equal(a.Weights, b.Weights)
}

// agentQueue makes the calls of the election agent, in order, on a goroutine
// that exists while there are any.
type agentQueue struct {
	call userCall

	mu      sync.Mutex
	waiting []core.Agent
	active  bool
}

func (q *agentQueue) add(r *run, e core.Agent) {
	q.mu.Lock()
	q.waiting = append(q.waiting, e)
	begin := !q.active
	q.active = true
	q.mu.Unlock()
	if begin {
		r.own.start("calling the election agent", func() {
			for e, ok := q.next(); ok; e, ok = q.next() {
				r.box.post(q.perform(r, e))
			}
		})
	}
}

func (q *agentQueue) next() (e core.Agent, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.active = false
		return e, false
	}
	e = q.waiting[0]
	q.waiting = q.waiting[1:]
	return e, true
}

func (q *agentQueue) perform(r *run, e core.Agent) core.Done {
	ctx, cancel := context.WithTimeout(r.ctx, r.m.cfg.ElectionTimeout)
	defer cancel()
	yes, err := call(ctx, &q.call, func(ctx context.Context) (bool, error) {
		a := r.m.opts.agent
		switch e.Verb {
		case core.AgentRequest:
			return a.RequestLeadership(ctx, e.Worker, e.Lease)
		case core.AgentRenew:
			if err := a.RenewLeadership(ctx); err != nil {
				return false, err
			}
			return a.IsLeader(ctx), nil
		default:
			return true, a.ReleaseLeadership(ctx)
		}
	})
	if err != nil {
		return core.Done{Op: e.Op, Text: r.causes.note(core.FaultElection, err)}
	}
	return core.Done{Op: e.Op, Yes: yes}
}

func deadProcesses(e core.Processes) core.Done {
	d := core.Done{Op: e.Op}
	self := currentProcess()
	for key, p := range e.All {
		if processDead(self, p) {
			d.Dead = append(d.Dead, key)
		}
	}
	slices.Sort(d.Dead)
	return d
}

var alertNames = [...]string{
	core.AlertNone: "None", core.AlertInfo: "Info", core.AlertWarn: "Warn",
	core.AlertError: "Error", core.AlertCritical: "Critical",
}

func alertName(l core.AlertLevel) string { return alertNames[l] }

func logTo(log Logger, e core.Log) {
	switch e.Level {
	case core.Debug:
		log.Debug(e.Message, e.Pairs...)
	case core.Info:
		log.Info(e.Message, e.Pairs...)
	case core.Warn:
		log.Warn(e.Message, e.Pairs...)
	case core.Error:
		log.Error(e.Message, e.Pairs...)
	}
}

func measure(to MetricsCollector, e core.Measure) {
	switch e.Metric {
	case core.MetricDegraded:
		to.SetDegradedMode(e.Value)
	case core.MetricCacheAge:
		to.SetCacheAge(seconds(e.Value))
	case core.MetricAlertLevel:
		to.SetAlertLevel(int(e.Value))
	case core.MetricDegradedTime:
		to.ObserveDegradedDuration(seconds(e.Value))
	case core.MetricAlerts:
		to.IncrementAlertEmitted(e.Label)
	case core.MetricCacheFallback:
		to.IncrementCacheFallback()
	case core.MetricLeader:
		to.SetLeader(e.Value != 0)
	case core.MetricPartitions:
		to.SetAssignedPartitions(int(e.Value))
	case core.MetricMoves:
		to.AddMoves(e.Label, int(e.Value))
	case core.MetricRebalances:
		to.IncrementRebalance(e.Label)
	case core.MetricForced:
		for range int(e.Value) {
			to.IncrementForcedHandoff()
		}
	case core.MetricClaimConflicts:
		to.IncrementClaimConflict()
	case core.MetricWatchRestarts:
		to.IncrementWatchRestart()
	case core.MetricKVErrors:
		to.IncrementKVError(e.Label)
	case core.MetricCommitTime:
		to.ObserveCommit(seconds(e.Value))
	case core.MetricOverlaps:
		to.AddOverlaps(int(e.Value))
	}
}

func seconds(v float64) time.Duration { return time.Duration(v * float64(time.Second)) }
