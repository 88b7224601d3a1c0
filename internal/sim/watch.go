package sim

import (
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/kvtest"
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
	gap     bool          // the next event is lost
	twice   int           // so many events come twice
	ended   bool
}

// silentFor is how long a watch may be silent before its client misses the signs
// of life, by which it also learns of what was lost.
const silentFor = 5 * time.Second

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
		case p.link.dumb || wt.epoch != p.link.epoch || w.now < w.kvDown:
			w.after(w.cfg.OperationTimeout, func() { wt.lose() })
		default:
			if w.now < p.behindTo && w.chance(0.7) {
				wt.beginBehind(e.Filter)
			}
			wt.on = w.kv.Watch(int(wt.bucket), e.Filter)
			w.watches[wt.bucket] = append(w.watches[wt.bucket], wt)
			wt.pump()
		}
	})
}

// beginBehind has a watch begin on a replica that is behind: it shows what stood
// there, says that this is all, and catches up.
func (wt *watch) beginBehind(filter string) {
	p := wt.p
	w := p.world
	then, since := w.replica(wt.bucket, filter, w.now-w.between(0, p.behindBy))
	if len(then) == 0 || len(since) == 0 {
		return
	}
	w.hit("watch begins behind")
	w.trace.add(w.now, p.name, "watch %d begins on a replica that is behind", wt.id)
	p.disturb(2 * time.Second)
	at := w.now + w.hop()
	for i, e := range append(then, since...) {
		if i >= len(then) {
			at += w.between(0, 500*time.Millisecond/time.Duration(len(since)))
		}
		wt.last = max(at, wt.last, p.link.stalled)
		wt.send(core.Watched{Watch: wt.id, Key: e.Key, Val: e.Val, Rev: e.Rev, Deleted: e.Deleted, Synced: i == len(then)-1})
	}
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
	if wt.ended || wt.on == nil || w.now < wt.blocked || p.link.deaf {
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
		if wt.gap { // the next one, or the next sign of life, shows that it is missing
			w.hit("event lost")
			w.trace.add(w.now, p.name, "event %s of watch %d is lost", ev.Key, wt.id)
			wt.gap, wt.blocked = false, 1<<62
			p.disturb(silentFor)
			w.after(w.between(w.hop(), silentFor), wt.lose)
			return
		}
		wt.last = max(w.now+w.hop(), wt.last, p.link.stalled)
		wt.send(core.Watched{Watch: wt.id, Key: ev.Key, Val: ev.Val, Rev: ev.Rev, Deleted: ev.Deleted, Synced: ev.Synced})
	}
}

// send delivers an event at the time of the last one.
func (wt *watch) send(ev core.Watched) {
	p := wt.p
	w := p.world
	n := 1
	if wt.twice > 0 {
		wt.twice--
		w.hit("event doubled")
		n = 2
	}
	for range n {
		w.at(wt.last, func() {
			if !wt.ended && wt.epoch == p.link.epoch && !p.link.deaf {
				p.tell(ev)
			}
		})
	}
}

// block holds back what a watch has to send.
func (wt *watch) block(d time.Duration) {
	w := wt.p.world
	wt.blocked = max(wt.blocked, w.now+d)
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
