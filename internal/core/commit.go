package core

import (
	"bytes"
	"cmp"
	"slices"
	"time"
)

// commit is the publication in progress. Payloads and drain lists are created
// first, under keys that carry the term; then the head is written by
// compare-and-swap. Nobody sees a part of a commit: what the head does not name
// does not exist.
type commit struct {
	busy      bool
	lifecycle string // of the next head; "" = as it is
	head      headRecord
	headVal   []byte
	files     []file
	waiting   int // files whose answer is awaited
	tries     int
	writing   bool // the head is being written
	began     time.Duration
	dropped   []string // no longer named by the head being written
	garbage   []string // no longer named by the last head
}

// file is a value that the head will name.
type file struct {
	key  string
	val  []byte
	done bool
}

// startCommit publishes the table as it is now.
func (c *Core) startCommit() {
	l := c.lead
	k := &l.commit
	k.busy, k.tries, k.files, k.dropped, k.began = true, 0, nil, nil, c.now
	var d deflater
	v := l.head.Version + 1
	head := headRecord{
		formatted: ours, Term: l.term, Version: v, Leader: c.worker(), LeaderInc: c.inc, Lifecycle: l.head.Lifecycle,
		Created: c.cfg.Buckets[Assignments], App: l.head.App, List: l.list.Digest,
		Owes: l.owing(), Root: l.head.Root, Base: l.head.Base, Lease: toMillis(c.longestLease()),
	}
	if k.lifecycle != "" {
		head.Lifecycle, k.lifecycle = k.lifecycle, ""
	}
	publish := func(r *ref, key func(ref) string, rec packer) int {
		val := packRecord(rec, &d)
		*r = ref{Worker: r.Worker, Term: l.term, Version: v, Digest: digest(val)}
		for i, part := range chunks(val, cmp.Or(c.conn.maxValue, largestValue)) {
			k.files = append(k.files, file{key: chunkKey(key(*r), i), val: part})
		}
		return len(val)
	}
	drop := func(r ref, key func(ref) string) {
		if !r.none() {
			k.dropped = append(k.dropped, key(r))
		}
	}
	var owned *shares
	for i, s := range l.seats {
		if s == nil {
			continue
		}
		if s.dirty {
			s.dirty = false
			if s.part != s.files.base {
				drop(s.part, c.partKey)
			}
			if owned == nil {
				owned = l.bySeat()
			}
			mine := owned.seat(int32(i))
			rec, ok := l.delta(int32(i))
			if s.part.Worker = s.worker; ok && len(mine) > 0 {
				s.files.deltas += publish(&s.part, c.partKey, rec)
			} else {
				drop(s.files.base, c.partKey)
				s.files, s.part = seatFiles{}, ref{Worker: s.worker}
				if len(mine) > 0 {
					s.files.size = publish(&s.part, c.partKey, l.base(int32(i), mine))
					s.files.base = s.part
				}
			}
		}
		if s.drainDirty {
			s.drainDirty = false
			drop(s.drain, c.drainKey)
			s.drain = ref{Worker: s.worker}
			if rec := l.drainList(s.worker); len(rec.Items) > 0 {
				publish(&s.drain, c.drainKey, rec)
			} else {
				s.drain = ref{}
			}
		}
		if s.retired && s.drain.none() {
			l.dropSeat(int32(i))
			continue
		}
		hs := headSeat{Worker: s.worker, Inc: s.inc, Part: s.part, Drain: s.drain, Vacant: s.vacant, Capacity: declared(s.capacity)}
		if s.away {
			hs.Away = max(1, toMillis(s.awaySince+s.awayFor-c.now))
		}
		head.Seats = append(head.Seats, hs)
	}
	k.head, k.headVal = head, packRecord(head, &d)
	c.writeFiles()
}

// owing tells whether somebody is to be given more than the last plan gave.
func (l *leader) owing() bool {
	return l.unfinished || l.withheld || l.owes || l.imbalance ||
		slices.ContainsFunc(l.seats, func(s *seat) bool { return s != nil && s.owed })
}

// writeFiles creates what the head will name.
func (c *Core) writeFiles() {
	l := c.lead
	k := &l.commit
	term, v := l.term, k.head.Version
	failed := false
	written := func(f *file, ok bool, text string) {
		k.waiting--
		if f.done = ok; !ok {
			failed = true
			c.log(Warn, "publish failed", "key", f.key, "error", text)
		}
		switch {
		case k.waiting > 0:
		case failed:
			c.commitLater()
		default:
			c.writeHead()
		}
	}
	mine := func() bool { return c.lead != nil && c.lead.term == term && k.head.Version == v }
	for i := range k.files {
		f := &k.files[i]
		if f.done {
			continue
		}
		k.waiting++
		c.kv(KV{Verb: Create, Bucket: Assignments, Key: f.key, Val: f.val}, k.tries > 0, func(d Done) {
			switch {
			case !mine():
			case d.Err == Conflict:
				// An earlier attempt that did arrive; or somebody else writes
				// under this term.
				c.kv(KV{Verb: Get, Bucket: Assignments, Key: f.key}, true, func(d Done) {
					switch {
					case !mine():
					case d.Err == OK && !bytes.Equal(d.Val, f.val):
						c.stepDown("another leader writes under this term", true)
					default:
						written(f, d.Err == OK, d.Text)
					}
				})
			default:
				written(f, d.Err == OK, d.Text)
			}
		})
	}
	if k.waiting == 0 {
		c.writeHead()
	}
}

