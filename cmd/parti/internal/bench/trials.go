package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Goals that do not depend on the configuration, in seconds.
const (
	followerGoal = 2.8
	leaderGoal   = 3.0
	plainGoal    = 4.5
	fastGoal     = 0.7
	stopSlack    = 500 * time.Millisecond
	windowSlack  = 1500 * time.Millisecond
)

// outcome is one run of a trial.
type outcome struct {
	took  time.Duration
	moves Moves
}

// series collects the outcomes of a trial.
type series struct {
	samples []float64
	moves   Moves
}

func (s *series) add(o outcome) {
	s.samples = append(s.samples, o.took.Seconds())
	s.moves.add(o.moves)
}

// coldStart starts n workers and measures until they share everything.
func (t *team) coldStart(ctx context.Context, n int) (outcome, error) {
	begun := time.Now()
	if _, err := t.add(n); err != nil {
		return outcome{}, err
	}
	if err := t.settled(ctx, n); err != nil {
		return outcome{}, err
	}
	return outcome{took: t.assigned.Sub(begun)}, nil
}

// recoveryLimit is when a run is given up in which partitions stay without owner.
const recoveryLimit = time.Minute

// fall is the loss of a worker: what makes it happen, and what follows.
func (t *team) fall(ctx context.Context, leader bool, strike func(*fallen) error) (outcome, *fallen, error) {
	if err := t.randomPhase(ctx); err != nil {
		return outcome{}, nil, err
	}
	p, err := t.pick(leader)
	if err != nil {
		return outcome{}, nil, err
	}
	f := &fallen{process: p, moves: t.cover.Moves, owned: t.cover.Owned(p.N)}
	f.at = time.Now()
	if err := strike(f); err != nil {
		return outcome{}, f, err
	}
	t.cover.Gone(p.N)
	err = t.until(ctx, recoveryLimit, "partitions have no owner", func() bool {
		_, led := t.cover.Leader()
		return led && t.cover.Full()
	})
	if err != nil {
		return outcome{}, f, err
	}
	end := t.assigned
	if leader {
		end = later(end, t.led)
	}
	moved := t.cover.Moves - f.moves
	return outcome{took: end.Sub(f.at), moves: Moves{Moved: moved, Least: f.owned, Others: moved - f.owned}}, f, nil
}

// kill ends a worker with SIGKILL.
func (t *team) kill(ctx context.Context, leader bool) (outcome, error) {
	o, _, err := t.fall(ctx, leader, func(f *fallen) error { return t.fleet.Kill(f.process) })
	return o, err
}

// freeze stops a worker with SIGSTOP, and lets it go on when it has been
// replaced. Then it must have no partition of its old ones without being given
// it again, which its share as a newcomer shows.
func (t *team) freeze(ctx context.Context, n int) (outcome, error) {
	o, f, err := t.fall(ctx, false, func(f *fallen) error { return f.process.Pause() })
	if err != nil {
		return o, err
	}
	t.cover.Seen(f.process.N)
	t.cover.Is(f.process.N, startedBefore)
	if err := f.process.Resume(); err != nil {
		return o, err
	}
	return o, t.settled(ctx, n)
}

// leave has a follower stop in good order.
func (t *team) leave(ctx context.Context) (outcome, error) {
	if err := t.randomPhase(ctx); err != nil {
		return outcome{}, err
	}
	p, err := t.pick(false)
	if err != nil {
		return outcome{}, err
	}
	moves, owned, begun := t.cover.Moves, t.cover.Owned(p.N), time.Now()
	p.Tell()
	err = t.until(ctx, recoveryLimit, "partitions have no owner", func() bool {
		_, here := t.fleet.Procs[p.N]
		return !here && t.cover.Full()
	})
	moved := t.cover.Moves - moves
	return outcome{took: t.assigned.Sub(begun), moves: Moves{Moved: moved, Least: owned, Others: moved - owned}}, err
}

// join starts one worker more, up to n.
func (t *team) join(ctx context.Context, n int) (outcome, error) {
	moves, begun, old := t.cover.Moves, time.Now(), t.ids()
	if _, err := t.add(n - len(old)); err != nil {
		return outcome{}, err
	}
	if err := t.settled(ctx, n); err != nil {
		return outcome{}, err
	}
	return outcome{took: t.assigned.Sub(begun), moves: t.movesTo(old, moves)}, nil
}

// quiet checks that nothing happens while something is done to the server.
func (t *team) quiet(ctx context.Context, during func() error) (plans int, moves Moves, err error) {
	// The last word on what was before.
	if err := t.rest(ctx, t.cfg.HeartbeatInterval); err != nil {
		return 0, Moves{}, err
	}
	before, emergencies := t.cover.Moves, t.plans["emergency"]
	total := 0
	for _, n := range t.plans {
		total += n
	}
	if err := during(); err != nil {
		return 0, Moves{}, err
	}
	for _, n := range t.plans {
		plans += n
	}
	moved := t.cover.Moves - before
	plans -= total
	if e := t.plans["emergency"] - emergencies; e > 0 {
		t.say("%d emergencies", e)
	}
	if !t.cover.Full() {
		err = errors.Join(err, fmt.Errorf("%d partitions have no owner", t.cover.Missing()))
	}
	return plans, Moves{Moved: moved, Others: moved}, err
}
