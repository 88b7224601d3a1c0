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
