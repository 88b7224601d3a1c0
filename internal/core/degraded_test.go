package core

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// runningNode returns a core that works.
func runningNode(t *testing.T) *node {
	t.Helper()
	w := newWorld()
	n := w.add("a", testConfig())
	n.tell(Connected{Server: "n1", Allowance: time.Second})
	n.start()
	w.run(15 * time.Second)
	if s := n.core.Snapshot().State; s != Stable {
		t.Fatalf("state %v", s)
	}
	return n
}

// TestEveryOperationCounts: whatever is asked of NATS, its failure leads to
// degraded mode, and so does the failure to answer. A success of its own kind
// begins the count anew, one of another kind does not.
func TestEveryOperationCounts(t *testing.T) {
	for b := range NumBuckets {
		for _, verb := range []Verb{Get, Create, Update, Delete} {
			n := runningNode(t)
			c := n.core
			end := func(b Bucket, verb Verb, err ErrKind) {
				c.out = nil
				c.kv(KV{Verb: verb, Bucket: b, Key: "k"}, false, func(Done) {})
				n.step(Done{Op: c.lastOp, Err: err, Text: "no"})
			}
			what := verbNames[verb] + " in " + bucketNames[b]
			for range 4 {
				end(b, verb, Failed)
			}
			for _, other := range []Verb{Get, Update} {
				if kindOf(KV{Verb: other}).class != kindOf(KV{Verb: verb}).class {
					end(b, other, OK)
				}
				end((b+1)%NumBuckets, other, OK)
			}
			if c.degraded.in {
				t.Errorf("%s: degraded before KVErrorThreshold", what)
			}
			if end(b, verb, Failed); !c.degraded.in {
				t.Errorf("%s: five failures do not count", what)
			}

			n = runningNode(t)
			c = n.core
			for range 4 {
				end(b, verb, Failed)
			}
			end(b, verb, OK)
			if end(b, verb, Failed); c.degraded.in {
				t.Errorf("%s: a success does not count", what)
			}

			n = runningNode(t)
			c = n.core
			began := c.now
			end(b, verb, Ambiguous)
			if c.timer[timerEnter] != began+c.cfg.EnterThreshold {
				t.Errorf("%s: silence does not count", what)
			}
		}
	}
	for k := range numWatches {
		n := runningNode(t)
		c := n.core
		c.unwant(k)
		c.want(k)
		for i := range 6 { // the first one is tried again at once
			if c.degraded.in {
				t.Errorf("watch %s: degraded after %d failures", c.watch[k].tag, i)
			}
			n.step(WatchLost{Watch: c.watch[k].id, Err: Failed, Text: "no"})
			c.now += c.cfg.HeartbeatInterval
			c.openWatch(k)
			c.out = nil
		}
		if !c.degraded.in {
			t.Errorf("watch %s: five failures do not count", c.watch[k].tag)
		}
	}
}

// fails has an operation end so, and returns how often that was measured and reported.
func fails(n *node, op KV, retry bool, err ErrKind) (measured, reported int) {
	c := n.core
	c.out = nil
	c.kv(op, retry, func(Done) {})
	for _, e := range c.Step(c.now, Done{Op: c.lastOp, Err: err, Text: "no"}) {
		switch e := e.(type) {
		case Measure:
			if e.Metric == MetricKVErrors {
				measured++
			}
		case Report:
			reported++
		default:
		}
	}
	return measured, reported
}