func (c *Core) commitLater() {
	c.lead.commit.tries++
	c.timer.set(timerCommit, c.now+c.backoff(c.lead.commit.tries))
}

func (c *Core) retryCommit() {
	if c.leading() && c.lead.commit.busy && c.lead.commit.waiting == 0 && !c.lead.commit.writing {
		c.writeFiles()
	}
}

// writeHead is the commit point.
func (c *Core) writeHead() {
	l := c.lead
	if c.now >= c.leadKey.leaseEnd(c.cfg.HeartbeatTTL) {
		c.commitLater() // the lease must be proved first
		return
	}
	k := &l.commit
	k.writing = true
	term, v := l.term, k.head.Version
	c.kv(KV{
		Verb: Update, Bucket: Assignments, Key: c.headKeyName(), Val: k.headVal, Rev: l.rev,
	}, k.tries > 0, func(d Done) {
		if c.lead == nil || c.lead.term != term || k.head.Version != v || !k.writing {
			return
		}
		k.writing = false
		switch d.Err {
		case OK:
			c.committed(d.Rev)
		case Conflict, NotFound, Ambiguous:
			c.inspectHead()
		default:
			c.commitLater()
		}
	})
}

// sawCommit takes the head being written, as the watch shows it, for the answer
// that it was written.
func (c *Core) sawCommit(at version, by string, rev uint64) {
	if l := c.lead; c.leading() && l.commit.writing && at == l.commit.head.at() && by == c.inc {
		l.commit.writing = false
		c.committed(rev)
	}
}

// inspectHead reads a head that could not be written: an own write without an
// answer, or another leader's.
func (c *Core) inspectHead() {
	l := c.lead
	k := &l.commit
	k.writing = true
	term, v := l.term, k.head.Version
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName()}, true, func(d Done) {
		if c.lead == nil || c.lead.term != term || k.head.Version != v || !k.writing {
			return
		}
		k.writing = false
		head, err := decode[headRecord](d.Val)
		switch {
		case d.Err == NotFound:
			c.headLost("the head is gone")
		case d.Err != OK:
			c.commitLater()
		case err != nil:
			c.stepDown("the head cannot be read: "+err.Error(), false)
		case head.Term != term || head.LeaderInc != c.inc:
			c.elect.seen = max(c.elect.seen, head.Term)
			c.stepDown("another leader wrote the head", true)
		case head.Version == v:
			c.committed(d.Rev)
		case head.at().less(l.stands):
			c.headLost("head " + head.at().String() + " is older than " + l.stands.String() + ", which was written")
		default:
			l.rev = d.Rev
			c.commitLater()
		}
	})
}

// committed goes on after the head is written.
func (c *Core) committed(rev uint64) {
	l := c.lead
	k := &l.commit
	l.head, l.rev, l.stands = k.head, rev, k.head.at()
	k.busy, k.tries, k.headVal, k.files = false, 0, nil, nil
	c.log(Debug, "published", "term", l.term, "version", l.head.Version, "workers", len(l.head.Seats),
		"took", (c.now - k.began).String())
	c.measureCommit()
	c.collect()
	for _, m := range l.roster().members {
		if s := m.seat; s != nil && s.away && m.rev != 0 && m.inc == s.inc {
			// The leaver is listed: its heartbeat has served.
			c.kv(KV{Verb: Delete, Bucket: Heartbeats, Key: c.hbKeyName(m.worker), Rev: m.rev}, false, func(Done) {})
			m.rev = 0
		}
	}
	c.readHead()
}

// collect deletes what two committed heads in a row do not name, after the
// latest has been read back.
func (c *Core) collect() {
	l := c.lead
	k := &l.commit
	old := k.garbage
	k.garbage = k.dropped
	k.dropped = nil
	if len(old) == 0 {
		return
	}
	term, v := l.term, l.head.Version
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: c.headKeyName()}, false, func(d Done) {
		head, err := decode[headRecord](d.Val)
		if d.Err != OK || err != nil || head.Term != term || head.Version < v {
			return
		}
		for _, g := range old {
			c.remove(g)
		}
	})
}

// remove deletes a payload, and what it was split into, by revision.
func (c *Core) remove(key string) {
	c.kv(KV{Verb: Get, Bucket: Assignments, Key: key}, false, func(d Done) {
		if d.Err != OK {
			return
		}
		for k := 1; k < chunkCount(d.Val); k++ {
			c.remove(chunkKey(key, k))
		}
		c.kv(KV{Verb: Delete, Bucket: Assignments, Key: key, Rev: d.Rev}, false, func(Done) {})
	})
}
