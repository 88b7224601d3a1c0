package core

import (
	"strconv"
	"time"
)

// refreshing answers RefreshPartitions, and reads the source for whoever needs
// it, one call at a time. A refresh is done once a head names the digest of a
// list that was read after the call.
type refreshing struct {
	busy    bool
	again   bool
	waiting []refreshCall
	digest  string // of the last list that the own source gave
	count   uint64 // refreshes that this worker asked the leader for
	reads   uint64 // reads begun
	got     uint64 // the read that gave digest
}

type refreshCall struct {
	id    uint64
	read  uint64 // the first read that counts
	until time.Duration
}

func (c *Core) onRefresh(ev Refresh) {
	r := &c.refresh
	if c.life.phase != running || c.life.stopping() {
		c.emit(Refreshed{ID: ev.ID, Fault: &Fault{Kind: FaultStopped, Text: "refresh: the worker is stopping"}})
		return
	}
	call := refreshCall{id: ev.ID, read: r.reads + 1, until: c.now + c.cfg.MinRebalanceInterval + 3*c.cfg.OperationTimeout}
	r.waiting = append(r.waiting, call)
	c.timer.sooner(timerRefresh, call.until)
	c.readSource()
}

// listChanged reads the list of a leader again, in a hurry. Who does not lead
// need not know: a new leader begins by reading.
func (c *Core) listChanged() {
	if c.leading() {
		c.lead.refreshAsked = true
	}
}

// readSource lists the partitions, off the loop. A call that comes while one is
// under way is made after it, since that one may have begun too early.
func (c *Core) readSource() {
	r := &c.refresh
	if r.busy {
		r.again = true
		return
	}
	r.busy, r.again = true, false
	r.reads++
	read := r.reads
	c.timer.clear(timerSource)
	c.emit(Source{Op: c.ask(func(d Done) {
		r.busy = false
		if d.List == nil {
			c.sourceFailed(read, d.Text)
		} else {
			r.digest, r.got = d.List.Digest, read
			c.listed(d.List)
		}
		if r.again {
			c.readSource()
		}
	})})
}

func (c *Core) sourceFailed(read uint64, why string) {
	c.report(FaultSource, why)
	r := &c.refresh
	keep := r.waiting[:0]
	for _, call := range r.waiting {
		if call.read <= read {
			c.emit(Refreshed{ID: call.id, Fault: &Fault{Kind: FaultSource, Text: why}})
			continue
		}
		keep = append(keep, call)
	}
	r.waiting = keep
	if l := c.lead; c.leading() {
		l.sourceBad++
		if l.read == 0 {
			l.stuckAt = min(l.stuckAt, c.now)
		}
		c.timer.set(timerSource, c.now+max(c.backoff(l.sourceBad+2), c.cfg.HeartbeatInterval))
	}
}

// listed takes in what the own source lists.
func (c *Core) listed(list *List) {
	if !c.leading() {
		if len(c.refresh.waiting) > 0 && c.claim.held {
			c.refresh.count++
			c.renew(&c.hbKey) // asks the leader, with the digest
		}
		return
	}
	l := c.lead
	l.sourceBad = 0
	if l.planBad == 0 { // it was the source that kept this leader from planning
		if l.stuckAt != never {
			c.elect.barren = 0
		}
		l.stuckAt = never
	}
	l.read++
	if c.cfg.RefreshInterval > 0 {
		c.timer.set(timerSource, c.now+c.cfg.RefreshInterval)
	}
	believed := l.fresh != nil && l.fresh.Digest == list.Digest
	n := len(l.list.IDs)
	if l.planning && l.fresh != nil { // it is about to be in force
		n = max(n, len(l.fresh.IDs))
	}
	if len(list.IDs)*2 < n && !believed && !l.confirms(list, c.now) {
		if l.shrunk != list.Digest {
			l.shrunk, l.shrunkUntil = list.Digest, c.now+c.cfg.MinRebalanceInterval
			c.report(FaultSource, "the list shrank from "+strconv.Itoa(n)+" to "+strconv.Itoa(len(list.IDs))+
				" partitions; it is read again before that is believed")
		}
		c.timer.set(timerSource, l.shrunkUntil)
		return
	}
	l.shrunk = ""
	l.take(list, c.now, c.cfg.MinRebalanceThreshold)
	l.urgent = l.urgent || len(c.refresh.waiting) > 0
	if l.fresh == nil && !c.refresh.again { // nothing to hurry with
		l.urgent = false
	}
}

