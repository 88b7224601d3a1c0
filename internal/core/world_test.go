package core

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
)

// world holds cores, a store in memory and virtual time, and plays the shell of
// each core: every operation is performed when it is asked for and answered a
// millisecond later, unless a script says otherwise.
type world struct {
	now   time.Duration
	seq   int
	queue []happening
	kv    *kvtest.Fake
	nodes []*node
	list  *List
	trace strings.Builder
	shows map[string]bool
	used  map[string]bool // partitions that ever ran
	// maxPayload is the server's limit; 0 = not known.
	maxPayload int
	// created are the first buckets' creation times; saved is what to roll back to.
	created [NumBuckets]string
	saved   kvtest.Snapshot

	probing probing
}

// happening is something that comes at a time.
type happening struct {
	at  time.Duration
	seq int
	do  func()
}

// node is a core and its shell.
type node struct {
	w    *world
	name string
	core *Core

	dead, paused bool
	inbox        []Event // while paused
	up, silent   bool    // connection; silent: up as it seems, but nothing passes
	server       string
	faults       []*fault
	held         []func() // operations to be performed late
	watches      map[WatchID]*kvtest.FakeWatch
	filters      map[WatchID]string

	list       *List // nil = the world's
	sourceBad  bool
	planBad    bool
	planSlow   bool // plans are kept until "plans"
	plans      []Plan
	agent      string // yes, no, error, hold
	agentAsked []Agent
	proved     []string // keys of processes to be proved dead

	holdApply bool
	applying  *Apply
	next      *Apply
	running   map[string]Token
	ended     bool

	present
}

// fault is what becomes of the next operations that match.
type fault struct {
	pattern string
	mode    string // fail, lost, unsent, late, slow, hold
	count   int    // -1 = until cleared
}

const latency = time.Millisecond

func testConfig() Config {
	return Config{
		Group: "g", Prefix: "w", IDMin: 0, IDMax: 9,
		IDTTL: 30 * time.Second, HeartbeatInterval: 2 * time.Second, HeartbeatTTL: 6 * time.Second,
		ColdStartWindow: 30 * time.Second, ColdStartSettle: 2 * time.Second, PlannedScaleWindow: 10 * time.Second,
		EmergencyGracePeriod: 1500 * time.Millisecond, RestartRatio: 0.5,
		OperationTimeout: 10 * time.Second, ElectionTimeout: 5 * time.Second, StartupTimeout: 30 * time.Second,
		ShutdownTimeout: 10 * time.Second, HandoffTimeout: 10 * time.Second,
		Capacity: 1, MinRebalanceThreshold: 0.15, MinRebalanceInterval: 10 * time.Second, PayloadTTL: time.Hour,
		EnterThreshold: 10 * time.Second, ExitThreshold: 5 * time.Second,
		KVErrorThreshold: 5, KVErrorWindow: 30 * time.Second, RecoveryGracePeriod: 30 * time.Second,
		AlertThresholds: [5]time.Duration{0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute},
		AlertInterval:   30 * time.Second,
		Buckets:         [NumBuckets]string{"t1", "t2", "t3", "t4"},
	}
}

func newWorld() *world {
	w := &world{kv: kvtest.NewFake(int(NumBuckets)), shows: map[string]bool{}, used: map[string]bool{}}
	w.list = testList("p1", "p2", "p3", "p4")
	for b := range w.created {
		w.created[b] = w.kv.Created(b)
	}
	return w
}

// testList makes a list of partitions written as id or id:weight.
func testList(specs ...string) *List {
	l := &List{}
	for _, s := range specs {
		id, weight, ok := strings.Cut(s, ":")
		n := int64(100)
		if ok {
			v, err := strconv.ParseInt(weight, 10, 64)
			if err != nil {
				panic(err)
			}
			n = v
		}
		l.IDs, l.Weights = append(l.IDs, id), append(l.Weights, n)
	}
	ids, all := slices.Clone(l.IDs), slices.Clone(specs)
	slices.Sort(ids)
	slices.Sort(all)
	l.IDDigest = digest([]byte(strings.Join(ids, " "))).String()
	l.Digest = digest([]byte(strings.Join(all, " "))).String()
	return l
}

func (w *world) add(name string, cfg Config) *node {
	n := &node{
		w: w, name: name, core: New(cfg), up: true, server: "n1", agent: "yes", running: map[string]Token{},
		watches: map[WatchID]*kvtest.FakeWatch{}, filters: map[WatchID]string{},
	}
	w.nodes = append(w.nodes, n)
	return n
}

func (w *world) node(name string) *node {
	for _, n := range slices.Backward(w.nodes) {
		if n.name == name {
			return n
		}
	}
	panic("no node " + name)
}

