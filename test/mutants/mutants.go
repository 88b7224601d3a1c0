// Package mutants holds mistakes that somebody could make, and a runner that plants
// each of them and demands that a test finds it. None of them is in the product: a
// mistake is a text that replaces another one while the tests are compiled
// (go build -overlay). It is imported by tests only.
package mutants

// Mutant is a mistake.
type Mutant struct {
	Name string
	File string // from the root of the module
	// Old stands in File exactly once; New takes its place.
	Old, New string
	// By is a pattern of what must be broken: an invariant that the simulation
	// checks, as I1. With Test it is the name of the test that must fail.
	By string
	// Test is "" for the simulation, else the package whose tests find it.
	Test string
}

const core = "internal/core/"

// All are the mistakes.
var All = []Mutant{
	{
		Name: "plain put instead of compare-and-swap on the head",
		File: "internal/sim/link.go", // the store as it would do it
		Old:  "\t\td.Rev, err = w.kv.Update(b, op.Key, op.Val, op.Rev)\n",
		New: "\t\tif e, gerr := w.kv.Get(b, op.Key); gerr == nil && op.Bucket == core.Assignments {\n\t\t\top.Rev = e.Rev\n\t\t}\n" +
			"\t\td.Rev, err = w.kv.Update(b, op.Key, op.Val, op.Rev)\n",
		By: "I8",
	},
	{
		Name: "grant before the applied acknowledgement", File: core + "handoff.go",
		Old: "\tcase m == nil, m.dead:\n\t\treturn true\n\tcase m.rev == 0:", New: "\tcase m == nil || m.rev >= 0:\n\t\treturn true\n\tcase m.rev == 0:",
		By: "I1",
	},
	{
		Name: "a renewal does not look whose key it is", File: core + "renew.go",
		Old: "\t\t\tcase c.mine(inc):\n\t\t\t\tback", New: "\t\t\tcase c.mine(inc) || inc != \"\":\n\t\t\t\tback",
		By: "I9|I8|I1|I11",
	},
	{
		Name: "payload keys without the term", File: core + "keys.go",
		Old: "k, r.Worker, strconv.FormatUint(r.Term, 10), strconv", New: "k, r.Worker, \"0\", strconv",
		By: "I1",
	},
	{
		Name: "work goes on after the lease has lapsed once", File: core + "beat.go",
		Old: "\tif c.adopt.named {\n\t\tif end > 0 {", New: "\tif c.adopt.named && c.incs < 0 {\n\t\tif end > 0 {",
		By: "TestScripts", Test: "./internal/core",
	},
	{
		Name: "an own key that is absent is not written again", File: core + "renew.go",
		Old: "\t\t\tc.keyLost(r)\n", New: "\t\t\tc.deactivate(r)\n",
		By: "I11|I7|I9|I1",
	},
	{
		Name: "who left is dropped when another one's window ends", File: core + "planning.go",
		Old: "s.retired || s.away && c.now >= s.awaySince+s.awayFor {", New: "s.retired || s.away {",
		By: "I7",
	},
	{
		Name: "a degraded leader goes on leading", File: core + "degraded.go",
		Old: "\tc.stepDown(\"degraded\", false)\n", New: "",
		By: "I10",
	},
	{
		Name: "the grace is ignored when a lease has ended", File: core + "members.go",
		Old: "\t\tat := c.silentSince(m) + c.memberTTL(m) + c.cfg.EmergencyGracePeriod\n", New: "\t\tat := c.silentSince(m) + c.memberTTL(m)\n",
		By: "I7",
	},
	{
		Name: "the grace is ignored when nobody answers a probe", File: core + "peer.go",
		Old: "max(p.lost, c.conn.since)+allowance+c.cfg.EmergencyGracePeriod, floor)", New: "max(p.lost, c.conn.since)+allowance, floor)",
		By: "I7",
	},
	{
		Name: "no time to reconnect", File: core + "peer.go",
		Old: "max(p.lost, c.conn.since)+allowance+c.cfg.EmergencyGracePeriod, floor)", New: "max(p.lost, c.conn.since)+c.cfg.EmergencyGracePeriod, floor)",
		By: "I7",
	},
	{
		Name: "drain lists are lost at a failover", File: core + "load.go",
		Old: "\t\tl.load(head, parts, drains)\n", New: "\t\tl.load(head, parts, make([]drainRecord, len(drains)))\n",
		By: "I1|I4",
	},
	{
		Name: "a watch that is lost is not made again", File: core + "watch.go",
		Old: "\t\t\tc.timer.set(timerWatch+timer(k), c.now+c.backoff(w.tries))\n", New: "",
		By: "I11",
	},
	{
		Name: "a head that was rolled back is obeyed", File: core + "lost.go",
		Old: "\tcase h.at().less(s.at):\n\t\treturn true\n", New: "\tcase h.at().less(s.at):\n\t\treturn false\n",
		By: "I2",
	},
	{
		Name: "a head that is absent is obeyed", File: core + "adopt.go",
		Old: "\t\t\t\tc.headLost(\"the head is gone\")\n\t\t\t}\n\t\tdefault:\n\t\t\tc.timer.sooner", New: "\t\t\t\tc.apply(nil, true)\n\t\t\t}\n\t\tdefault:\n\t\t\tc.timer.sooner",
		By: "I10",
	},
	{
		Name: "a head is rebuilt without waiting for the echo", File: core + "rebuild.go",
		Old: "\t\tr.asked, r.before = true, c.beat.seq\n", New: "\t\treturn true\n",
		By: "TestScripts", Test: "./internal/core",
	},
	{
		Name: "the older of two tokens wins when a head is rebuilt", File: core + "rebuild.go",
		Old: "\t\t\t\tif other.token.Less(mine.token) {\n", New: "\t\t\t\tif mine.token.Less(other.token) {\n",
		By: "TestTheNewerTokenHolds", Test: "./internal/core",
	},
	{
		Name: "what is held is not told when a lease has just ended", File: core + "beat.go",
		Old: "c.lost.now || c.heldKey.active || a.head.Rebuild && a.applied != (version{}) {", New: "c.heldKey.active && a != nil {",
		By: "TestScripts", Test: "./internal/core",
	},
	{
		Name: "a death is pronounced without ending the lease", File: core + "members.go",
		Old: "revoke := c.cfg.Exclusive && m.rev != 0 && !m.lost", New: "revoke := c.cfg.Exclusive && m.rev != 0 && !m.lost && m.dead",
		By: "TestScripts", Test: "./internal/core",
	},
	{
		Name: "a lease is trusted for half as long again", File: core + "renew.go",
		Old: "\treturn r.proved + ttl - max(", New: "\treturn r.proved + ttl*3/2 - max(",
		By: "I1",
	},
	{
		Name: "a suspension goes unnoticed", File: core + "core.go",
		Old: "gap <= c.cfg.HeartbeatInterval+c.cfg.HeartbeatInterval/2 {", New: "gap >= 0 {",
		By: "I7|I1|I9",
	},
	{
		Name: "a new incarnation keeps the tokens", File: core + "handoff.go",
		Old: "\t\t\t\t\tl.token[p] = v\n", New: "\t\t\t\t\t_ = v\n",
		By: "I2",
	},
	{
		Name: "a heartbeat of another incarnation is believed unread", File: core + "members.go",
		Old: "\tif m.inc != \"\" && m.inc != rec.Inc && !read {\n", New: "\tif m.inc != \"\" && m.inc != rec.Inc && !read && c.incs < 0 {\n",
		By: "TestStaleIncarnation", Test: "./internal/core",
	},
	{
		Name: "silence counts although the observer was cut off itself", File: core + "members.go",
		Old: "\treturn max(m.seen, c.conn.since, c.lead.unheard)\n", New: "\treturn max(m.seen, c.lead.unheard)\n",
		By: "I7|I1|I9",
	},
	{
		Name: "silence counts although the own heartbeats fail", File: core + "members.go",
		Old: "\treturn max(m.seen, c.conn.since, c.lead.unheard)\n", New: "\treturn max(m.seen, c.conn.since)\n",
		By: "TestBucketRefuses", Test: "./internal/sim",
	},
	{
		Name: "a lease is called over though nobody's heartbeats may come through", File: core + "members.go",
		Old: "\t\tif !gone && c.hbKey.proved < ", New: "\t\tif !gone && c.now < ",
		By: "TestBucketRefusesSlowHearts", Test: "./internal/sim",
	},
	{
		Name: "degraded mode ends while what failed does", File: core + "prove.go",
		Old: "\t\t\tif !k.failing {\n", New: "\t\t\tif k != nil {\n",
		By: "TestBucketRefuses", Test: "./internal/sim",
	},
	{
		Name: "an outage is so many crashes", File: core + "members.go",
		Old: "\tif len(silent) < 2 {\n", New: "\tif len(silent) < 1<<30 {\n",
		By: "TestScripts", Test: "./internal/core",
	},
	{
		Name: "the head is written before all payloads are", File: core + "commit.go",
		Old: "\t\tcase k.waiting > 0:\n", New: "\t\tcase k.waiting > 0 && k.waiting < len(k.files)-1:\n",
		By: "I1|I8|I4",
	},
	{
		Name: "the base of a delta is removed", File: core + "commit.go",
		Old: "\t\t\tif s.part != s.files.base {\n", New: "\t\t\tif s.part != (ref{}) {\n",
		By: "I1|I4",
	},
	{
		Name: "payloads are removed as soon as the head does not name them", File: core + "commit.go",
		Old: "\told := k.garbage\n\tk.garbage = k.dropped\n", New: "\told := append(k.garbage, k.dropped...)\n\tk.garbage = nil\n",
		By: "I",
	},
	{
		Name: "Stop releases the id while work goes on", File: core + "lifecycle.go",
		Old: "\t\tif len(c.adopt.applying) > 0 {\n\t\t\treturn\n\t\t}\n\t\tc.timer.clear(timerDrained)\n", New: "\t\tc.timer.clear(timerDrained)\n",
		By: "I1|I13",
	},
	{
		Name: "Stop keeps the leader key", File: core + "lifecycle.go",
		Old: "\tc.stepDown(\"stopped\", false)\n", New: "\tc.deactivate(&c.leadKey)\n",
		By: "I13",
	},
	{
		Name: "a claim that is given up is undone before it is answered", File: core + "claim.go",
		Old: "\tif undo == nil {\n\t\treturn false\n\t}\n", New: "\tif undo == nil {\n\t\treturn false\n\t}\n\tundo = c.end\n",
		By: "I13",
	},
	{
		Name: "a stuck handoff is forced in the Exclusive mode", File: core + "handoff.go",
		Old: "\treturn !c.cfg.Exclusive\n}\n\n// mostNamed", New: "\treturn true\n}\n\n// mostNamed",
		By: "I1",
	},
	{
		Name: "a list that shrank is believed at once", File: core + "refresh.go",
		Old: "len(list.IDs)*2 < n && !believed", New: "len(list.IDs)*99 < n && !believed",
		By: "I3",
	},
	{
		Name: "a degraded worker takes what it gains", File: core + "adopt.go",
		Old: "\tif c.degraded.in {\n\t\tkept", New: "\tif c.degraded.in && named && !named {\n\t\tkept",
		By: "I10",
	},
	{
		Name: "an id is kept although somebody sends heartbeats under it", File: core + "beat.go",
		Old: "\t\tc.giveBackID(rec.Inc)\n\tcase", New: "\t\tc.hbKey.rev = rev\n\t\tc.renew(&c.hbKey)\n\tcase",
		By: "TestLostIDIsNotForTheTaking", Test: "./internal/sim",
	},
	{
		Name: "who returns takes the lowest free id, and not the one that is waited for", File: core + "waited.go",
		Old: "\t\tcase c.claim.waited.ids[i]:\n", New: "\t\tcase c.claim.waited.ids[i] && n < 0:\n",
		By: "I7",
	},
	{
		Name: "an owed plan is forgotten at a leader change", File: core + "commit.go",
		Old: "l.owes || l.imbalance ||\n", New: "l.owes ||\n",
		By: "I11",
	},
	{
		Name: "who was away when a plan was made gets no share", File: core + "table.go",
		Old: "owed = l.seats[to].away", New: "owed = false",
		By: "TestScripts", Test: "./internal/core",
	},
	{
		Name: "who came back in a rebuild gets no share", File: core + "rebuild.go",
		Old: "most-least > 1 {", New: "most-least > 1<<30 {",
		By: "I11",
	},
	{
		Name: "a leader moves partitions when it takes over", File: core + "load.go",
		Old: "\tl.imbalance = l.imbalance || head.Owes\n", New: "\tl.imbalance = true\n\tif len(l.seats) > 1 && len(l.owner) > 0 && l.owner[0] >= 0 {\n\t\tl.unassign(0, Token{l.term, head.Version + 1})\n\t\tl.next[0] = (l.next[0] + 1) % int32(len(l.seats))\n\t}\n",
		By: "I7|I4",
	},
	{
		Name: "an update does not tell the server which revision it expects", File: "internal/natskv/ops.go",
		Old: "\trev, err := s.write(ctx, bucket, key, val, rev, nil)\n\treturn rev, wrapOp(\"update\", key, err)\n",
		New: "\tif e, rerr := s.read(ctx, bucket, key); rerr == nil {\n\t\trev = e.Rev\n\t}\n\trev, err := s.write(ctx, bucket, key, val, rev, nil)\n\treturn rev, wrapOp(\"update\", key, err)\n",
		By:  "TestConformance", Test: "./internal/natskv",
	},
	{
		Name: "a message that failed is given back with a nak in the ordered mode", File: "subscription/partition.go",
		Old: "\t\tif wait == 0 {\n\t\t\twait = p.cfg.backoff(failures)\n\t\t}\n", New: "\t\tif wait >= 0 {\n\t\t\t_ = h.msg.Nak()\n\t\t\treturn true\n\t\t}\n",
		By: "TestHandlerErrorsKeepOrder", Test: "./subscription",
	},
}
