package parti

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/arloliu/parti/internal/core"
)

// work is what Run was given.
type work struct {
	ctx context.Context // its values only
	f   func(ctx context.Context, p Partition, t Token) error
}

// runner keeps one call of Run's function going for each partition that the
// view shows, with the token that it shows. Two tell it that the view has
// changed: the loop, so that a call's context ends as soon as its partition is
// lost, and the applier, whose turn it is when partitions are gained, and which
// waits for the calls that were ended before it acknowledges.
type runner struct {
	owner  *Manager
	view   func() *view
	users  *tasks
	report func(error)
	late   time.Duration // how long a call may go on after its context ended

	mu      sync.Mutex
	work    *work // nil: nothing is called
	over    bool
	slots   map[string]*slot // by id, those included whose call still has to return
	changed chan struct{}    // closed when a slot goes; nil while nobody waits
}

// slot is the work on one partition: a goroutine that lives from its grant until
// the last call has returned. A partition never has two.
type slot struct {
	id        string
	partition Partition

	// Guarded by runner.mu.
	grant    *grant      // nil when nothing is owned any more
	calling  *grant      // of the call that runs
	overtime *time.Timer // reports that it goes on without a grant
	detached bool        // it waits for Stop, and is not waited for
}

// grant is the right to work on a partition under one token. Its context ends
// when it is not the grant of its slot any more.
type grant struct {
	token Token
	ctx   context.Context
	end   context.CancelFunc
}

func newRunner(m *Manager, users *tasks, report func(error)) *runner {
	return &runner{
		owner: m, view: m.board.load, users: users, report: report, late: m.cfg.HandoffTimeout,
		slots: make(map[string]*slot),
	}
}

// begin has w called for what is owned, from now on.
func (r *runner) begin(w *work) {
	r.mu.Lock()
	r.work = w
	r.mu.Unlock()
	r.sync()
}

// sync follows the view; it does not block.
func (r *runner) sync() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.work == nil || r.over {
		return
	}
	held := r.view().held // read under mu: the newest view is followed last
	for _, s := range r.slots {
		if i, ok := held.find(s.id); !ok || s.grant != nil && core.Token(s.grant.token) != held.owned[i].Token {
			r.revoke(s)
		}
	}
	for _, o := range held.owned {
		s := r.slots[o.ID]
		if s == nil {
			s = &slot{id: o.ID}
			r.slots[o.ID] = s
			r.users.start(callName(s.id), func() { r.keep(s) })
		}
		if s.partition.Keys == nil || s.partition.Weight != o.Weight {
			s.partition = partitionOf(o)
		}
		if s.grant == nil {
			s.grant = r.newGrant(s, Token(o.Token))
		}
	}
}

// callName names the work on a partition in errors of Stop.
func callName(id string) string { return "Run on " + id }

func (r *runner) newGrant(s *slot, t Token) *grant {
	ctx := context.WithValue(context.WithoutCancel(r.work.ctx), tokenKey{}, t)
	ctx = context.WithValue(ctx, slotKey{r}, s)
	ctx = context.WithValue(ctx, ownerKey{}, r.owner)
	g := &grant{token: t}
	g.ctx, g.end = context.WithCancel(ctx)
	return g
}

// slotKey's value is the slot whose call a context was given to.
type slotKey struct{ r *runner }

// revoke ends what is granted to a slot.
func (r *runner) revoke(s *slot) {
	g := s.grant
	if g == nil {
		return
	}
	s.grant = nil
	g.end()
	if s.calling == g {
		p := s.partition
		s.overtime = time.AfterFunc(r.late, func() { r.report(&RunError{Partition: p, Token: g.token, Err: ErrRunLate}) })
	}
}

// endAll ends every grant, for good.
func (r *runner) endAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	for _, s := range r.slots {
		r.revoke(s)
	}
}

// leaving counts the calls that go on for partitions which are not owned any
// more. changed is closed when one of them has returned.
func (r *runner) leaving() (n int, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.slots {
		if s.grant == nil && !s.detached {
			n++
		}
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return n, r.changed
}

// dontWaitFor is called when the call that ctx was given to has called Stop: it
// counts as returned from now on. It returns the name of the call, or "" if ctx
// belongs to none.
func (r *runner) dontWaitFor(ctx context.Context) string {
	s, ok := ctx.Value(slotKey{r}).(*slot)
	if !ok {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.detached = true
	r.wake()
	return callName(s.id)
}

func (r *runner) wake() {
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// keep works under one grant of a slot after the other.
func (r *runner) keep(s *slot) {
	for {
		g, p := r.take(s)
		if g == nil {
			return
		}
		r.serve(s, g, p)
		<-g.ctx.Done() // work that has returned nil is done
	}
}

// take returns the grant of a slot, and ends the slot when there is none.
func (r *runner) take(s *slot) (*grant, Partition) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.grant == nil {
		delete(r.slots, s.id)
		r.wake()
	}
	return s.grant, s.partition
}

// serve calls the function until it returns nil, or the grant ends.
func (r *runner) serve(s *slot, g *grant, p Partition) {
	for wait := firstRetry; g.ctx.Err() == nil; wait = min(2*wait, lastRetry) {
		// The lease may have ended, and the loop not know it yet.
		if t, ok := r.view().owns(p); ok && t == g.token && r.enter(s, g) {
			began := time.Now()
			err := protect("Run", func() error { return r.work.f(g.ctx, p, g.token) })
			r.leave(s)
			ended := g.ctx.Err()
			if err != nil && (ended == nil || !errors.Is(err, ended)) {
				r.report(&RunError{Partition: p, Token: g.token, Err: err})
			}
			if err == nil {
				return
			}
			if time.Since(began) >= lastRetry {
				wait = firstRetry
			}
		}
		rest := time.NewTimer(wait/2 + rand.N(wait)) // jitter needs no secrecy
		select {
		case <-rest.C:
		case <-g.ctx.Done():
			rest.Stop()
		}
	}
}

// enter notes that a call begins; false means that the grant has just ended.
func (r *runner) enter(s *slot, g *grant) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.grant != g {
		return false
	}
	s.calling = g
	return true
}

// leave notes that the call has returned.
func (r *runner) leave(s *slot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.calling = nil
	if s.overtime != nil {
		s.overtime.Stop()
		s.overtime = nil
	}
}