// TestRepetitionsAreNoOutageOfTheirOwn: what is tried over and over is measured each
// time, reported once per heartbeat, and makes degraded who cannot do it for
// EnterThreshold.
func TestRepetitionsAreNoOutageOfTheirOwn(t *testing.T) {
	n := runningNode(t)
	c := n.core
	op := KV{Verb: Update, Bucket: IDs, Key: "k"}
	const step = 100 * time.Millisecond
	fails(n, op, false, Failed)
	times, reports := 1, 1
	for began := c.now; c.now < began+c.cfg.EnterThreshold-step; {
		c.now += step
		measured, reported := fails(n, op, true, Failed)
		if measured != 1 {
			t.Fatalf("measured %d times", measured)
		}
		times++
		reports += reported
	}
	if most := int(c.cfg.EnterThreshold / c.cfg.HeartbeatInterval); reports > most || reports < most-1 {
		t.Errorf("%d failures in %v were reported %d times", times, c.cfg.EnterThreshold, reports)
	}
	if c.degraded.in {
		t.Error("degraded before EnterThreshold")
	}
	c.now += step
	if fails(n, op, true, Failed); !c.degraded.in {
		t.Error("not degraded after EnterThreshold")
	}
}

// TestFailuresFarApartAreNoOutage: one now and one much later, and nothing between.
func TestFailuresFarApartAreNoOutage(t *testing.T) {
	n := runningNode(t)
	c := n.core
	for range 4 {
		fails(n, KV{Verb: Delete, Bucket: Election, Key: "k"}, true, Failed)
		c.now += c.cfg.EnterThreshold + time.Second
	}
	if c.degraded.in {
		t.Error("degraded")
	}
}

// TestTheSameTroubleGoesOn: what fails again soon after degraded mode was left goes on
// with the alerts of before; what fails much later, or is another thing, does not.
func TestTheSameTroubleGoesOn(t *testing.T) {
	write, read := KV{Verb: Update, Bucket: Assignments, Key: "k"}, KV{Verb: Get, Bucket: IDs, Key: "k"}
	for name, again := range map[string]struct {
		op     KV
		after  time.Duration
		goesOn bool
	}{
		"soon":        {write, 5 * time.Second, true},
		"much later":  {write, time.Minute, false},
		"other thing": {read, 5 * time.Second, false},
	} {
		n := runningNode(t)
		c := n.core
		for range 5 {
			fails(n, write, false, Failed)
		}
		since, left := c.degraded.since, c.now+70*time.Second
		for c.degraded.in {
			c.now += time.Second
			if c.timer.set(timerExit, c.now); c.now >= left {
				fails(n, write, false, OK)
				c.idKey.proved, c.hbKey.proved, c.adopt.looked = c.now, c.now, c.now
			}
			n.step(Tick{})
		}
		if c.now < left || c.degraded.level != AlertInfo {
			t.Fatalf("left %v after it was entered, at alert level %d", c.now-since, c.degraded.level)
		}
		alerted := c.degraded.alerted
		c.now += again.after
		for range 5 {
			fails(n, again.op, false, Failed)
		}
		if !c.degraded.in || (c.degraded.since == since) != again.goesOn || (c.degraded.level == AlertInfo) != again.goesOn || c.degraded.alerted != alerted {
			t.Errorf("%s: degraded %v since %v, at alert level %d; the first time since %v", name, c.degraded.in, c.degraded.since, c.degraded.level, since)
		}
	}
}

