package sim

import (
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// way is a direction of a link.
type way int

const (
	bothWays way = iota
	outWay       // from the worker to the store
	inWay        // from the store to the worker
)

// cutLink lets nothing pass for d. The client notices after notice, or never
// if the link is healed before.
func (p *Worker) cutLink(d, notice time.Duration) { p.cutWay(bothWays, d, notice) }

// cutWay lets nothing pass in one direction, or in both, for d.
func (p *Worker) cutWay(which way, d, notice time.Duration) {
	w := p.world
	if p.link.cut() {
		return
	}
	w.trace.add(w.now, p.name, "link cut (%s) for %v, noticed after %v", [...]string{"both ways", "out", "in"}[which], d, notice)
	p.link.dumb, p.link.deaf = which != inWay, which != outWay
	if which == bothWays {
		p.link.epoch++
	}
	epoch := p.link.epoch
	allowance := p.allowance
	p.cutPresence()
	p.disturb(max(d, notice) + allowance)
	w.after(notice, func() { p.disconnected(epoch) })
	// Nothing of the old connection survives, even when the cut is shorter.
	w.after(max(d, notice)+w.between(0, allowance), func() { p.reconnected(epoch) })
}

func (p *Worker) disconnected(epoch int) {
	if !p.live || p.link.epoch != epoch || !p.link.up {
		return
	}
	w := p.world
	p.link.up = false
	lose := func() {
		for _, wt := range slices.Clone(p.watches) {
			wt.lose()
		}
	}
	first := w.chance(0.5)
	if first {
		lose()
	}
	p.tell(core.Disconnected{})
	if !first {
		lose()
	}
	if w.chance(0.5) { // else they time out
		for _, r := range slices.Clone(p.link.open) {
			p.answer(r, core.Done{Err: core.Ambiguous, Text: "connection lost"})
		}
	}
}

func (p *Worker) reconnected(epoch int) {
	if !p.live || p.link.epoch != epoch {
		return
	}
	p.disconnected(epoch)
	p.link.dumb, p.link.deaf, p.link.up = false, false, true
	p.link.epoch++
	p.tell(p.connectedEvent())
}

// stall delays everything on a link for d, as lost packets do.
func (p *Worker) stall(d time.Duration) {
	w := p.world
	w.trace.add(w.now, p.name, "link stalls for %v", d)
	p.link.stalled = max(p.link.stalled, w.now+d)
	p.disturb(d)
}
