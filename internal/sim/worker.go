package sim

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// Worker is a process: a core and a model of the shell around it.
type Worker struct {
	world *World
	name  string
	host  int
	proc  core.Process
	cfg   core.Config
	core  *core.Core
	snap  core.Snapshot

	born      time.Duration
	ppm       int64 // how much faster its clock runs, in millionths
	allowance time.Duration
	server    string

	live    bool
	started bool // Start has returned
	stopped bool // asked to stop
	aborted bool // at once
	failed  bool // ended by itself
	onEnd   func()

	paused  bool
	goesOn  time.Duration
	backlog []core.Event
	ahead   time.Duration // by how much its clock has jumped

	behindTo, behindBy time.Duration // until then watches begin on a replica that is behind by so much

	wake    time.Duration
	wakeSet bool

	link     link
	presence presence
	watches  []*watch

	// What the shell does.
	running  map[string]core.Token // works on, what is being drained included
	void     map[string]bool       // of running: its lease ended, so that nothing comes of it
	current  *core.Apply
	next     *core.Apply
	drainMax time.Duration // of the time that giving up partitions takes
	drainTo  time.Duration // until when drainMax holds
	hang     time.Duration // until then drains do not end

	sourceBad, planBad time.Duration // until then calls fail
	agentFree          time.Duration // when the last call of the agent returns

	refreshes map[uint64]time.Duration // asked and not answered: by when
	lastCall  uint64

	// disturbed: until then faults explain what would be wrong without them;
	// troubled is since when.
	disturbed, troubled time.Duration
	gone                time.Duration // when it crashed or ended

	stopAt   time.Duration // when it was asked to stop
	stopWell bool          // when it was well
	cleanEnd bool          // and it did so in good order

	applySeq    uint64       // of the last Apply
	answeredSeq uint64       // of the last one that was answered
	state       core.State   // as the last StateChanged told
	degraded    int          // how often it became so
	trusted     string       // the id that it holds for its own
	released    string       // the id whose key it has deleted itself
	handed      []core.Owned // by the last Apply
}

// Spawn starts a process on a host and in it a worker.
func (w *World) Spawn(host int) *Worker { return w.SpawnWith(host, w.cfg) }

// SpawnWith starts a process on a host, and in it a worker with a configuration of
// its own.
func (w *World) SpawnWith(host int, cfg core.Config) *Worker {
	p := w.process(host, cfg)
	p.start()
	return p
}

// process makes a process with a core that has not started.
func (w *World) process(host int, cfg core.Config) *Worker {
	n := len(w.workers) + 1
	p := &Worker{
		world: w, name: fmt.Sprintf("p%d", n), host: host, born: w.now, live: true,
		proc:      core.Process{Boot: fmt.Sprintf("h%d", host), PIDNS: "1", PID: 1000 + n, Start: uint64(w.now) + 1},
		ppm:       w.rng.Int64N(20001) - 10000,
		allowance: w.between(500*time.Millisecond, 1500*time.Millisecond),
		server:    fmt.Sprintf("n%d", host%3),
		running:   map[string]core.Token{}, void: map[string]bool{}, refreshes: map[uint64]time.Duration{},
	}
	w.hosts = max(w.hosts, host)
	w.workers = append(w.workers, p)
	cfg.Host, cfg.Process = p.proc.Boot, p.proc
	cfg.Buckets = w.created()
	p.disturbed = w.lossShows
	p.cfg = cfg
	p.core = core.New(cfg)
	p.link.up = true
	w.trace.add(w.now, p.name, "starts on host %d, clock %+d ppm", host, p.ppm)
	p.step(p.connectedEvent())
	return p
}

// start starts the core.
func (p *Worker) start() {
	w := p.world
	if !p.live {
		return
	}
	// The wall clock may be off by anything.
	wall := uint64(1_700_000_000_000 + w.now/time.Millisecond + w.between(0, time.Hour)/time.Millisecond)
	p.step(core.Start{Nonce: p.nonce(), Seed: w.rng.Uint64(), Wall: wall})
}