func (w *world) at(t time.Duration, do func()) {
	w.seq++
	w.queue = append(w.queue, happening{max(t, w.now), w.seq, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// run lets time pass.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for range 1_000_000 {
		at, do := w.first()
		if at > end {
			w.now = end
			return
		}
		w.now = at
		do()
	}
	panic("the world does not come to rest")
}

// first returns what comes next: something queued, or the timer of a core.
func (w *world) first() (time.Duration, func()) {
	best, do, idx := never, func() {}, -1
	for i, h := range w.queue {
		if h.at < best || idx >= 0 && h.at == best && h.seq < w.queue[idx].seq {
			best, idx = h.at, i
		}
	}
	if idx >= 0 {
		do = func() {
			h := w.queue[idx]
			w.queue = slices.Delete(w.queue, idx, idx+1)
			h.do()
		}
	}
	for _, n := range w.nodes {
		if n.dead || n.ended || n.paused {
			continue
		}
		if at, ok := n.core.Wake(); ok && max(at, w.now) < best {
			best, do = max(at, w.now), func() { n.step(Tick{}) }
		}
	}
	return best, do
}

// tell hands an event to a core, or keeps it while the process is paused.
func (n *node) tell(ev Event) {
	switch {
	case n.dead, n.ended:
	case n.paused:
		n.inbox = append(n.inbox, ev)
	default:
		n.step(ev)
	}
}

func (n *node) step(ev Event) {
	for _, e := range n.core.Step(n.w.now, ev) {
		n.perform(e)
	}
}

func (n *node) resume() {
	n.paused = false
	for _, ev := range n.inbox {
		n.tell(ev)
	}
	n.inbox = nil
	n.tell(Tick{})
}

func (n *node) perform(e Effect) {
	w := n.w
	if s := render(e); s != "" {
		w.say(e, n.name, s)
	}
	n.attends(e)
	switch e := e.(type) {
	case KV:
		n.operate(e)
	case Watch:
		if n.fault("watch "+strings.TrimPrefix(e.Filter, "g.")) != "" {
			w.after(latency, func() { n.tell(WatchLost{Watch: e.ID, Err: Failed, Text: "refused"}) })
			return
		}
		n.watches[e.ID] = w.kv.Watch(int(e.Bucket), e.Filter)
		n.filters[e.ID] = e.Filter
		n.collect()
	case Unwatch:
		if fw := n.watches[e.ID]; fw != nil {
			fw.Stop()
		}
		delete(n.watches, e.ID)
	case Rebind:
		w.after(latency, func() {
			ev := Rebound{Created: testConfig().Buckets}
			for b := range ev.Created {
				if now := w.kv.Created(b); now != w.created[b] {
					ev.Created[b] = now
				}
			}
			n.tell(ev)
		})
	case Source:
		w.after(latency, func() {
			if n.sourceBad {
				n.tell(Done{Op: e.Op, Text: "source is broken"})
				return
			}
			n.tell(Done{Op: e.Op, List: cmp.Or(n.list, w.list)})
		})
	case Plan:
		if n.planSlow {
			n.plans = append(n.plans, e)
			return
		}
		w.after(latency, func() {
			if n.planBad {
				n.tell(Done{Op: e.Op, Text: "strategy is broken"})
				return
			}
			n.tell(Done{Op: e.Op, Owners: balance(e)})
		})
	case Agent:
		n.askAgent(e)
	case Processes:
		w.after(latency, func() { n.tell(Done{Op: e.Op, Dead: n.proved}) })
	case Apply:
		n.next = &e
		n.apply()
	case Ended:
		n.ended = true
		clear(n.running)
	default:
	}
}

func (n *node) askAgent(e Agent) {
	switch n.agent {
	case "hold":
		n.agentAsked = append(n.agentAsked, e)
	case "error":
		n.w.after(latency, func() { n.tell(Done{Op: e.Op, Text: "agent is broken"}) })
	default:
		yes := n.agent == "yes"
		n.w.after(latency, func() { n.tell(Done{Op: e.Op, Yes: yes}) })
	}
}

// apply puts the next assignment into force: what is gained runs at once, what
// is given up runs until it is answered.
func (n *node) apply() {
	if n.applying != nil || n.next == nil {
		return
	}
	n.applying, n.next = n.next, nil
	for _, o := range n.applying.Owned {
		n.running[o.ID] = o.Token
		n.w.used[o.ID] = true
		n.w.checkOverlap(o.ID)
	}
	if !n.holdApply {
		n.w.after(latency, n.finish)
	}
}

// finish answers the assignment in work.
func (n *node) finish() {
	a := n.applying
	if a == nil || n.dead || n.ended {
		return
	}
	n.applying = nil
	for id := range n.running {
		if !slices.ContainsFunc(a.Owned, func(o Owned) bool { return o.ID == id }) {
			delete(n.running, id)
		}
	}
	n.tell(Applied{Seq: a.Seq})
	n.apply()
}

// checkOverlap says when two workers run a partition at the same time.
func (w *world) checkOverlap(id string) {
	var who []string
	for _, n := range w.nodes {
		if _, runs := n.running[id]; runs && !n.dead && !n.ended && n.lease() {
			who = append(who, n.name)
		}
	}
	if len(who) > 1 {
		w.printf("--", "%s runs at %s", id, strings.Join(who, " and "))
	}
}

// lease tells whether the shell would dispatch work.
func (n *node) lease() bool {
	end := n.core.Snapshot().LeaseEnd
	return end == 0 || n.w.now < end
}

// operate performs an operation, or has it go wrong.
func (n *node) operate(e KV) {
	w := n.w
	answer := func(after time.Duration, d Done) *Done {
		d.Op = e.Op
		w.after(after, func() {
			if !n.dead && !n.ended {
				w.say(e, n.name, renderDone(e, d))
			}
			n.tell(d)
		})
		return &d
	}
	// The answer comes before what watches see.
	execute := func() { w.execute(e, answer(latency, Done{})) }
	mode := n.fault(verbNames[e.Verb] + " " + strings.TrimPrefix(e.Key, "g."))
	switch {
	case !n.up:
		answer(0, Done{Err: Down, Text: "down"})
	case n.silent, mode == "unsent":
		answer(e.Timeout, Done{Err: Ambiguous, Text: "no answer"})
	case mode == "lost":
		w.execute(e, &Done{})
		answer(e.Timeout, Done{Err: Ambiguous, Text: "no answer"})
	case mode == "late":
		n.held = append(n.held, func() {
			var d Done
			w.execute(e, &d)
			w.say(e, n.name, renderDone(e, d)+" (late)")
		})
		answer(e.Timeout, Done{Err: Ambiguous, Text: "no answer"})
	case mode == "slow":
		var d Done
		w.execute(e, &d)
		n.held = append(n.held, func() { answer(latency, d) })
	case mode == "hold":
		n.held = append(n.held, execute)
	case mode == "fail":
		answer(latency, Done{Err: Failed, Text: "refused"})
	default:
		execute()
	}
}

// fault returns what is to go wrong with the next "verb key" or "watch filter",
// both without the group; patterns may have wildcards.
func (n *node) fault(what string) string {
	for _, f := range n.faults {
		if ok, err := path.Match(f.pattern, what); err == nil && ok && f.count != 0 {
			f.count--
			return f.mode
		}
	}
	return ""
}

func (w *world) execute(e KV, d *Done) {
	var err error
	b := int(e.Bucket)
	switch e.Verb {
	case Get:
		var v natskv.Entry
		v, err = w.kv.Get(b, e.Key)
		d.Rev, d.Val = v.Rev, v.Val
	case Create:
		d.Rev, err = w.kv.Create(b, e.Key, e.Val)
	case Update:
		d.Rev, err = w.kv.Update(b, e.Key, e.Val, e.Rev)
	case Delete:
		err = w.kv.Delete(b, e.Key, e.Rev)
	}
	switch {
	case err == nil:
	case errors.Is(err, natskv.ErrConflict):
		d.Err = Conflict
	case errors.Is(err, natskv.ErrNotFound):
		d.Err = NotFound
	default:
		d.Err, d.Text = Failed, err.Error()
	}
	w.wakeWatches()
}

// wakeWatches has every watch see the present state, a little later.
func (w *world) wakeWatches() {
	for _, n := range w.nodes {
		n.collect()
	}
}

// collect takes what the watches of a node see now; the node is told later.
func (n *node) collect() {
	if n.dead || n.ended || !n.up || n.silent {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(n.watches)) {
		for fw := n.watches[id]; fw != nil; {
			ev, ok := fw.Next()
			if !ok {
				break
			}
			if ev.Lost {
				delete(n.watches, id)
				n.w.after(latency, func() { n.tell(WatchLost{Watch: id}) })
				break
			}
			n.w.after(latency, func() {
				n.tell(Watched{Watch: id, Key: ev.Key, Val: ev.Val, Rev: ev.Rev, Deleted: ev.Deleted, Synced: ev.Synced})
			})
		}
	}
}

// balance is a strategy that keeps what it can: partitions stay with their owner
// up to an equal share, and go to the least loaded worker otherwise.
func balance(p Plan) []int32 {
	index := map[string]int32{}
	for i, w := range p.Workers {
		index[w] = int32(i)
	}
	share := (len(p.List.IDs) + len(p.Workers) - 1) / len(p.Workers)
	count := make([]int, len(p.Workers))
	out := make([]int32, len(p.List.IDs))
	for i := range out {
		out[i] = -1
		if p.PrevOwner == nil || p.PrevOwner[i] < 0 {
			continue
		}
		if o, ok := index[p.PrevWorkers[p.PrevOwner[i]]]; ok && count[o] < share {
			out[i] = o
			count[o]++
		}
	}
	for i := range out {
		if out[i] < 0 {
			best := 0
			for k, n := range count {
				if n < count[best] {
					best = k
				}
			}
			out[i] = int32(best)
			count[best]++
		}
	}
	return out
}

func (w *world) printf(who, format string, args ...any) {
	fmt.Fprintf(&w.trace, "%9.3f %-2s %s\n", w.now.Seconds(), who, fmt.Sprintf(format, args...))
}