// TestDegradedUntilItWorks: whatever has failed is tried again before degraded mode is
// left, at most once per heartbeat, in a way that changes nothing.
func TestDegradedUntilItWorks(t *testing.T) {
	for b := range NumBuckets {
		for _, verb := range []Verb{Get, Update} {
			n := runningNode(t)
			c := n.core
			op := KV{Verb: verb, Bucket: b, Key: "k", Val: make([]byte, 100), Rev: 7}
			for range 5 {
				fails(n, op, false, Failed)
			}
			proofs := 0
			for began := c.now; c.now < began+time.Minute; {
				c.now += 100 * time.Millisecond
				c.degraded.good = 0 // as far as everything else goes
				c.idKey.proved, c.hbKey.proved, c.adopt.looked = c.now, c.now, c.now
				c.timer.set(timerExit, c.now)
				for _, e := range c.Step(c.now, Tick{}) {
					if kv, ok := e.(KV); ok && kv.Key == "k" {
						proofs++
						if verb != Get && (kv.Verb != Update || kv.Rev != noRevision || len(kv.Val) != 100) {
							t.Errorf("%+v proves a write", kv)
						}
						c.Step(c.now, Done{Op: kv.Op, Err: Failed, Text: "no"})
					}
				}
			}
			if most := int(time.Minute / c.cfg.HeartbeatInterval); !c.degraded.in || proofs > most || proofs < most-1 {
				t.Errorf("%s in %s: degraded %v after %d proofs that failed", verbNames[verb], bucketNames[b], c.degraded.in, proofs)
			}
			fails(n, op, true, Conflict)
			c.timer.set(timerExit, c.now)
			if n.step(Tick{}); c.degraded.in {
				t.Errorf("%s in %s: degraded although it works", verbNames[verb], bucketNames[b])
			}
		}
	}
	for _, k := range []watchKind{watchHeads, watchLeader, watchBeats, watchStrays} {
		n := runningNode(t)
		c := n.core
		c.enterDegraded(c.now, "for a test")
		w := &c.watch[k]
		c.failed(asked{kind: opKind{w.bucket, watching}, verb: "watch", key: w.filter, began: c.now}, Failed, "no")
		c.out = nil
		c.proveFailing()
		if c.proveFailing() || !slices.ContainsFunc(c.out, func(e Effect) bool { w, ok := e.(Watch); return ok && w.Bucket == c.watch[k].bucket }) {
			t.Errorf("watch %s: not made for a proof", w.tag)
		}
		id := w.id
		c.now += c.cfg.HeartbeatInterval
		if c.proveFailing(); w.id != id {
			t.Errorf("watch %s: made once more while that is under way", w.tag)
		}
		n.step(Watched{Watch: w.id, Synced: true})
		if !c.proveFailing() {
			t.Errorf("watch %s: fails although it was made", w.tag)
		}
		c.endDegraded()
		if only := k == watchBeats || k == watchStrays; only && w.wanted {
			t.Errorf("watch %s: goes on after its proof", w.tag)
		}
	}
}

// TestReconnectBeginsTheCountAnew: what failed before the connection was lost is not
// held against the next one.
func TestReconnectBeginsTheCountAnew(t *testing.T) {
	n := runningNode(t)
	c := n.core
	fail := func() {
		c.out = nil
		c.kv(KV{Verb: Get, Bucket: IDs, Key: "k"}, false, func(Done) {})
		n.step(Done{Op: c.lastOp, Err: Failed, Text: "no"})
	}
	for range 4 {
		fail()
	}
	n.step(Disconnected{})
	n.step(Connected{Server: "n1", Allowance: time.Second})
	if fail(); c.degraded.in {
		t.Error("degraded after one failure on a new connection")
	}
}

// TestNothingIsAskedOfNATSUncounted: the effects that ask something of the buckets
// are made in one place each, which feeds degraded mode with the answer.
func TestNothingIsAskedOfNATSUncounted(t *testing.T) {
	allowed := map[string]string{"KV": "kv", "Watch": "openWatch"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var where []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) != 1 {
					return true
				}
				if sel, ok := call.Fun.(*ast.SelectorExpr); !ok || sel.Sel.Name != "emit" {
					return true
				}
				kind := ""
				switch arg := call.Args[0].(type) {
				case *ast.CompositeLit:
					kind = arg.Type.(*ast.Ident).Name
				case *ast.Ident:
					if fn.Name.Name == "kv" || strings.Contains(arg.Name, "op") {
						kind = "KV"
					}
				}
				if fn.Name.Name == allowed[kind] {
					where = append(where, kind)
				} else if allowed[kind] != "" {
					t.Errorf("%s: %s emits a %s", f.Name(), fn.Name.Name, kind)
				}
				return true
			})
		}
	}
	slices.Sort(where)
	if want := []string{"KV", "Watch"}; !slices.Equal(where, want) {
		t.Errorf("found %v, want %v", where, want)
	}
}
