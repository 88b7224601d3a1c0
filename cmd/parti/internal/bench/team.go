package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// profile is a configuration under which fleets are measured.
type profile struct {
	name    string // "" is the default configuration
	config  parti.Config
	connect connect
}

// settings are the profile's configuration with all defaults.
func (p profile) settings() parti.Config {
	c := p.config
	parti.SetDefaults(&c)
	return c
}

// team is a fleet of worker processes and what they have said. It is used by one
// goroutine, which hears them only while it waits.
type team struct {
	srv   *natsServer
	spec  workerSpec
	cfg   parti.Config // complete
	fleet *fleet.Fleet
	cover *fleet.Coverage
	say   func(format string, args ...any)
	debug func(format string, args ...any)
	// relays are the ways to the server of the workers, by process; nil when
	// they go to it straight.
	relays    map[int]*relay
	afterKill time.Duration // a replacement of a killed worker is started within this

	assigned time.Time // last report of an assignment
	led      time.Time // last report of a new leader
	plans    map[string]int
	failed   int // errors that workers were told of
}

func (b *bench) team(p profile, size int) *team {
	cfg := p.config
	cfg.KVBucket = newBuckets()
	if size > 100 {
		cfg.WorkerIDMax = 2*size - 1
	}
	t := &team{
		srv: b.srv, spec: workerSpec{URL: b.srv.url, Config: cfg, Partitions: b.opts.Partitions, Connect: p.connect},
		fleet: fleet.New(), cover: fleet.NewCoverage(b.opts.Partitions), say: b.say, debug: b.debug,
		plans: make(map[string]int), afterKill: afterKill,
	}
	if b.opts.Short {
		t.afterKill = afterKillShort
	}
	t.cfg = p.settings()
	return t
}

// add starts n workers.
func (t *team) add(n int) ([]*fleet.Process, error) {
	var started []*fleet.Process
	for range n {
		p, err := t.start()
		if err != nil {
			return nil, err
		}
		t.debug("%s started", p.Label())
		t.cover.Seen(p.N)
		started = append(started, p)
	}
	return started, nil
}

// start starts a worker, with a relay of its own where there are any.
func (t *team) start() (*fleet.Process, error) {
	if t.relays == nil {
		return t.fleet.Start(WorkerCommand, t.spec)
	}
	r, err := openRelay(t.srv.address())
	if err != nil {
		return nil, err
	}
	spec := t.spec
	spec.URL = r.url()
	p, err := t.fleet.Start(WorkerCommand, spec)
	if err != nil {
		r.close()
		return nil, err
	}
	t.relays[p.N] = r
	return p, nil
}

// hear takes an event. A worker that ends without having been told to is an
// error.
func (t *team) hear(ev fleet.Event) error {
	p := t.fleet.Procs[ev.Proc]
	switch {
	case ev.Ended:
		t.fleet.Forget(ev.Proc)
		t.cover.Gone(ev.Proc)
		if r := t.relays[ev.Proc]; r != nil {
			r.close()
			delete(t.relays, ev.Proc)
		}
		t.debug("%s ended", p.Label())
		if !p.Told() {
			return fmt.Errorf("%s ended by itself: %w", p.Label(), errors.Join(ev.Err, errors.New(ev.Stderr)))
		}
	case ev.Report != nil:
		t.listen(p, ev.Report)
	default:
		t.say("%s: %s", p.Label(), ev.Stderr)
	}
	return nil
}

func (t *team) listen(p *fleet.Process, r *fleet.Report) {
	if r.Worker != "" {
		p.ID = r.Worker // another one after it was taken for dead
		t.cover.Is(p.N, func(w *fleet.WorkerState) { w.ID = p.ID })
	}
	at := time.Unix(0, r.At)
	t.debug("%s: %s", p.Label(), r)
	switch r.Kind {
	case fleet.Started:
		t.cover.Is(p.N, func(w *fleet.WorkerState) { w.ID, w.Ready, w.Leader = p.ID, true, w.Leader || r.Leader })
	case fleet.LeaderChanged:
		t.cover.Is(p.N, func(w *fleet.WorkerState) { w.Leader = r.Leader })
		if _, alive := t.cover.Alive[p.N]; alive && r.Leader {
			t.led = later(t.led, at)
		}
	case fleet.Assigned:
		if _, alive := t.cover.Alive[p.N]; alive {
			t.cover.Change(p.N, r.Worker, r.Added, r.Removed)
			t.assigned = later(t.assigned, at)
		}
	case fleet.Rebalanced:
		t.plans[r.Reason]++
	case fleet.Failed:
		t.failed++
	default: // changes of state: shown by debug only
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// until hears the workers until cond holds; what names it in the error when that
// takes longer than limit.
func (t *team) until(ctx context.Context, limit time.Duration, what string, cond func() bool) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return fmt.Errorf("%w: %s after %s: %d of %d workers started, %d partitions have no owner", errTooLate,
				what, limit, t.cover.Ready(), len(t.cover.Alive), t.cover.Missing())
		case ev := <-t.fleet.Events:
			if err := t.hear(ev); err != nil {
				return err
			}
		}
	}
	return nil
}

var errTooLate = errors.New("not in time")

// patience is how long something is waited for that a run cannot do without.
const patience = 2 * time.Minute

// rest hears the workers for a while.
func (t *team) rest(ctx context.Context, d time.Duration) error {
	err := t.until(ctx, d, "", func() bool { return false })
	if errors.Is(err, errTooLate) {
		return nil
	}
	return err
}

// calm is how long a fleet must look settled: a plan comes in several pieces.
const calm = 250 * time.Millisecond

// settled waits until n workers have started and share all partitions.
func (t *team) settled(ctx context.Context, n int) error {
	done := func() bool {
		_, led := t.cover.Leader()
		return led && t.cover.Ready() == n && t.cover.Full() && t.cover.Idle() == 0
	}
	for {
		if err := t.until(ctx, patience, "the fleet has not settled", done); err != nil {
			return err
		}
		moves := t.cover.Moves
		if err := t.rest(ctx, calm); err != nil {
			return err
		}
		if done() && t.cover.Moves == moves {
			return nil
		}
	}
}

// randomPhase waits until the fleet has been quiet for a heartbeat, and then to a
// random moment between two.
func (t *team) randomPhase(ctx context.Context) error {
	h := t.cfg.HeartbeatInterval
	return t.rest(ctx, h+rand.N(h))
}

// restore starts as many workers as are missing of n, and waits for them.
func (t *team) restore(ctx context.Context, n int) error {
	if _, err := t.add(n - len(t.cover.Alive)); err != nil {
		return err
	}
	return t.settled(ctx, n)
}

// follower is some worker that does not lead, or else the leader.
func (t *team) pick(leader bool) (*fleet.Process, error) {
	lead, ok := t.cover.Leader()
	if !ok {
		return nil, errors.New("nobody leads")
	}
	if leader {
		return t.fleet.Procs[lead], nil
	}
	var others []*fleet.Process
	for n := range t.cover.Alive {
		if n != lead {
			others = append(others, t.fleet.Procs[n])
		}
	}
	return others[rand.IntN(len(others))], nil
}

// close ends every worker at once and removes what the fleet leaves in NATS.
func (t *team) close(ctx context.Context) error {
	t.fleet.KillAll()
	for len(t.fleet.Procs) > 0 {
		if err := t.hear(<-t.fleet.Events); err != nil {
			return err
		}
	}
	t.fleet.Wait()
	return t.srv.remove(context.WithoutCancel(ctx), t.spec.Config.KVBucket)
}
