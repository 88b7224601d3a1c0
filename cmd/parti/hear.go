package main

import (
	"fmt"
	"strings"

	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// fleetSays takes an event of the fleet.
func (d *demo) fleetSays(ev fleet.Event) error {
	p := d.fleet.Procs[ev.Proc]
	switch {
	case ev.Ended:
		d.fleet.Forget(ev.Proc)
		d.cover.Gone(ev.Proc)
		switch {
		case p.Killed || d.ending && ev.Err == nil:
		case ev.Err == nil:
			return fmt.Errorf("%s ended by itself", p.Label())
		default:
			return fmt.Errorf("%s ended: %w", p.Label(), ev.Err)
		}
	case ev.Report != nil:
		if ev.Report.Worker != "" {
			p.ID = ev.Report.Worker
		}
		d.workerSays(p, *ev.Report)
	default:
		d.show.say("%s: %s", p.Label(), ev.Stderr)
	}
	return nil
}

// workerSays takes the report of a worker.
func (d *demo) workerSays(p *fleet.Process, r fleet.Report) {
	switch r.Kind {
	case fleet.Started:
		d.cover.Is(p.N, func(w *fleet.WorkerState) { w.ID, w.Ready, w.Leader = p.ID, true, r.Leader })
		role := "follows"
		if r.Leader {
			role = "leads"
		}
		d.joinReady = d.joinReady || p == d.joined
		d.show.say("%s is in the fleet and %s", p.Label(), role)
	case fleet.LeaderChanged:
		d.cover.Is(p.N, func(w *fleet.WorkerState) { w.Leader = r.Leader })
	case fleet.Assigned:
		d.cover.Change(p.N, r.Worker, r.Added, r.Removed)
		if !d.ending {
			d.show.say("      %s: %d partitions taken over, %d given up", p.Label(), len(r.Added), len(r.Removed))
		}
	case fleet.Rebalanced:
		if d.ending {
			return // the leave of the fleet at the end
		}
		d.rebalances++
		what := fmt.Sprintf("%d partitions move", r.Moves)
		if r.Reason == coldStart {
			what = fmt.Sprintf("%d partitions get their first owner", len(d.parts))
		}
		d.show.say("REBALANCE  %s: %s, decided by %s", strings.ReplaceAll(r.Reason, "_", " "), what, p.Label())
	case fleet.StateChanged:
		if d.opts.verbose {
			d.show.say("      %s: %s -> %s", p.Label(), r.From, r.To)
		}
	case fleet.Forced:
		d.forced++
	case fleet.Failed:
		if !d.ending || d.opts.verbose {
			d.show.say("      %s: %s", p.Label(), r.Text)
		}
	default:
	}
}