func (p *Worker) connectedEvent() core.Event {
	return core.Connected{Server: p.server, Allowance: p.allowance}
}

// local is the time on the worker's own clock.
func (p *Worker) local() time.Duration {
	d := p.world.now - p.born
	return d + time.Duration(int64(d/1000)*p.ppm/1000) + p.ahead
}

// when is the time of the world at which the local clock shows t, or a little
// later.
func (p *Worker) when(t time.Duration) time.Duration {
	return p.born + time.Duration(int64((t-p.ahead)/1000)*1_000_000/(1_000_000+p.ppm)*1000) + 2*time.Microsecond
}

// tell hands an event to the core, now or when the process goes on.
func (p *Worker) tell(ev core.Event) {
	switch {
	case !p.live:
	case p.paused:
		p.backlog = append(p.backlog, ev)
	default:
		p.step(ev)
	}
}

// step lets the core decide, and performs what it decided.
func (p *Worker) step(ev core.Event) {
	w := p.world
	if !w.trace.off {
		w.trace.add(w.now, p.name, "<- %s", showEvent(ev))
	}
	if r, ok := ev.(core.Refresh); ok {
		w.after(p.cfg.MinRebalanceInterval+3*p.cfg.OperationTimeout+time.Second, func() { p.answered(r.ID) })
	}
	before := p.snap
	effects := p.core.Step(p.local(), ev)
	p.snap = p.core.Snapshot()
	w.seen.step(before.State, ev, len(effects))
	w.check.stepped(p, before)
	if w.cfg.Exclusive && p.local() >= p.snap.LeaseEnd { // contexts end, and do not begin again
		for id := range p.running {
			p.void[id] = true
		}
	}
	for _, e := range effects {
		p.perform(e)
	}
	if !p.live {
		return
	}
	at, ok := p.core.Wake()
	if !ok {
		return
	}
	if at = max(p.when(at), w.now+time.Microsecond); !p.wakeSet || at < p.wake {
		p.wake, p.wakeSet = at, true
		w.at(at, func() {
			if p.live && p.wakeSet && p.wake == at {
				p.wakeSet = false
				if !p.paused {
					p.step(core.Tick{})
				}
			}
		})
	}
}

// perform does what an effect asks for.
func (p *Worker) perform(e core.Effect) {
	w := p.world
	if !w.trace.off {
		if s := showEffect(e); s != "" {
			w.trace.add(w.now, p.name, "-> %s", s)
		}
	}
	p.attends(e)
	switch e := e.(type) {
	case core.KV:
		p.send(e)
	case core.Watch:
		p.openWatch(e)
	case core.Unwatch:
		for _, wt := range slices.Clone(p.watches) {
			if wt.id == e.ID {
				wt.end()
			}
		}
	case core.Rebind:
		w.after(w.hop()+w.hop(), func() {
			if p.link.up && !p.link.cut() && w.now >= w.kvDown {
				p.tell(core.Rebound{Created: w.created()})
			}
		})
	case core.Source:
		p.callSource(e)
	case core.Plan:
		p.callPlan(e)
	case core.Agent:
		w.agent.call(p, e)
	case core.Processes:
		w.after(w.between(0, 5*time.Millisecond), func() { p.tell(core.Done{Op: e.Op, Dead: w.deadProcesses(e.All)}) })
	case core.Apply:
		w.check.handed(p, e)
		p.next = &e
		if p.current == nil {
			p.applyNext()
		}
	case core.Started:
		p.started = true
	case core.StartFailed:
		p.failed = true
	case core.Refreshed:
		if _, asked := p.refreshes[e.ID]; !asked {
			w.check.fail("I12: %s answers refresh %d, which nobody waits for", p.name, e.ID)
		}
		delete(p.refreshes, e.ID)
	case core.StateChanged:
		w.check.changed(p, e)
	case core.Ended:
		if !p.live {
			w.check.fail("I13: %s ends twice", p.name)
			return
		}
		w.check.ended(p, e)
		p.cleanEnd = p.stopped && e.Fault == nil
		p.failed = p.failed || !p.stopped
		p.vanish()
		if p.onEnd != nil {
			p.onEnd()
		}
	case core.Measure:
		w.check.measured(p, e)
	default:
	}
}

