// Package sim runs a fleet of workers in simulated time: real cores, a store in
// memory, and a model of everything between them. One seed decides all that
// happens, so that a failure found once can be replayed as often as it takes to
// understand it. It is imported by tests only.
//
// A [World] holds the store, one queue of events ordered by time, and the
// workers. A [Worker] is a process: a core, and a model of the shell that
// performs its effects with drawn latencies over a link that can fail. The
// [Nemesis] draws faults. After every step the invariants of the design are
// checked against the truth, which the world knows and no worker does.
package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/kvtest"
)

// World is one simulated fleet. It is not safe for concurrent use.
type World struct {
	cfg   core.Config // of every worker; host and process are filled in
	rng   *rand.Rand
	now   time.Duration
	queue queue
	seq   uint64
	kv    *kvtest.Fake
	trace *Trace
	check *checker

	workers []*Worker // all that ever were, in order of birth
	watches [core.NumBuckets][]*watch
	past    [core.NumBuckets]history
	list    *core.List
	lists   map[string]*listed // by digest, all that ever were
	hosts   int
	first   int // workers at the beginning
	coming  int // processes about to be started
	// script, if not nil, says what happens to each operation.
	script func(p *Worker, op core.KV) fault
	calm   bool // no message suffers by itself
	turns  int  // events of the world
	seen   Coverage

	mixed bool // every process is configured a little differently

	jumped    time.Duration // by all clocks together
	lossShows time.Duration // until then the last loss of data may show
	faultsEnd time.Duration // when the last fault so far ends
	// kvDown: until then no operation on the store is answered.
	kvDown time.Duration
	// refusing: until then a bucket refuses every write.
	refusing [core.NumBuckets]time.Duration
	// staleTo: until then some reads are answered by who led the stream before.
	staleTo time.Duration
	// latency bounds the one way to the store.
	latency time.Duration
	agent   agentModel
}

// NewWorld returns a world without workers.
func NewWorld(cfg core.Config, seed uint64, partitions int) *World {
	w := &World{
		cfg:   cfg,
		rng:   rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)),
		kv:    kvtest.NewFake(int(core.NumBuckets)),
		trace: newTrace(),
		lists: map[string]*listed{},
		seen:  newCoverage(),
	}
	w.latency = 3 * time.Millisecond
	w.check = newChecker(w)
	ids := make([]string, partitions)
	weights := make([]int64, partitions)
	for i := range ids {
		ids[i], weights[i] = fmt.Sprintf("k%03d", i), 100
	}
	w.setList(ids, weights)
	return w
}

// listed is a list, and since when sources give it.
type listed struct {
	*core.List
	since time.Duration
}

// Now is the time since the world began.
func (w *World) Now() time.Duration { return w.now }

// event is something that happens at some time.
type event struct {
	at  time.Duration
	seq uint64
	fn  func()
}

type queue []*event

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*event)) }

func (q *queue) Pop() any {
	old := *q
	n := len(old) - 1
	e := old[n]
	old[n] = nil
	*q = old[:n]
	return e
}

// at has fn run at a time, after everything queued for that time before.
func (w *World) at(t time.Duration, fn func()) {
	w.seq++
	heap.Push(&w.queue, &event{at: max(t, w.now), seq: w.seq, fn: fn})
}

// after has fn run after a time.
func (w *World) after(d time.Duration, fn func()) { w.at(w.now+d, fn) }

// Run lets the world go on for d, or until an invariant is broken.
func (w *World) Run(d time.Duration) {
	end := w.now + d
	for len(w.queue) > 0 && w.queue[0].at <= end && w.check.err == nil {
		e := heap.Pop(&w.queue).(*event)
		w.now = e.at
		e.fn()
		w.turns++
		w.check.step()
	}
	if w.check.err == nil {
		w.now = end
	}
}

// RunUntil lets the world go on until done reports that it is, asked every step
// of time; it returns false when that takes longer than limit.
func (w *World) RunUntil(limit, step time.Duration, done func() bool) bool {
	for end := w.now + limit; w.now < end && w.check.err == nil; {
		if done() {
			return true
		}
		w.Run(step)
	}
	return w.check.err == nil && done()
}

// Err is the first broken invariant, or nil.
func (w *World) Err() error { return w.check.err }

// between draws a time in [lo, hi).
func (w *World) between(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(w.rng.Int64N(int64(hi-lo)))
}

// chance is true with probability p.
func (w *World) chance(p float64) bool { return w.rng.Float64() < p }

// hop draws the time that a message takes one way.
func (w *World) hop() time.Duration {
	d := w.between(200*time.Microsecond, w.latency)
	if w.chance(0.01) {
		d += w.between(0, 50*time.Millisecond)
	}
	return d
}

// Live returns the workers whose process runs, in order of birth.
func (w *World) Live() []*Worker {
	var out []*Worker
	for _, p := range w.workers {
		if p.live {
			out = append(out, p)
		}
	}
	return out
}

// setList changes what every source lists.
func (w *World) setList(ids []string, weights []int64) {
	w.list = newList(ids, weights)
	if w.lists[w.list.Digest] == nil {
		w.lists[w.list.Digest] = &listed{w.list, w.now}
	}
	w.trace.add(w.now, "world", "source lists %d partitions, digest %s", len(ids), w.list.Digest)
}
