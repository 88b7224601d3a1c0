package parti_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// works watches the calls of Run over a whole fleet.
type works struct {
	mu       sync.Mutex
	active   map[string]*runWorker  // who works on a partition
	newest   map[string]parti.Token // the highest token seen of it
	overlaps []string
	bad      []string
	moved    int // calls that began after another worker's
	last     map[string]*runWorker
}

// runWorker is a worker that works by Run.
type runWorker struct {
	*worker
	works  *works
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	linger func() time.Duration // how long calls go on after their contexts ended
	live   bool                 // counts as a process that runs: its calls overlap with others
}

func newWorks() *works {
	return &works{active: map[string]*runWorker{}, newest: map[string]parti.Token{}, last: map[string]*runWorker{}}
}

// start begins Run on workers and waits until they own their shares.
func (c *works) start(t *testing.T, ws ...*worker) []*runWorker {
	t.Helper()
	rs := make([]*runWorker, len(ws))
	for i, w := range ws {
		rs[i] = c.begin(t, w)
	}
	for _, w := range ws {
		if err := w.WaitState(t.Context(), parti.StateStable); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait()
	return rs
}

func (c *works) begin(t *testing.T, w *worker) *runWorker {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &runWorker{worker: w, works: c, cancel: cancel, ended: make(chan error, 1), live: true}
	go func() { r.ended <- w.Run(ctx, r.work) }()
	return r
}

func (w *runWorker) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	if err := <-w.ended; err != nil {
		t.Errorf("run: %v", err)
	}
}

// after lets calls go on for a while after their contexts ended.
func (w *runWorker) after(linger func() time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.linger = linger
}

// kill cuts a worker off for good; what it still does counts for nothing, as in a
// process that is gone.
func (w *runWorker) kill() {
	w.link.Cut()
	w.works.mu.Lock()
	defer w.works.mu.Unlock()
	w.live = false
	for id, by := range w.works.active {
		if by == w {
			delete(w.works.active, id)
		}
	}
}

func (w *runWorker) work(ctx context.Context, p parti.Partition, tok parti.Token) error {
	if !w.works.enter(ctx, w, p.ID(), tok) {
		<-ctx.Done()
		return ctx.Err()
	}
	<-ctx.Done()
	w.mu.Lock()
	linger := w.linger
	w.mu.Unlock()
	if linger != nil {
		time.Sleep(linger())
	}
	w.works.leave(w, p.ID())
	return ctx.Err()
}

func (c *works) enter(ctx context.Context, w *runWorker, id string, tok parti.Token) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !w.live {
		return false
	}
	if by := c.active[id]; by != nil {
		c.overlaps = append(c.overlaps, fmt.Sprintf("%s begins %s while %s works on it", w.WorkerID(), id, by.WorkerID()))
	}
	if last := c.newest[id]; !last.Less(tok) {
		c.bad = append(c.bad, fmt.Sprintf("%s begins %s with %v after %v", w.WorkerID(), id, tok, last))
	}
	if u, ok := parti.TokenFromContext(ctx); !ok || u != tok {
		c.bad = append(c.bad, fmt.Sprintf("%s has %v in the context, %v was given", w.WorkerID(), u, tok))
	}
	if last := c.last[id]; last != nil && last != w {
		c.moved++
	}
	c.active[id], c.newest[id], c.last[id] = w, tok, w
	return true
}

func (c *works) leave(w *runWorker, id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.active[id] == w {
		delete(c.active, id)
	}
}

// overlapped returns the overlaps since the last call.
func (c *works) overlapped() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.overlaps
	c.overlaps = nil
	return lines
}

func (c *works) moves() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved
}

// workedOn returns how many partitions a worker works on.
func (c *works) workedOn(w *runWorker) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, by := range c.active {
		if by == w {
			n++
		}
	}
	return n
}

