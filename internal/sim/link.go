package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// link is the connection of a worker to the store.
type link struct {
	up      bool          // as the client sees it
	cut     bool          // nothing passes
	epoch   int           // of connections: what belongs to an earlier one is lost
	stalled time.Duration // until then everything waits
	flaky   float64       // share of operations that suffer
	flakyTo time.Duration
	open    []*request // waiting for an answer, in order
}

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
	numFaults
)

// belatedBy is by how much a write may come too late.
const belatedBy = 20 * time.Second

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
		w.trace.add(w.now, p.name, "op %d will be %s", op.Op, [...]string{"fine", "unsent", "unheard", "belated", "refused", "sluggish"}[f])
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
	case f == unsent, down, p.link.cut && f != belated, r.epoch != p.link.epoch && f != belated:
		w.trace.add(w.now, p.name, "op %d lost", r.op.Op)
		return // no answer
	case f == refused:
		w.after(back, func() { p.hear(r, core.Done{Err: core.Failed, Text: "refused"}) })
		return
	}
	d := w.perform(p, r.op)
	if f == unheard {
		return
	}
	w.after(back, func() { p.hear(r, d) })
}

// hear is the moment at which an answer comes back.
func (p *Worker) hear(r *request, d core.Done) {
	w := p.world
	if p.link.cut || r.epoch != p.link.epoch {
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
	w.trace.add(w.now, p.name, "op %d %s %s: %s rev %d %s", op.Op, verbs[op.Verb], op.Key, kinds[d.Err], d.Rev, op.Val)
	if op.Verb != core.Get && d.Err == core.OK {
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

// watch is a watch of a worker.
type watch struct {
	p       *Worker
	id      core.WatchID
	name    string
	bucket  core.Bucket
	epoch   int
	on      *kvtest.FakeWatch
	last    time.Duration // of the last event sent
	blocked time.Duration // until then nothing is sent
	ended   bool
}

// openWatch begins a watch, after the way to the store.
func (p *Worker) openWatch(e core.Watch) {
	w := p.world
	wt := &watch{p: p, id: e.ID, name: e.Name, bucket: e.Bucket, epoch: p.link.epoch}
	p.watches = append(p.watches, wt)
	there := w.hop()
	if p.link.stalled > w.now {
		there += p.link.stalled - w.now
	}
	w.after(there, func() {
		switch {
		case wt.ended || !p.live:
		case p.link.cut || wt.epoch != p.link.epoch || w.now < w.kvDown:
			w.after(w.cfg.OperationTimeout, func() { wt.lose() })
		default:
			wt.on = w.kv.Watch(int(wt.bucket), e.Filter)
			w.watches[wt.bucket] = append(w.watches[wt.bucket], wt)
			wt.pump()
		}
	})
}

// pump sends what every watch of a bucket has to send.
func (w *World) pump(b core.Bucket) {
	for _, wt := range slices.Clone(w.watches[b]) {
		wt.pump()
	}
}

func (wt *watch) pump() {
	p := wt.p
	w := p.world
	if wt.ended || wt.on == nil || w.now < wt.blocked || p.link.cut {
		return
	}
	for {
		ev, ok := wt.on.Next()
		if !ok {
			return
		}
		if ev.Lost {
			wt.lose()
			return
		}
		wt.last = max(w.now+w.hop(), wt.last, p.link.stalled)
		w.at(wt.last, func() {
			if !wt.ended && wt.epoch == p.link.epoch && !p.link.cut {
				p.tell(core.Watched{Watch: wt.id, Key: ev.Key, Val: ev.Val, Rev: ev.Rev, Deleted: ev.Deleted, Synced: ev.Synced})
			}
		})
	}
}

// block holds back what a watch has to send.
func (wt *watch) block(d time.Duration) {
	w := wt.p.world
	wt.blocked = w.now + d
	w.at(wt.blocked, wt.pump)
}

// end stops a watch.
func (wt *watch) end() {
	if wt.ended {
		return
	}
	wt.ended = true
	w := wt.p.world
	if wt.on != nil {
		wt.on.Stop()
		w.notice(wt.name)
	}
	w.watches[wt.bucket] = slices.DeleteFunc(w.watches[wt.bucket], func(o *watch) bool { return o == wt })
	wt.p.watches = slices.DeleteFunc(wt.p.watches, func(o *watch) bool { return o == wt })
}

// lose ends a watch and says so.
func (wt *watch) lose() {
	if wt.ended {
		return
	}
	wt.end()
	wt.p.tell(core.WatchLost{Watch: wt.id})
}

// cutLink lets nothing pass for d. The client notices after notice, or never
// if the link is healed before.
func (p *Worker) cutLink(d, notice time.Duration) {
	w := p.world
	if p.link.cut {
		return
	}
	w.trace.add(w.now, p.name, "link cut for %v, noticed after %v", d, notice)
	p.link.cut = true
	p.link.epoch++
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
	p.link.cut, p.link.up = false, true
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
