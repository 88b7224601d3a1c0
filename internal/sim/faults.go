package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

func (n *Nemesis) crash() {
	p := n.victim()
	if p == nil {
		return
	}
	p.Crash()
	if n.chance(0.8) || len(n.w.Live()) == 0 {
		n.again(p, n.length())
	}
}

func (n *Nemesis) stop() {
	p := n.victim()
	if p == nil || p.stopped {
		return
	}
	if n.chance(0.7) || len(n.w.Live()) == 1 {
		d := n.length()
		p.onEnd = func() { n.again(p, d) }
	}
	p.Stop()
	if n.chance(0.3) {
		for range 3 {
			n.w.after(n.between(0, 100*time.Millisecond), func() { n.strayTo(p) })
		}
	}
}

// abort ends a worker as a Start that is cancelled does.
func (n *Nemesis) abort() {
	p := n.victim()
	if p == nil || p.stopped {
		return
	}
	if n.chance(0.7) || len(n.w.Live()) == 1 {
		d := n.length()
		p.onEnd = func() { n.again(p, d) }
	}
	p.stopped, p.aborted, p.stopAt = true, true, n.w.now
	p.tell(core.Abort{})
}

// roll restarts all workers, one after another.
func (n *Nemesis) roll() {
	gap := n.length()
	for i, p := range n.w.Live() {
		n.w.after(time.Duration(i)*gap, func() {
			if p.live && !p.stopped && n.w.now < n.until {
				p.onEnd = func() { n.again(p, time.Second) }
				p.Stop()
			}
		})
	}
}

func (n *Nemesis) join() {
	for range 1 + n.rng.IntN(3) {
		if len(n.w.Live())+n.w.coming < n.most {
			n.w.hosts++
			n.spawn(n.w.hosts)
		}
	}
}

func (n *Nemesis) pause() {
	p := n.victim()
	if p == nil {
		return
	}
	d := n.length()
	p.Pause(d)
	if d > 2*n.w.cfg.HeartbeatInterval && n.chance(0.5) { // the server gives it up
		p.cutLink(d+n.between(0, time.Second), d)
	}
	if n.chance(0.1) {
		n.w.after(d/2, func() {
			if p.live {
				p.Crash()
				n.again(p, time.Second)
			}
		})
	}
}

// suspend puts a machine to sleep.
func (n *Nemesis) suspend() {
	if p := n.victim(); p != nil {
		p.Suspend(n.length())
	}
}

// jump sets a clock forward. Backward is nothing to a core: time goes on from
// where it was.
func (n *Nemesis) jump() {
	if p := n.victim(); p != nil {
		d := n.between(50*time.Millisecond, n.w.cfg.HeartbeatInterval)
		if n.chance(0.5) {
			d = n.between(0, 2*n.longest)
		}
		p.Jump(d)
	}
}

func (n *Nemesis) cut() {
	if p := n.victim(); p != nil {
		n.cutOne(p, n.length())
	}
}

func (n *Nemesis) cutOne(p *Worker, d time.Duration) {
	notice := n.between(0, 10*time.Millisecond)
	if n.chance(0.4) { // silent: found out by pings
		notice = n.between(2*time.Second, 6*time.Second)
	}
	p.cutLink(d, notice)
}

// halfCut lets nothing pass in one direction.
func (n *Nemesis) halfCut() {
	if p := n.victim(); p != nil {
		which := outWay
		if n.chance(0.5) {
			which = inWay
		}
		p.cutWay(which, n.length(), n.between(2*time.Second, 6*time.Second))
	}
}

// outage cuts everybody's link, or all of one server.
func (n *Nemesis) outage() {
	d := n.length()
	server := fmt.Sprintf("n%d", n.rng.IntN(3))
	all := n.chance(0.5)
	for _, p := range n.w.Live() {
		if all || p.server == server {
			n.cutOne(p, d+n.between(0, d/4))
		}
	}
}

// silence makes the store answer nobody.
func (n *Nemesis) silence() {
	w := n.w
	d := n.length()
	w.kvDown = max(w.kvDown, w.now+d)
	for _, p := range w.Live() {
		p.disturb(d + w.cfg.OperationTimeout)
	}
}