// check fails unless every partition is worked on by its owner under its token,
// and nobody ever began while somebody else worked.
func (c *works) check(t *testing.T, parts []parti.Partition, ws ...*runWorker) {
	t.Helper()
	managers := make([]*worker, len(ws))
	for i, w := range ws {
		managers[i] = w.worker
	}
	check(t, len(parts), managers...)
	for _, line := range c.overlapped() {
		t.Error(line)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.bad {
		t.Error(line)
	}
	for _, p := range parts {
		for _, w := range ws {
			if tok, ok := w.Owns(p); ok && (c.active[p.ID()] != w || c.newest[p.ID()] != tok) {
				t.Errorf("%s owns %s under %v and does not work on it; the newest call has %v", w.WorkerID(), p, tok, c.newest[p.ID()])
			}
		}
	}
}

var runConfig = parti.Config{
	PlannedScaleWindow: time.Second, HandoffTimeout: 5 * time.Second,
	Assignment: parti.AssignmentConfig{MinRebalanceInterval: 500 * time.Millisecond},
}

func quick(d time.Duration) func() time.Duration {
	return func() time.Duration { return rand.N(d) }
}

// TestRunHandsOver: workers join and leave while calls take up to 3 s to end, and
// while partitions drain everything is planned again, several times; the leader is
// killed in the middle of handoffs.
func TestRunHandsOver(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				cfg := runConfig
				cfg.Ownership = mode
				parts := fleettest.Numbered(60)
				src := source.NewStatic(parts)
				c := newWorks()
				slow := func(ws []*runWorker) []*runWorker {
					for _, w := range ws {
						w.after(quick(3 * time.Second))
					}
					return ws
				}
				ws := slow(c.start(t, newWorkers(t, srv, 3, cfg, src)...))
				time.Sleep(30 * time.Second)
				c.check(t, parts, ws...)
				for range 3 {
					// One joins; another while the first one's partitions drain.
					for range 2 {
						ws = append(ws, slow(c.start(t, newWorkers(t, srv, 1, cfg, src)...))...)
					}
					time.Sleep(1300 * time.Millisecond)
					// The leader is killed in the middle of it.
					i := slices.IndexFunc(ws, func(w *runWorker) bool { return w.IsLeader() })
					ws[i].kill()
					ws = slices.Delete(ws, i, i+1)
					time.Sleep(time.Minute)
					c.check(t, parts, ws...)
					ws[0].stop(t)
					ws = ws[1:]
					time.Sleep(time.Minute)
					c.check(t, parts, ws...)
				}
				if n := c.moves(); n < 60 {
					t.Errorf("%d moves", n)
				}
				for _, w := range ws {
					w.stop(t)
				}
			})
		})
	}
}

// TestRunWhileTheOwnerDrains: a worker joins, and while a follower's calls on what
// it is to get have not returned yet, something happens.
func TestRunWhileTheOwnerDrains(t *testing.T) {
	type scene struct {
		t      *testing.T
		srv    *partitest.Server
		cfg    parti.Config
		src    *source.Static
		works  *works
		leader *runWorker
		giver  *runWorker // its calls drain
		taker  *runWorker
	}
	const hangs = 30 * time.Second
	for name, strike := range map[string]func(s scene) (rest []*runWorker){
		"it dies": func(s scene) []*runWorker {
			s.giver.kill()
			return []*runWorker{s.leader, s.taker}
		},
		"the leader dies": func(s scene) []*runWorker {
			s.leader.kill()
			return []*runWorker{s.giver, s.taker}
		},
		"its connection blinks": func(s scene) []*runWorker {
			s.giver.link.Cut()
			time.Sleep(300 * time.Millisecond)
			s.giver.link.Heal()
			return []*runWorker{s.leader, s.giver, s.taker}
		},
		"it ends, and its id comes back": func(s scene) []*runWorker {
			id := s.giver.WorkerID()
			s.giver.stop(s.t)
			again := s.works.start(s.t, newWorker(s.t, s.srv, s.cfg, s.src))[0]
			if again.WorkerID() != id {
				s.t.Errorf("%s came back as %s", id, again.WorkerID())
			}
			return []*runWorker{s.leader, again, s.taker}
		},
		"the taker ends": func(s scene) []*runWorker {
			s.taker.stop(s.t)
			return []*runWorker{s.leader, s.giver}
		},
		"the taker dies": func(s scene) []*runWorker {
			s.taker.kill()
			return []*runWorker{s.leader, s.giver}
		},
		"another one joins": func(s scene) []*runWorker {
			return append(s.works.start(s.t, newWorker(s.t, s.srv, s.cfg, s.src)), s.leader, s.giver, s.taker)
		},
		"it hangs": func(s scene) []*runWorker {
			s.giver.after(func() time.Duration { return hangs })
			time.Sleep(20 * time.Second)
			synctest.Wait()
			overlaps := s.works.overlapped()
			if forced := s.cfg.Ownership == parti.OwnershipAvailable; forced != (len(overlaps) > 0) {
				s.t.Errorf("%d overlaps", len(overlaps))
			}
			if !s.leader.reported(parti.ErrHandoffForced) || !s.giver.reported(parti.ErrRunLate) {
				s.t.Errorf("the leader reported %v, the giver %v", s.leader.errors(), s.giver.errors())
			}
			return []*runWorker{s.leader, s.giver, s.taker}
		},
	} {
		for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
					cfg := runConfig
					cfg.Ownership = mode
					parts := fleettest.Numbered(60)
					s := scene{t: t, srv: srv, cfg: cfg, src: source.NewStatic(parts), works: newWorks()}
					for _, w := range s.works.start(t, newWorkers(t, srv, 2, cfg, s.src)...) {
						if w.IsLeader() {
							s.leader = w
						} else {
							s.giver = w
						}
					}
					time.Sleep(30 * time.Second)
					s.works.check(t, parts, s.leader, s.giver)
					var lingering atomic.Int32
					s.giver.after(func() time.Duration { lingering.Add(1); return 2 * time.Second })
					if name == "it hangs" {
						s.giver.after(func() time.Duration { lingering.Add(1); return hangs })
					}
					s.taker = s.works.begin(t, newWorker(t, srv, cfg, s.src))
					until(time.Minute, func() bool { return lingering.Load() > 0 })
					if lingering.Load() == 0 {
						t.Fatal("nothing drains")
					}
					rest := strike(s)
					time.Sleep(2 * time.Minute)
					s.works.check(t, parts, rest...)
					s.giver.after(nil)
				})
			})
		}
	}
}

