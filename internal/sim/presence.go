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
			if !p.live || p.link.cut || !p.link.up || p.presence.listens != "*" && p.presence.listens != name || w.chance(0.1) {
				continue
			}
			d := w.hop()
			if w.chance(0.1) {
				d = w.between(0, 5*time.Second)
			}
			w.after(d, func() {
				if p.link.up && !p.link.cut {
					p.tell(core.Notice{Name: name})
				}
			})
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
	passes := func() bool { return !p.link.cut && p.link.epoch == epoch && p.link.stalled <= w.now }
	w.after(e.Timeout, func() { answer(core.Ambiguous) })
	w.after(w.hop(), func() {
		if !passes() {
			return
		}
		back, err := w.asked(e.Inc)
		w.after(back, func() {
			if passes() && err != core.Ambiguous {
				answer(err)
			}
		})
	})
}

// asked is the moment at which the server gets a question.
func (w *World) asked(inc string) (back time.Duration, err core.ErrKind) {
	i := slices.IndexFunc(w.workers, func(o *Worker) bool { return o.live && o.presence.serves == inc })
	if i < 0 || w.chance(falseNobody) {
		return w.hop(), core.NotFound
	}
	o := w.workers[i]
	switch {
	case o.presence.mute, o.link.cut && o.presence.closed:
		return w.hop(), core.NotFound
	case o.link.cut, o.paused, o.link.stalled > w.now:
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

// mute loses the subscription to probes, as a change of permissions does.
func (n *Nemesis) mute() {
	if p := n.victim(); p != nil {
		p.presence.mute = true
		n.w.after(n.length(), func() { p.presence.mute = false })
	}
}
