package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// presence is what the server knows of a worker beside the store: whether it
// listens to probes, and which notices it gets.
type presence struct {
	serves  string
	told    bool // a probe for it was answered
	listens string
	// closed: the server has closed the connection that is cut, and so knows
	// that nobody listens there any more.
	closed bool
	mute   bool // its subscription to probes is lost
	// missedTo: until then it is mostly not found, as while routes change.
	missedTo time.Duration
}

const (
	// noticeAfter is how soon the server deletes the consumer of a connection
	// that has gone.
	noticeAfter = 250 * time.Millisecond
	// falseNobody is how often a probe finds nobody although there is somebody.
	falseNobody = 0.03
)

// attends performs the effects about probes and notices.
func (p *Worker) attends(e core.Effect) {
	switch e := e.(type) {
	case core.Serve:
		p.presence.serves, p.presence.told = e.Inc, false
	case core.Listen:
		p.presence.listens = e.Name
	case core.Probe:
		p.probe(e)
	default:
	}
}

// notice tells those who listen, some late and some never, that a watch of the
// head is deleted.
func (w *World) notice(name string) {
	if !strings.Contains(name, "_head_") {
		return
	}
	w.after(noticeAfter+w.hop(), func() {
		for _, p := range w.workers {
			if !p.live || p.link.deaf || !p.link.up || p.presence.listens != "*" && p.presence.listens != name {
				continue
			}
			n, d := 1, w.hop()
			if !w.calm {
				switch w.rng.IntN(10) {
				case 0:
					w.hit("notice lost")
					continue
				case 1:
					w.hit("notice late")
					d = w.between(0, 5*time.Second)
				case 2:
					w.hit("notice doubled")
					n = 2
				}
			}
			for range n {
				w.after(d, func() {
					if p.link.up && !p.link.deaf {
						p.tell(core.Notice{Name: name})
					}
				})
				d += w.hop()
			}
		}
	})
}

// probe asks who listens.
func (p *Worker) probe(e core.Probe) {
	w := p.world
	done := false
	answer := func(err core.ErrKind) {
		if !done {
			done = true
			p.tell(core.Done{Op: e.Op, Err: err})
		}
	}
	if !p.link.up {
		w.after(w.between(0, time.Millisecond), func() { answer(core.Down) })
		return
	}
	epoch := p.link.epoch
	passes := func(broken bool) bool { return !broken && p.link.epoch == epoch && p.link.stalled <= w.now }
	w.after(e.Timeout, func() { answer(core.Ambiguous) })
	w.after(w.hop(), func() {
		if !passes(p.link.dumb) {
			return
		}
		back, err := w.asked(e.Inc)
		w.after(back, func() {
			if passes(p.link.deaf) && err != core.Ambiguous {
				answer(err)
			}
		})
	})
}

// asked is the moment at which the server gets a question.
func (w *World) asked(inc string) (back time.Duration, err core.ErrKind) {
	i := slices.IndexFunc(w.workers, func(o *Worker) bool { return o.live && o.presence.serves == inc })
	if i < 0 {
		return w.hop(), core.NotFound
	}
	o := w.workers[i]
	if w.now < o.presence.missedTo && w.chance(0.8) || !w.calm && w.chance(falseNobody) {
		w.hit("nobody found by mistake")
		return w.hop(), core.NotFound
	}
	switch {
	case o.presence.mute, o.link.cut() && o.presence.closed:
		return w.hop(), core.NotFound
	case o.link.cut(), o.paused, o.link.stalled > w.now:
		return 0, core.Ambiguous
	}
	if !o.presence.told {
		o.presence.told = true
		w.after(w.hop(), func() { o.tell(core.Probed{Inc: inc}) })
	}
	return w.hop() + w.hop() + w.hop(), core.OK
}

// cutPresence is the part of a cut that the server sees: it closes the
// connection, or takes it for quiet.
func (p *Worker) cutPresence() {
	p.presence.closed = p.world.chance(0.5)
	if !p.presence.closed {
		return
	}
	for _, wt := range p.watches {
		p.world.notice(wt.name)
	}
}
