package sim

import (
	"maps"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// What befalls a worker: how it ends, and what disturbs it.

// Crash ends the process at once.
func (p *Worker) Crash() {
	if p.live {
		p.world.trace.add(p.world.now, p.name, "crashes")
		p.vanish()
	}
}

func (p *Worker) vanish() {
	p.live, p.gone = false, p.world.now
	p.snap = core.Snapshot{State: core.Shutdown}
	p.world.check.trusts(p, "")
	for _, wt := range slices.Clone(p.watches) {
		wt.end()
	}
	for _, id := range slices.Sorted(maps.Keys(p.running)) {
		p.world.check.stops(p, id)
	}
	clear(p.running)
}

// Stop ends the worker in good order, and the process with it.
func (p *Worker) Stop() {
	if p.live && !p.stopped {
		p.stopped, p.stopAt, p.stopWell = true, p.world.now, p.started && p.world.now >= p.disturbed
		p.tell(core.Stop{})
	}
}

// Pause stops the process for d, as SIGSTOP does.
func (p *Worker) Pause(d time.Duration) {
	w := p.world
	if !p.live || p.paused {
		return
	}
	w.trace.add(w.now, p.name, "pauses for %v", d)
	p.paused, p.goesOn = true, w.now+d
	p.disturb(d)
	w.after(d, func() { p.goOn(true) })
}

// goOn ends a pause: what came meanwhile comes now, and then, unless timers stood
// still as well, those that are due.
func (p *Worker) goOn(timers bool) {
	if !p.live {
		return
	}
	w := p.world
	w.trace.add(w.now, p.name, "goes on")
	p.paused = false
	late := p.backlog
	p.backlog = nil
	for _, ev := range late {
		p.tell(ev)
	}
	if timers {
		p.tell(core.Tick{})
	}
}

// Suspend has the whole machine sleep for d: its links die, and its timers, which
// follow the monotonic clock, are late by as much.
func (p *Worker) Suspend(d time.Duration) {
	w := p.world
	if !p.live || p.paused {
		return
	}
	w.trace.add(w.now, p.name, "is suspended for %v", d)
	p.paused, p.goesOn = true, w.now+d
	p.disturb(d)
	late := max(w.now, p.wake) + d
	had := p.wakeSet
	p.wakeSet = false
	if d > time.Second {
		p.cutLink(d, d+w.between(0, time.Second))
	}
	w.after(d, func() { p.goOn(false) })
	if had {
		w.at(late, func() { p.tell(core.Tick{}) })
	}
}

// Jump sets the clock of the machine forward.
func (p *Worker) Jump(d time.Duration) {
	w := p.world
	w.trace.add(w.now, p.name, "clock jumps by %v", d)
	p.disturb(0)
	p.ahead += d
	w.jumped += d
}

// disturb notes a fault of this worker that lasts for d.
func (p *Worker) disturb(d time.Duration) {
	w := p.world
	w.faultsEnd = max(w.faultsEnd, w.now+d)
	if w.now >= p.disturbed {
		p.troubled = w.now
	}
	p.disturbed = max(p.disturbed, w.now+d+w.check.margin())
}
