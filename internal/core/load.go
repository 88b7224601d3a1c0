package core

import (
	"errors"
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
	parts := make([]partRead, len(head.Seats))
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
	got := func(key, worker string, d Done, keep func() error) {
		if c.elect.epoch != epoch || c.lead != l {
			return
		}
		switch d.Err {
		case NotFound:
			c.report(FaultVersion, "key "+key+" is missing or does not match the head")
			torn = true
		case OK:
			switch err := keep(); {
			case errors.Is(err, errNewer):
				failed = "key " + key + ": " + err.Error()
			case err != nil: // it will never be read: as good as lost
				c.report(FaultForeignValue, "key "+key+": "+err.Error())
				torn = true
			}
		default:
			failed = "read " + key + ": " + d.Text
		}
		one()
	}
	for i, s := range head.Seats {
		if s.Part.Worker = s.Worker; !s.Part.none() {
			waiting++
			c.getPart(s.Part, basePart{}, func(g partRead, d Done) {
				got(c.partKey(s.Part), s.Worker, d, func() error {
					parts[i] = g
					return nil
				})
			})
		}
		if s.Drain.Worker = s.Worker; !s.Drain.none() {
			waiting++
			key := c.drainKey(s.Drain)
			c.getWhole(key, func(d Done) {
				if d.Err == OK && digest(d.Val) != s.Drain.Digest {
					d.Err = NotFound
				}
				got(key, s.Worker, d, func() (err error) {
					drains[i], err = decode[drainRecord](d.Val)
					return err
				})
			})
		}
	}
	one()
}

// load fills the table from what was published.
func (l *leader) load(head headRecord, parts []partRead, drains []drainRecord) {
	type item struct {
		id     string
		weight int64
	}
	known := map[string]int64{}
	for _, p := range parts {
		for _, o := range p.owned {
			known[o.ID] = o.Weight
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
	l.list, l.owner, l.next, l.token = list, make([]int32, n), make([]int32, n), make([]Token, n)
	for i := range n {
		l.owner[i], l.next[i] = -1, -1
	}
	for _, hs := range head.Seats {
		i := l.addSeat(hs.Worker, hs.Inc)
		s := l.seats[i]
		s.part, s.drain, s.vacant, s.dirty = hs.Part, hs.Drain, hs.Vacant, false
		s.part.Worker, s.drain.Worker = hs.Worker, hs.Worker
		s.capacity = capacity(hs.Capacity)
		if hs.Away > 0 {
			s.away, s.awaySince, s.awayFor = true, l.began, hs.Away.duration()
		}
	}
	for k, p := range parts {
		seat := l.byName[head.Seats[k].Worker]
		for _, o := range p.owned {
			i := index[o.ID]
			l.owner[i], l.next[i], l.token[i] = seat, seat, o.Token
		}
		if seat, ok := l.byName[head.Seats[k].Worker]; ok {
			l.seats[seat].files.loaded(p, index)
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
	l.imbalance = l.imbalance || head.Owes
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

// names tells whether the present head, or the one before, names a key, or one
// that its chunk belongs to.
func (l *leader) names(c *Core, key string) bool {
	if f := strings.Split(key, "."); len(f) > 5 {
		key = strings.Join(f[:5], ".")
	}
	for _, s := range l.head.Seats {
		s.Part.Worker, s.Drain.Worker = s.Worker, s.Worker
		if key == c.partKey(s.Part) || key == c.drainKey(s.Drain) {
			return true
		}
		if st := l.seatOf(s.Worker); st != nil && key == c.partKey(st.files.base) {
			return true
		}
	}
	// What a commit under way drops may be needed by the head that stands.
	return slices.Contains(l.commit.garbage, key) || slices.Contains(l.commit.dropped, key)
}

// olderTerm tells whether a payload was written under an earlier term.
func (c *Core) olderTerm(key string) bool {
	f := strings.Split(key, ".")
	if len(f) < 5 || f[1] != "part" && f[1] != "drain" {
		return false
	}
	t, err := strconv.ParseUint(f[3], 10, 64)
	return err == nil && t < c.lead.term
}
