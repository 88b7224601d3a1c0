package core

import (
	"slices"
	"strconv"
	"strings"
)

// loadLeader reads everything that the head names, so that the new leader goes
// on exactly where the old one was: who owns what, and who drains what for whom.
func (c *Core) loadLeader(head headRecord, rev uint64) {
	c.elect.phase = loads
	c.lead = c.newLeader(head, rev)
	l := c.lead
	epoch := c.elect.epoch
	parts := make([]partRecord, len(head.Seats))
	drains := make([]drainRecord, len(head.Seats))
	waiting := 1
	failed, torn := "", false
	one := func() {
		if waiting--; waiting > 0 {
			return
		}
		switch {
		case failed != "":
			c.campaignFailed(failed)
			return
		case torn: // workers know better
			c.lost.broken = max(c.lost.broken, head.Root)
			c.campaignFailed("what the head names is lost; a head is rebuilt from what workers hold")
			return
		}
		l.load(head, parts, drains)
		c.beginLeading()
	}
	get := func(key string, r ref, parse func([]byte) error) {
		waiting++
		c.kv(KV{Verb: Get, Bucket: Assignments, Key: key}, false, func(d Done) {
			if c.elect.epoch != epoch || c.lead != l {
				return
			}
			switch {
			case d.Err == NotFound, d.Err == OK && digest(d.Val) != r.Digest:
				c.report(FaultVersion, "key "+key+" is missing or does not match the head")
				torn = true
			case d.Err != OK:
				failed = "read " + key + ": " + d.Text
			default:
				if err := parse(d.Val); err != nil {
					failed = "key " + key + ": " + err.Error()
				}
			}
			one()
		})
	}
	for i, s := range head.Seats {
		if s.Part.Worker = s.Worker; !s.Part.none() {
			get(c.partKey(s.Part), s.Part, func(b []byte) (err error) {
				parts[i], err = decode[partRecord](b)
				return err
			})
		}
		if s.Drain.Worker = s.Worker; !s.Drain.none() {
			get(c.drainKey(s.Drain), s.Drain, func(b []byte) (err error) {
				drains[i], err = decode[drainRecord](b)
				return err
			})
		}
	}
	one()
}

// load fills the table from what was published.
func (l *leader) load(head headRecord, parts []partRecord, drains []drainRecord) {
	type item struct {
		id     string
		weight int64
	}
	known := map[string]int64{}
	for _, p := range parts {
		for _, g := range p.Grants {
			for k, id := range g.IDs {
				known[id] = g.Weights[k]
			}
		}
	}
	for _, d := range drains {
		for _, e := range d.Items {
			if _, ok := known[e.ID]; !ok && e.Next != "" {
				known[e.ID] = e.Weight
			}
		}
	}
	items := make([]item, 0, len(known))
	for id, w := range known {
		items = append(items, item{id, w})
	}
	slices.SortFunc(items, func(a, b item) int { return strings.Compare(a.id, b.id) })
	list := &List{Digest: head.List}
	index := make(map[string]int32, len(items))
	for i, it := range items {
		list.IDs, list.Weights = append(list.IDs, it.id), append(list.Weights, it.weight)
		index[it.id] = int32(i)
	}
	n := len(items)
	l.list, l.owner, l.next, l.token, l.idle = list, make([]int32, n), make([]int32, n), make([]Token, n), make([]gap, n)
	for i := range n {
		l.owner[i], l.next[i] = -1, -1
	}
	for _, hs := range head.Seats {
		i := l.addSeat(hs.Worker, hs.Inc)
		s := l.seats[i]
		s.part, s.drain, s.vacant, s.dirty = hs.Part, hs.Drain, hs.Vacant, false
		s.part.Worker, s.drain.Worker = hs.Worker, hs.Worker
		if hs.Away > 0 {
			s.away, s.awaySince, s.awayFor = true, l.began, hs.Away.duration()
		}
	}
	for k, p := range parts {
		seat := l.byName[head.Seats[k].Worker]
		for _, g := range p.Grants {
			for _, id := range g.IDs {
				i := index[id]
				l.owner[i], l.next[i], l.token[i] = seat, seat, Token{g.Term, g.Version}
			}
		}
	}
	for k, d := range drains {
		w := head.Seats[k].Worker
		for _, e := range d.Items {
			h := holding{worker: w, inc: e.Inc, release: e.Release}
			i, ok := index[e.ID]
			if !ok || e.Next == "" && l.owner[i] < 0 && l.next[i] < 0 {
				g := l.gone[e.ID]
				g.weight = e.Weight
				g.holders = append(g.holders, h)
				l.gone[e.ID] = g
				continue
			}
			l.holders[i] = append(l.holders[i], h)
			if l.owner[i] < 0 { // for how long before, only the former leader knew
				l.losesOwner(i, l.began, causeMove)
			}
			if to, ok := l.byName[e.Next]; ok && l.owner[i] < 0 {
				l.next[i], l.open = to, true
			}
		}
	}
	for i := range l.owner { // a next owner that is no longer seated: plan again
		if l.next[i] < 0 {
			l.imbalance = true
		}
	}
}

// sweep removes payloads and drain lists that nothing names: what a leader left
// that died between writing them and writing the head. They are listed once,
// and removed if they are still unnamed after the TTL.
func (c *Core) sweep() {
	if !c.leading() {
		return
	}
	c.timer.set(timerSweep, c.now+c.cfg.PayloadTTL)
	c.want(watchFiles)
}

func (c *Core) onFilesWatch(ev Watched) {
	if !c.leading() {
		c.unwant(watchFiles)
		return
	}
	l := c.lead
	if ev.Key != "" && !ev.Deleted && ev.Key != c.headKeyName() && !l.names(c, ev.Key) && c.olderTerm(ev.Key) {
		c.kv(KV{Verb: Delete, Bucket: Assignments, Key: ev.Key, Rev: ev.Rev}, false, func(Done) {})
	}
	if ev.Synced {
		c.unwant(watchFiles)
	}
}

// names tells whether the present head, or the one before, names a key.
func (l *leader) names(c *Core, key string) bool {
	for _, s := range l.head.Seats {
		s.Part.Worker, s.Drain.Worker = s.Worker, s.Worker
		if key == c.partKey(s.Part) || key == c.drainKey(s.Drain) {
			return true
		}
	}
	return slices.Contains(l.commit.garbage, key)
}

// olderTerm tells whether a payload was written under an earlier term.
func (c *Core) olderTerm(key string) bool {
	f := strings.Split(key, ".")
	if len(f) < 5 || f[1] != "part" && f[1] != "drain" {
		return false
	}
	t, err := strconv.ParseUint(f[len(f)-2], 10, 64)
	return err == nil && t < c.lead.term
}
