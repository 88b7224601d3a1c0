package main

import (
	"fmt"
	"strings"
)

// fleetSays takes an event of the fleet.
func (d *demo) fleetSays(ev fleetEvent) error {
	p := d.fleet.procs[ev.proc]
	switch {
	case ev.ended:
		d.fleet.forget(ev.proc)
		d.cover.gone(ev.proc)
		switch {
		case p.killed || d.ending && ev.err == nil:
		case ev.err == nil:
			return fmt.Errorf("%s ended by itself", p.label())
		default:
			return fmt.Errorf("%s ended: %w", p.label(), ev.err)
		}
	case ev.report != nil:
		if ev.report.Worker != "" {
			p.id = ev.report.Worker
		}
		d.workerSays(p, *ev.report)
	default:
		d.show.say("%s: %s", p.label(), ev.stderr)
	}
	return nil
}

// workerSays takes the report of a worker.
func (d *demo) workerSays(p *process, r report) {
	switch r.Kind {
	case reportStarted:
		d.cover.is(p.n, func(w *workerState) { w.id, w.ready, w.leader = p.id, true, r.Leader })
		role := "follows"
		if r.Leader {
			role = "leads"
		}
		d.joinReady = d.joinReady || p == d.joined
		d.show.say("%s is in the fleet and %s", p.label(), role)
	case reportLeader:
		d.cover.is(p.n, func(w *workerState) { w.leader = r.Leader })
	case reportAssignment:
		d.cover.change(p.n, r.Worker, r.Added, r.Removed)
		if !d.ending {
			d.show.say("      %s: %d partitions taken over, %d given up", p.label(), len(r.Added), len(r.Removed))
		}
	case reportRebalance:
		if d.ending {
			return // the leave of the fleet at the end
		}
		d.rebalances++
		what := fmt.Sprintf("%d partitions move", r.Moves)
		if r.Reason == coldStart {
			what = fmt.Sprintf("%d partitions get their first owner", len(d.parts))
		}
		d.show.say("REBALANCE  %s: %s, decided by %s", strings.ReplaceAll(r.Reason, "_", " "), what, p.label())
	case reportState:
		if d.opts.verbose {
			d.show.say("      %s: %s -> %s", p.label(), r.From, r.To)
		}
	case reportForced:
		d.forced++
	case reportError:
		if !d.ending || d.opts.verbose {
			d.show.say("      %s: %s", p.label(), r.Text)
		}
	}
}