// refuse has one bucket refuse every write.
func (n *Nemesis) refuse() {
	n.w.refuse(core.Bucket(n.rng.IntN(int(core.NumBuckets))), n.length())
}

// refuse has a bucket refuse every write for d, as one that is full does.
func (w *World) refuse(b core.Bucket, d time.Duration) {
	w.trace.add(w.now, "world", "bucket %d refuses writes for %v", b, d)
	w.refusing[b] = max(w.refusing[b], w.now+d)
	for _, p := range w.Live() {
		p.disturb(d + p.cfg.OperationTimeout)
	}
}

func (n *Nemesis) stall() {
	if p := n.victim(); p != nil {
		p.stall(min(n.length(), 4*time.Second))
	}
}

func (n *Nemesis) loseWatch() {
	if p := n.victim(); p != nil && len(p.watches) > 0 {
		p.watches[n.rng.IntN(len(p.watches))].lose()
	}
}

// lateWatch holds back a watch: by less than what would be noticed as silence.
func (n *Nemesis) lateWatch() {
	if p := n.victim(); p != nil && len(p.watches) > 0 {
		d := min(n.length(), 10*time.Second)
		n.w.faultsEnd = max(n.w.faultsEnd, n.w.now+d)
		p.watches[n.rng.IntN(len(p.watches))].block(d)
	}
}

// loseEvent has the next event of a watch lost.
func (n *Nemesis) loseEvent() {
	if p := n.victim(); p != nil && len(p.watches) > 0 {
		p.watches[n.rng.IntN(len(p.watches))].gap = true
	}
}

// doubleEvents has the next events of a watch come twice.
func (n *Nemesis) doubleEvents() {
	if p := n.victim(); p != nil && len(p.watches) > 0 {
		p.watches[n.rng.IntN(len(p.watches))].twice = 1 + n.rng.IntN(20)
	}
}

// lag has the watches of a worker begin on a replica that is behind, and be made
// anew.
func (n *Nemesis) lag() {
	p := n.victim()
	if p == nil {
		return
	}
	p.behindBy, p.behindTo = n.between(0, 4*n.w.cfg.HeartbeatInterval), n.w.now+n.length()
	for _, wt := range slices.Clone(p.watches) {
		if n.chance(0.5) {
			wt.lose()
		}
	}
}

// staleReads has who led the streams before answer some reads.
func (n *Nemesis) staleReads() {
	n.w.staleTo = max(n.w.staleTo, n.w.now+n.between(0, 5*time.Second))
}

// mute loses the subscription to probes, as a change of permissions does.
func (n *Nemesis) mute() {
	if p := n.victim(); p != nil {
		p.presence.mute = true
		n.w.after(n.length(), func() { p.presence.mute = false })
	}
}

// nobody has probes find nobody where there is somebody.
func (n *Nemesis) nobody() {
	if p := n.victim(); p != nil {
		p.presence.missedTo = n.w.now + n.length()
	}
}

func (n *Nemesis) flaky() {
	if p := n.victim(); p != nil {
		p.link.flaky = 0.1 + 0.7*n.rng.Float64()
		p.link.flakyTo = n.w.now + n.length()
	}
}

func (n *Nemesis) slowDrain() {
	if p := n.victim(); p != nil {
		p.disturb(n.longest)
		p.drainMax, p.drainTo = n.length(), n.w.now+n.longest
	}
}

func (n *Nemesis) hang() {
	if p := n.victim(); p != nil {
		d := n.length()
		p.hang = n.w.now + d
		p.disturb(d)
	}
}

func (n *Nemesis) changeList() {
	w := n.w
	ids, weights := slices.Clone(w.list.IDs), slices.Clone(w.list.Weights)
	for range 1 + n.rng.IntN(4) {
		i := n.rng.IntN(len(ids))
		switch n.rng.IntN(3) {
		case 0:
			ids, weights = append(ids, fmt.Sprintf("l%06d", n.rng.IntN(1e6))), append(weights, 100)
		case 1:
			if len(ids) > 1 {
				ids, weights = slices.Delete(ids, i, i+1), slices.Delete(weights, i, i+1)
			}
		case 2:
			weights[i] = 50 + n.rng.Int64N(500)
		}
	}
	if n.chance(0.05) {
		ids, weights = ids[:len(ids)/4+1], weights[:len(ids)/4+1]
	}
	w.setList(ids, weights)
	if n.chance(0.8) {
		n.refresh()
	}
}