// overlapCount counts overlaps as the metric does.
type overlapCount struct {
	parti.NopMetrics
	n atomic.Int64
}

func (c *overlapCount) AddOverlaps(n int) { c.n.Add(int64(n)) }

// TestOverlapsAreCounted: an available worker that is cut off works on, others
// get what it has, and it counts that when it is back. One that is not replaced
// meanwhile has nothing to count, nor has an exclusive one.
func TestOverlapsAreCounted(t *testing.T) {
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				cfg := runConfig
				cfg.Ownership = mode
				parts := fleettest.Numbered(30)
				c, counted := newWorks(), &overlapCount{}
				var ws []*worker
				for range 3 {
					ws = append(ws, newWorker(t, srv, cfg, source.NewStatic(parts), parti.WithMetrics(counted)))
				}
				rs := c.start(t, ws...)
				time.Sleep(30 * time.Second)
				cut := rs[slices.IndexFunc(rs, func(w *runWorker) bool { return !w.IsLeader() })]
				for _, d := range []time.Duration{500 * time.Millisecond, 20 * time.Second} {
					had := int64(c.workedOn(cut))
					cut.link.Blackhole()
					time.Sleep(d)
					cut.link.Heal()
					time.Sleep(time.Minute)
					if mode == parti.OwnershipExclusive || d < time.Second {
						had = 0
					}
					if n := counted.n.Load(); n != had || int64(len(c.overlapped())) < had {
						t.Errorf("cut off for %v: %d overlaps counted, want %d", d, n, had)
					}
				}
				c.check(t, parts, rs...)
			})
		})
	}
}

// TestRunEndsWithTheLease: the contexts of an exclusive worker's calls end when it
// is cut off for its lease, before anybody else begins.
func TestRunEndsWithTheLease(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := runConfig
		cfg.Ownership = parti.OwnershipExclusive
		parts := fleettest.Numbered(30)
		c := newWorks()
		ws := c.start(t, newWorkers(t, srv, 3, cfg, source.NewStatic(parts))...)
		time.Sleep(30 * time.Second)
		for range 3 {
			c.check(t, parts, ws...)
			i := slices.IndexFunc(ws, func(w *runWorker) bool { return !w.IsLeader() })
			cut := ws[i]
			cut.link.Blackhole()
			took := until(20*time.Second, func() bool { return c.workedOn(cut) == 0 })
			if took > 6*time.Second {
				t.Errorf("it worked for %v after it was cut off", took)
			}
			time.Sleep(20 * time.Second)
			c.check(t, parts, slices.Concat(ws[:i], ws[i+1:])...)
			cut.link.Heal()
			time.Sleep(time.Minute)
		}
		c.check(t, parts, ws...)
	})
}
