package core

import (
	"slices"
	"testing"
	"time"
)

// leading makes a core that leads, at 10 s, with one member that is not seated.
func leading(cfg Config, m *member) *Core {
	c := New(cfg)
	c.now = 10 * time.Second
	c.hbKey.proved = c.now
	c.lead = c.newLeader(headRecord{}, 1)
	c.lead.enroll(m)
	return c
}

// TestStrayValuesAreBounded: a worker that says that its lease lasts for ever is
// found dead all the same.
func TestStrayValuesAreBounded(t *testing.T) {
	const stray = millis(1000 * time.Hour / time.Millisecond)
	want := func(what string, got, want time.Duration) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	m := &member{worker: "w-1", inc: "x"}
	c := leading(testConfig(), m)
	cfg, l := &c.cfg, c.lead
	l.head.Lease = stray
	want("lease of one that only the head names", c.memberTTL(m), 10*cfg.HeartbeatTTL)
	m.rev, m.rec = 1, hbRecord{Inc: "x", TTL: stray, Interval: stray, Window: stray}
	want("lease", c.memberTTL(m), 10*cfg.HeartbeatTTL)
	m.rec.TTL = 0
	want("shorter lease", c.memberTTL(m), cfg.HeartbeatTTL)

	c.elect.rec.TTL, c.elect.changed = stray, c.now
	want("lease of the leader", c.leaderDeadline()-c.now, 10*cfg.HeartbeatTTL)

	m.seen = c.now - time.Hour // it led before
	c.judge()
	at, _ := c.timer.next()
	want("predecessor whose heartbeat is late", at-c.now, overdueAfter(10*cfg.HeartbeatInterval))

	l.addSeat(m.worker, m.inc)
	m.rec.Leaving, m.rec.Released = true, true
	c.updateSeats()
	want("leaver's window", l.seatOf(m.worker).awayFor, 10*cfg.PlannedScaleWindow)

	c.lost.lease = stray
	want("lease of the lost head", c.longestLease(), 10*cfg.HeartbeatTTL)
	c.lost.lease = 0
	l.rebuild.held["w-1"] = &heldBy{rec: heldRecord{Lease: stray}}
	want("lease that a worker tells of", c.longestLease(), 10*cfg.HeartbeatTTL)
}

// TestABeatOnANewBucketIsNews: on a bucket made anew revisions begin anew, and what
// is news there looks old.
func TestABeatOnANewBucketIsNews(t *testing.T) {
	beat := func(seq uint64) []byte { return encode(hbRecord{formatted: ours, Inc: "x", Seq: seq}) }
	member := func() *member {
		return &member{worker: "w-1", inc: "x", rev: 50, rec: hbRecord{formatted: ours, Inc: "x", Seq: 7}}
	}

	m := member()
	c := leading(testConfig(), m)
	key := c.hbKeyName(m.worker)
	if c.sawBeat(m.worker, Watched{Key: key, Val: beat(8), Rev: 3}, true); m.seen != 0 {
		t.Error("what the same watch shows late is news")
	}
	c.beatWatchBegins()
	if c.sawBeat(m.worker, Watched{Key: key, Val: beat(8), Rev: 3}, false); m.seen != c.now || m.rev != 3 {
		t.Errorf("through the next watch: seen at %v, revision %d", m.seen, m.rev)
	}

	for _, exclusive := range []bool{false, true} {
		m := member()
		cfg := testConfig()
		cfg.Exclusive = exclusive
		c := leading(cfg, m)
		// look pronounces a verdict; each operation on the heartbeat finds it on the
		// new bucket.
		look := func() {
			c.out = nil
			c.verdict(m)
			for len(c.out) > 0 {
				op, ok := c.out[0].(KV)
				if c.out = c.out[1:]; !ok || op.Bucket != Heartbeats || op.Verb == Delete {
					continue
				}
				d := Done{Op: op.Op, Val: beat(8), Rev: 3}
				if op.Verb == Update && op.Rev != 3 {
					d.Err = Conflict
				}
				f := c.ops[op.Op]
				delete(c.ops, op.Op)
				f(d)
			}
		}
		if look(); m.dead || m.seen != c.now || m.rev != 3 {
			t.Errorf("exclusive %v, first look: dead %v, seen at %v, revision %d", exclusive, m.dead, m.seen, m.rev)
		}
		c.now += time.Minute
		if look(); !m.dead {
			t.Errorf("exclusive %v: the heartbeat has stood still for a minute, and it lives", exclusive)
		}
	}
}

