package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/natskv"
)

// link is the connection of a worker to the store.
type link struct {
	up      bool          // as the client sees it
	dumb    bool          // nothing passes from the worker to the store
	deaf    bool          // nothing passes from the store to the worker
	epoch   int           // of connections: what belongs to an earlier one is lost
	stalled time.Duration // until then everything waits
	flaky   float64       // share of operations that suffer
	flakyTo time.Duration
	open    []*request // waiting for an answer, in order
}

// cut tells whether the link is broken in any direction.
func (l *link) cut() bool { return l.dumb || l.deaf }

// request is an operation on its way.
type request struct {
	op    core.KV
	epoch int
	done  bool
}

// fault is what happens to one operation.
type fault int

const (
	fine     fault = iota
	unsent         // lost on the way there: no answer
	unheard        // done, and the answer is lost
	belated        // done long after the caller has given up
	refused        // NATS says no
	sluggish       // everything takes long
	doubtful       // done, and the caller is told at once that nobody knows
	dubious        // not done, and the caller is told the same
	numFaults
)

var faultNames = [...]string{
	fine: "fine", unsent: "op not sent", unheard: "op done, answer lost", belated: "op done much later", refused: "op refused",
	sluggish: "op slow", doubtful: "op done, told ambiguous", dubious: "op not done, told ambiguous",
}

const (
	// belatedBy is by how much a write may come too late.
	belatedBy = 20 * time.Second
	// staleBy is how long a deposed leader of a stream may answer reads.
	staleBy = time.Second
)

// send performs an operation on the store.
func (p *Worker) send(op core.KV) {
	w := p.world
	if !p.link.up {
		w.after(w.between(0, time.Millisecond), func() { p.tell(core.Done{Op: op.Op, Err: core.Down, Text: "not connected"}) })
		return
	}
	r := &request{op: op, epoch: p.link.epoch}
	p.link.open = append(p.link.open, r)
	f := fine
	if w.script != nil {
		f = w.script(p, op)
	} else if w.now < p.link.flakyTo && w.chance(p.link.flaky) {
		f = fault(1 + w.rng.IntN(int(numFaults)-1))
	}
	if f != fine {
		w.trace.add(w.now, p.name, "%s: op %d", faultNames[f], op.Op)
		w.hit(faultNames[f])
		p.disturb(op.Timeout + belatedBy)
	}
	there, back := w.hop(), w.hop()
	switch f {
	case belated:
		there += w.between(op.Timeout/2, op.Timeout+belatedBy)
	case sluggish:
		there += w.between(0, op.Timeout/2)
		back += w.between(0, op.Timeout/2)
	default:
	}
	if p.link.stalled > w.now {
		there += p.link.stalled - w.now
	}
	w.after(op.Timeout, func() { p.answer(r, core.Done{Err: core.Ambiguous, Text: "timeout"}) })
	w.after(there, func() { p.arrive(r, f, back) })
}

// arrive is the moment at which the store sees an operation.
func (p *Worker) arrive(r *request, f fault, back time.Duration) {
	w := p.world
	down := w.now < w.kvDown
	switch {
	case f == unsent, down, p.link.dumb && f != belated, r.epoch != p.link.epoch && f != belated:
		w.trace.add(w.now, p.name, "op %d lost", r.op.Op)
		return // no answer
	case f == refused, r.op.Verb != core.Get && w.now < w.refusing[r.op.Bucket]:
		w.after(back, func() { p.hear(r, core.Done{Err: core.Failed, Text: "refused"}) })
		return
	}
	var d core.Done
	if f != dubious {
		d = w.perform(p, r.op)
	}
	switch f {
	case unheard:
		return
	case doubtful, dubious:
		d = core.Done{Err: core.Ambiguous, Text: "no leader of the stream"}
	default:
	}
	w.after(back, func() { p.hear(r, d) })
}

// hear is the moment at which an answer comes back.
func (p *Worker) hear(r *request, d core.Done) {
	w := p.world
	if p.link.deaf || r.epoch != p.link.epoch {
		return
	}
	if p.link.stalled > w.now {
		w.at(p.link.stalled+w.hop(), func() { p.hear(r, d) })
		return
	}
	p.answer(r, d)
}

// answer tells the core how an operation ended, once.
func (p *Worker) answer(r *request, d core.Done) {
	if r.done {
		return
	}
	r.done = true
	p.link.open = slices.DeleteFunc(p.link.open, func(o *request) bool { return o == r })
	d.Op = r.op.Op
	p.tell(d)
}

// perform does an operation on the store.
func (w *World) perform(p *Worker, op core.KV) core.Done {
	var d core.Done
	var err error
	b := int(op.Bucket)
	switch op.Verb {
	case core.Get:
		var e natskv.Entry
		e, err = w.kv.Get(b, op.Key)
		if w.now < w.staleTo && w.chance(0.3) && op.Key != w.cfg.Group+".head" {
			if old, ok := w.asOf(op.Bucket, op.Key, w.now-w.between(0, staleBy)); ok && old.Rev != e.Rev {
				w.hit("read stale")
				w.trace.add(w.now, p.name, "op %d is answered with what stood before", op.Op)
				e, err = old, nil
				p.disturb(0)
			}
		}
		d.Val, d.Rev = e.Val, e.Rev
	case core.Create:
		d.Rev, err = w.kv.Create(b, op.Key, op.Val)
	case core.Update:
		d.Rev, err = w.kv.Update(b, op.Key, op.Val, op.Rev)
	case core.Delete:
		err = w.kv.Delete(b, op.Key, op.Rev)
	}
	switch {
	case err == nil:
	case errors.Is(err, natskv.ErrConflict):
		d.Err, d.Text = core.Conflict, err.Error()
	case errors.Is(err, natskv.ErrNotFound):
		d.Err, d.Text = core.NotFound, err.Error()
	default:
		d.Err, d.Text = core.Failed, err.Error()
	}
	if !w.trace.off {
		w.trace.add(w.now, p.name, "op %d %s %s: %s rev %d %s", op.Op, verbs[op.Verb], op.Key, kinds[d.Err], d.Rev, op.Val)
	}
	if op.Verb != core.Get && d.Err == core.OK {
		w.noteWrite(op, d.Rev)
		w.check.wrote(p, op, d.Rev)
		w.pump(op.Bucket)
	}
	return d
}

var (
	verbs = [...]string{core.Get: "get", core.Create: "create", core.Update: "update", core.Delete: "delete"}
	kinds = [...]string{
		core.OK: "ok", core.Conflict: "conflict", core.NotFound: "not found", core.Down: "down",
		core.Ambiguous: "ambiguous", core.Failed: "failed",
	}
)