// deadProcesses tells which processes do not run any more.
func (w *World) deadProcesses(all map[string]core.Process) []string {
	var dead []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		alive := slices.ContainsFunc(w.workers, func(p *Worker) bool { return p.live && p.proc == all[key] })
		if !alive {
			dead = append(dead, key)
		}
	}
	return dead
}

func (p *Worker) callSource(e core.Source) {
	w := p.world
	d := w.between(0, 20*time.Millisecond)
	if w.now < p.sourceBad {
		d = w.between(d, w.cfg.OperationTimeout)
		w.after(d, func() { p.tell(core.Done{Op: e.Op, Text: "source: out of order"}) })
		return
	}
	w.after(d/2, func() {
		list := w.list
		w.after(d/2, func() { p.tell(core.Done{Op: e.Op, List: list}) })
	})
}

func (p *Worker) callPlan(e core.Plan) {
	w := p.world
	if !slices.IsSorted(e.Workers) {
		w.check.fail("I7: %s plans for workers that are not sorted: %v", p.name, e.Workers)
	}
	w.check.asksPlan(p, e)
	w.after(w.between(0, 20*time.Millisecond), func() {
		if w.now < p.planBad {
			p.tell(core.Done{Op: e.Op, Text: "strategy: out of order"})
			return
		}
		owners := plan(e)
		w.check.planned(p, e, owners)
		p.tell(core.Done{Op: e.Op, Owners: owners})
	})
}

// applyNext puts the newest assignment into force: it stops taking work for what
// is not owned any more, begins what is new, and answers when what was in flight
// has ended. Assignments that come meanwhile wait, and only the last is applied.
func (p *Worker) applyNext() {
	w := p.world
	a := p.next
	p.current, p.next = a, nil
	owned := make(map[string]core.Token, len(a.Owned))
	for _, o := range a.Owned {
		owned[o.ID] = o.Token
	}
	var gone []string
	for _, id := range slices.Sorted(maps.Keys(p.running)) {
		if _, ok := owned[id]; !ok {
			gone = append(gone, id)
			w.check.givesUp(p, id)
		}
	}
	for _, o := range a.Owned {
		w.check.runs(p, o.ID, o.Token)
		p.running[o.ID] = o.Token
		delete(p.void, o.ID)
	}
	took := w.between(0, 5*time.Millisecond)
	if len(gone) > 0 {
		d := 100 * time.Millisecond
		if w.now < p.drainTo {
			d = p.drainMax
		}
		took = w.between(0, d)
		if w.now < p.hang {
			took = p.hang - w.now
		}
		if took > w.cfg.HandoffTimeout-time.Second {
			p.disturb(took)
		}
	}
	w.after(took, func() { p.applied(a, gone) })
}

func (p *Worker) applied(a *core.Apply, gone []string) {
	if !p.live {
		return
	}
	if p.paused { // the handlers stand still too
		p.world.at(p.goesOn+time.Millisecond, func() { p.applied(a, gone) })
		return
	}
	for _, id := range gone {
		delete(p.running, id)
		delete(p.void, id)
		p.world.check.stops(p, id)
	}
	p.current = nil
	p.answeredSeq = a.Seq
	p.tell(core.Applied{Seq: a.Seq})
	if p.live && p.current == nil && p.next != nil {
		p.applyNext()
	}
}

// Refresh asks for a new list.
func (p *Worker) Refresh() {
	w := p.world
	p.lastCall++
	id := p.lastCall
	p.refreshes[id] = w.now
	p.tell(core.Refresh{ID: id})
}