// TestALookBelievesWhatItReads: the revision proves nothing, since that of another
// bucket may be the same.
func TestALookBelievesWhatItReads(t *testing.T) {
	m := &member{worker: "w-1", inc: "x", rev: 50, rec: hbRecord{formatted: ours, Inc: "x", Seq: 7}}
	c := leading(testConfig(), m)
	c.verdict(m)
	op, ok := c.out[len(c.out)-1].(KV)
	if !ok {
		t.Fatal("it did not look")
	}
	c.ops[op.Op](Done{Op: op.Op, Val: encode(hbRecord{formatted: ours, Inc: "x", Seq: 8}), Rev: 50})
	if m.dead || m.seen != c.now || m.rec.Seq != 8 {
		t.Errorf("dead %v, seen at %v, heartbeat %d", m.dead, m.seen, m.rec.Seq)
	}
}

// TestALookThatFailsProvesNothing: it is taken again after the grace, whether a lease
// or probes had brought it about.
func TestALookThatFailsProvesNothing(t *testing.T) {
	m := &member{worker: "w-1", inc: "x", rev: 50, rec: hbRecord{formatted: ours, Inc: "x", Seq: 7}}
	c := leading(testConfig(), m)
	c.watch[watchBeats].synced = true
	m.peer = peer{inc: "x", answered: true, suspected: true, found: foundGone}
	if _, gone := c.tryMember(m); !gone {
		t.Fatal("probes do not show that it is gone")
	}
	c.verdict(m)
	op, ok := c.out[len(c.out)-1].(KV)
	if !ok {
		t.Fatal("it did not look")
	}
	c.ops[op.Op](Done{Op: op.Op, Err: Failed, Text: "refused"})
	if m.dead {
		t.Error("dead by a look that failed")
	}
	if wake, gone := c.tryMember(m); gone || wake != c.now+c.cfg.EmergencyGracePeriod {
		t.Errorf("by probes: gone %v, again at %v", gone, wake)
	}
	m.peer, c.lead.began = peer{inc: "x"}, 0
	c.judge()
	if at, _ := c.timer.next(); at != c.now+c.cfg.EmergencyGracePeriod {
		t.Errorf("by its lease: again at %v", at)
	}
}

// TestLateAnswersAreIgnored: to a question of before a heartbeat, and to a look of an
// earlier leadership.
func TestLateAnswersAreIgnored(t *testing.T) {
	m := &member{worker: "w-1", inc: "x", rev: 50, rec: hbRecord{formatted: ours, Inc: "x", Seq: 7}}
	m.peer = peer{inc: "x", answered: true}
	c := leading(testConfig(), m)
	c.suspect(&m.peer, false)
	op, ok := c.out[len(c.out)-1].(Probe)
	if !ok {
		t.Fatal("it did not ask")
	}
	c.heard(&m.peer, m.worker)
	if c.ops[op.Op](Done{Op: op.Op, Err: NotFound}); m.peer.found != foundNothing {
		t.Error("an answer of before the heartbeat counts")
	}

	c.verdict(m)
	look, ok := c.out[len(c.out)-1].(KV)
	if !ok {
		t.Fatal("it did not look")
	}
	c.elect.epoch++
	c.lead = c.newLeader(headRecord{}, 1)
	c.lead.addSeat(m.worker, m.inc)
	if c.ops[look.Op](Done{Op: look.Op, Val: encode(m.rec), Rev: 50}); c.lead.verdictAt != never {
		t.Error("a look of an earlier leadership is a death in this one")
	}
}