// announce has a source say that its list is another one.
func (n *Nemesis) announce() {
	for _, p := range n.w.Live() {
		p.tell(core.ListChanged{})
	}
}

func (n *Nemesis) refresh() {
	if p := n.victim(); p != nil {
		p.Refresh()
	}
}

func (n *Nemesis) badSource() {
	if p := n.victim(); p != nil {
		p.sourceBad = n.w.now + n.length()
	}
}

func (n *Nemesis) badStrategy() {
	if p := n.victim(); p != nil {
		p.planBad = n.w.now + n.length()
	}
}

func wipe(buckets ...core.Bucket) func(*Nemesis) {
	return func(n *Nemesis) { n.w.Wipe(buckets...) }
}

// rollBack saves the store and brings it back later, often so soon that just the
// last acknowledged writes are lost.
func (n *Nemesis) rollBack() {
	w := n.w
	s := w.kv.Snapshot()
	d := n.length()
	if n.chance(0.4) {
		d = n.between(time.Millisecond, 200*time.Millisecond)
	}
	w.after(d, func() {
		if w.now < n.until {
			w.hit("rolled back")
			w.Rollback(s)
		}
	})
}

// stray tells a core what it does not expect.
func (n *Nemesis) stray() {
	if p := n.victim(); p != nil {
		for range 1 + n.rng.IntN(4) {
			n.strayTo(p)
		}
	}
}

// strayTo tells a core something that comes late, twice, or for nobody.
func (n *Nemesis) strayTo(p *Worker) {
	if !p.live {
		return
	}
	switch n.w.rng.IntN(13) {
	case 0:
		if p.snap.State != core.Init {
			p.tell(core.Start{Nonce: "stray", Seed: 1, Wall: 1})
		}
	case 1:
		p.tell(core.Tick{})
	case 2:
		if p.link.up {
			p.tell(p.connectedEvent())
		}
	case 3:
		if !p.link.up {
			p.tell(core.Disconnected{})
		} else if p.snap.State == core.Init {
			p.tell(core.Disconnected{})
			p.tell(p.connectedEvent())
		}
	case 4:
		p.tell(core.Done{Op: 1 << 60})
	case 5:
		p.tell(core.Watched{Watch: 1 << 60, Key: "g.head", Rev: 1 << 60})
	case 6:
		p.tell(core.WatchLost{Watch: 1 << 60})
	case 7:
		p.tell(core.Applied{Seq: p.answeredSeq})
	case 8:
		p.tell(core.Probed{Inc: "stray"})
	case 9:
		p.tell(core.Notice{Name: "g_head_stray_1"})
	case 10:
		p.tell(core.Rebound{Created: n.w.created()})
	case 11:
		p.Refresh()
	case 12:
		p.tell(core.ListChanged{})
	}
}

// foreignValue writes what no worker of the fleet writes: what is no value at all,
// and what a later version may write.
func (n *Nemesis) foreignValue() {
	w := n.w
	key := []struct {
		b   core.Bucket
		key string
	}{
		{core.IDs, "g.id.98"},
		{core.IDs, "g.ticket.foreign"},
		{core.Heartbeats, "g.hb.worker-98"},
		{core.Heartbeats, "g.hb.no-worker"},
		{core.Assignments, "g.held.worker-98"},
		{core.Assignments, "g.part.worker-98.1.1"},
		{core.Assignments, "g.else"},
	}[n.rng.IntN(7)]
	val := [...]string{"", "{", `{"f":2,"inc":"later","n":1,"ttl":1000,"x":{"y":1}}`, "\x00\xff", `{"f":1,"inc":7}`, `[]`}[n.rng.IntN(6)]
	rev, err := w.kv.Create(int(key.b), key.key, []byte(val))
	if err != nil {
		return
	}
	n.foreign[string(rune('0'+key.b))+key.key] = true
	w.trace.add(w.now, "world", "%s is written by a stranger: %q", key.key, val)
	w.noteWrite(core.KV{Verb: core.Create, Bucket: key.b, Key: key.key, Val: []byte(val)}, rev)
	w.pump(key.b)
}