// confirms tells whether a list that is suddenly short was so for long enough:
// reads in between, such as for refreshes, prove nothing.
func (l *leader) confirms(list *List, now time.Duration) bool {
	return l.shrunk == list.Digest && now >= l.shrunkUntil
}

// take decides what a list means: nothing, new weights that the present division
// bears, or a plan.
func (l *leader) take(list *List, now time.Duration, threshold float64) {
	switch {
	case list.Digest == l.head.List && l.list.Digest == list.Digest:
		if l.list.IDDigest == "" { // the published list, known by its digest only
			l.fresh = nil
			l.adoptList(list, Token{l.term, l.head.Version + 1})
		}
		l.fresh = nil
	case l.fresh != nil && l.fresh.Digest == list.Digest:
	default:
		l.fresh, l.freshAt = list, now
		l.bearable = list.IDDigest == l.list.IDDigest && l.imbalanceWith(list) <= threshold
	}
}

// imbalanceWith is the largest relative distance of a worker's weight from its
// share, if the present division had the weights of list, which names the same
// partitions.
func (l *leader) imbalanceWith(list *List) float64 {
	load := map[int32]int64{}
	for i, s := range l.seats {
		if s != nil && !s.retired {
			load[int32(i)] = 0
		}
	}
	old := l.index()
	total := int64(0)
	for i, id := range list.IDs {
		total += list.Weights[i]
		if s := l.next[old[id]]; s >= 0 {
			load[s] += list.Weights[i]
		}
	}
	if len(load) == 0 || total == 0 {
		return 0
	}
	sum := 0.0
	for s := range load {
		sum += l.seats[s].capacity
	}
	worst := 0.0
	for s, w := range load {
		share := float64(total) * l.seats[s].capacity / sum
		switch {
		case share > 0:
			worst = max(worst, float64(w)/share-1, 1-float64(w)/share)
		case w > 0:
			worst = max(worst, 1)
		}
	}
	return worst
}

// settleRefresh answers the calls whose list is in force, and reports workers
// whose sources disagree.
func (c *Core) settleRefresh() {
	r := &c.refresh
	if len(r.waiting) > 0 && r.got > 0 && r.digest == c.adopt.head.List {
		keep := r.waiting[:0]
		for _, call := range r.waiting {
			if call.read <= r.got {
				c.emit(Refreshed{ID: call.id})
				continue
			}
			keep = append(keep, call)
		}
		r.waiting = keep
	}
	c.compareSources()
}

// compareSources reports workers whose sources disagree with the leader's. A
// worker reads its source only for a refresh, hence only lists are compared that
// both have read because of the same one.
func (c *Core) compareSources() {
	l := c.lead
	if !c.leading() || c.refresh.busy || l.refreshAsked || l.fresh != nil || l.shrunk != "" || l.read == 0 {
		return
	}
	for _, m := range l.roster().members {
		if m.rec.Refresh == m.compared {
			continue
		}
		w := m.worker
		if w == c.worker() {
			continue
		}
		m.compared = m.rec.Refresh
		if d := m.rec.List; d != l.list.Digest && l.differing[w] != d {
			l.differing[w] = d
			c.report(FaultSource, "the source of "+w+" lists other partitions than the leader's")
		}
	}
}

// refreshTimeout answers the calls that took too long.
func (c *Core) refreshTimeout() {
	r := &c.refresh
	keep := r.waiting[:0]
	for _, call := range r.waiting {
		if c.now >= call.until {
			c.emit(Refreshed{ID: call.id, Fault: &Fault{
				Kind: FaultTimeout,
				Text: "refresh: no assignment names the list that this worker's source gives",
			}})
			continue
		}
		c.timer.sooner(timerRefresh, call.until)
		keep = append(keep, call)
	}
	r.waiting = keep
}