// TestALostIDKeepsItsLease: Exclusive, another worker has the id now, and the one
// before did not let go of it. What it was granted waits for the end of its lease.
func TestALostIDKeepsItsLease(t *testing.T) {
	m := &member{worker: "w-1", inc: "x", rev: 50, rec: hbRecord{formatted: ours, Inc: "x", Seq: 7}}
	cfg := testConfig()
	cfg.Exclusive = true
	c := leading(cfg, m)
	c.lead.addSeat(m.worker, "x")
	m.seen = c.now - time.Second
	end := m.seen + cfg.HeartbeatTTL + cfg.EmergencyGracePeriod
	c.tookBeat(m.worker, Watched{Key: c.hbKeyName(m.worker), Val: encode(hbRecord{formatted: ours, Inc: "y", Seq: 1}), Rev: 51}, true, true)
	for _, at := range []time.Duration{c.now, end - 1, end} {
		c.now = at
		if changed := c.updateSeats(); changed != (at == end) {
			t.Errorf("%v before the end of its lease: given on %v", end-at, changed)
		}
	}
}

// TestRefusedTwiceLooksAnew: the watch shows a leader key that does not stand there, as
// one on a bucket that was made anew may do for ever.
func TestRefusedTwiceLooksAnew(t *testing.T) {
	c := New(testConfig())
	c.watch[watchLeader].wanted, c.watch[watchLeader].id = true, 5
	for i := range 2 {
		c.elect.free = 7
		c.campaignKey(headRecord{}, 1)
		op, ok := c.out[len(c.out)-1].(KV)
		if !ok {
			t.Fatal("it did not campaign")
		}
		c.out = nil
		c.ops[op.Op](Done{Op: op.Op, Err: Conflict})
		anew := slices.ContainsFunc(c.out, func(e Effect) bool { _, ok := e.(Unwatch); return ok })
		if anew != (i == 1) {
			t.Errorf("refused %d times: looks anew %v", i+1, anew)
		}
	}
}

// TestTheHeadIsReadAgain: a sign of loss comes while the head is being read, which may
// have begun too early.
func TestTheHeadIsReadAgain(t *testing.T) {
	c := New(testConfig())
	c.life.phase = running
	reads := func() (op OpID, n int) {
		for _, e := range c.out {
			if kv, ok := e.(KV); ok && kv.Verb == Get && kv.Key == c.headKeyName() {
				op, n = kv.Op, n+1
			}
		}
		c.out = nil
		return op, n
	}
	c.readHead()
	op, _ := reads()
	c.verifyHead()
	if _, n := reads(); n != 0 {
		t.Errorf("%d more readings beside it", n)
	}
	c.ops[op](Done{Op: op, Err: Failed})
	if _, n := reads(); n != 1 {
		t.Errorf("%d readings after it, want 1", n)
	}
}

// TestARevokedIncarnationEnds, though its own lease has not ended on its clock: what it
// was granted may be another's.
func TestARevokedIncarnationEnds(t *testing.T) {
	cfg := testConfig()
	cfg.Exclusive = true
	c := New(cfg)
	c.life.phase, c.claim.held, c.inc = running, true, "x"
	c.activate(&c.hbKey, 1, 0)
	c.adopt.named = true
	c.beatLost(encode(hbRecord{formatted: ours, Inc: "x", Seq: 1, Revoked: 4}), 9)
	if !c.life.renaming || !c.adopt.void || c.adopt.named {
		t.Errorf("renaming %v, void %v, named %v", c.life.renaming, c.adopt.void, c.adopt.named)
	}
}

// TestTheNewerTokenHolds: two workers claim the same partition when a head is rebuilt.
// It stays with the newer token, in whatever order they tell, and the other lets go.
func TestTheNewerTokenHolds(t *testing.T) {
	claim := func(version uint64) *heldBy {
		return &heldBy{rec: heldRecord{Grants: []grantList{{Term: 7, Version: version, IDs: []string{"p"}, Weights: []int64{1}}}}}
	}
	for _, newerFirst := range []bool{false, true} {
		u := union{best: map[string]claimed{}, holders: map[string][]holding{}, weight: map[string]int64{}}
		older, newer := &member{worker: "w-0", inc: "x"}, &member{worker: "w-1", inc: "y"}
		if newerFirst {
			u.add(claim(5), 1, newer, version{})
			u.add(claim(4), 0, older, version{})
		} else {
			u.add(claim(4), 0, older, version{})
			u.add(claim(5), 1, newer, version{})
		}
		if got := u.best["p"]; got.by.worker != "w-1" || got.seat != 1 || got.token != (Token{7, 5}) {
			t.Errorf("newer first %v: it stays with %+v", newerFirst, got)
		}
		if got := u.holders["p"]; len(got) != 1 || got[0].worker != "w-0" {
			t.Errorf("newer first %v: %+v let go", newerFirst, got)
		}
	}
}

// TestGrantsWaitForOthers: the larger the fleet, the longer, since all its workers
// read every head; and not when nobody else is to let go.
func TestGrantsWaitForOthers(t *testing.T) {
	for workers, batch := range map[int]time.Duration{10: grantBatch, 64: grantBatch, 640: 10 * grantBatch} {
		c := turning(workers, 2)
		l := c.lead
		delete(l.holders, 0)
		if c.grantsReady() {
			t.Errorf("%d workers: at once", workers)
		}
		if c.timer[timerGrant] != c.now+batch {
			t.Errorf("%d workers: after %v, want %v", workers, c.timer[timerGrant]-c.now, batch)
		}
		c.now += batch
		if !c.grantsReady() {
			t.Errorf("%d workers: not after %v", workers, batch)
		}
		c.now -= batch
		if delete(l.holders, 1); !c.grantsReady() {
			t.Errorf("%d workers: waits for nobody", workers)
		}
	}
}

// TestTurnsSeeEveryRelease: what a leader remembers of holders and members from turn
// to turn does not hide who lets go, who is added and who is gone.
func TestTurnsSeeEveryRelease(t *testing.T) {
	c := turning(10, 20) // each holds two
	l := c.lead
	settled := func(want int) {
		t.Helper()
		for range 2 {
			c.releaseHolders()
		}
		if n := len(l.holders); n != want {
			t.Errorf("%d partitions are held, want %d", n, want)
		}
		if got := l.anyReady(); got != (want < 20) {
			t.Errorf("ready: %v, with %d held", got, want)
		}
	}
	settled(20)
	l.members["w-9"].rec.Applied = version{1, 2}
	settled(18)
	l.members["w-4"].dead = true
	settled(16)
	c.grant()
	if l.anyReady() {
		t.Error("what was granted is ready")
	}
	l.unassign(39, Token{1, 3}) // of one who had let go of everything
	l.members["w-9"].rec.Applied = version{1, 3}
	c.releaseHolders()
	if n := len(l.holders); n != 16 || !l.anyReady() {
		t.Errorf("%d partitions are held, ready: %v", n, l.anyReady())
	}

	names := func() (out []string) {
		for _, m := range l.roster().members {
			out = append(out, m.worker)
		}
		return out
	}
	before := names()
	l.strike("w-3")
	want := slices.Concat(before[:3], before[4:])
	if got := names(); !slices.Equal(got, want) || l.roster().bySeat[3] != nil {
		t.Errorf("members %v, want %v", got, want)
	}
	l.enroll(&member{worker: "w-31"})
	if got := names(); !slices.Equal(got, slices.Insert(want, 3, "w-31")) {
		t.Errorf("members %v, w-31 is missing", got)
	}
	i := l.addSeat("w-31", "x")
	if r := l.roster(); r.bySeat[i] == nil || r.members[3].seat != l.seats[i] {
		t.Error("a new seat has nobody")
	}
	l.dropSeat(i)
	if r := l.roster(); r.bySeat[i] != nil || r.members[3].seat != nil {
		t.Error("a seat that is gone has somebody")
	}
}
