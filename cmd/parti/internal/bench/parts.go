package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// cold starts a fleet several times; the last one stays.
func (b *bench) cold(ctx context.Context, n int) (*team, error) {
	runs := 3
	if b.opts.Short || n > 64 || !b.wants("cold") {
		runs = 1
	}
	var s series
	for i := range runs {
		t := b.team(defaultProfile, n)
		o, err := t.coldStart(ctx, n)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cold start: %w", err), t.close(ctx))
		}
		s.add(o)
		if i == runs-1 {
			// What the processes cost to start, two at a time, is not parti's.
			limit := t.cfg.ColdStartSettle.Seconds() + 1 + 0.05*float64(n)
			if b.wants("cold") {
				b.add(newRow(n, "cold start", "s", new(limit), s.samples))
			}
			return t, nil
		}
		if err := t.close(ctx); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("no run")
}

func (b *bench) idle(ctx context.Context, t *team, n int) error {
	d := time.Minute
	if b.opts.Short {
		d = 10 * time.Second
	}
	// What a fleet does when it has just started is over by then.
	if err := t.rest(ctx, 2*t.cfg.HeartbeatInterval); err != nil {
		return err
	}
	u, err := t.idleFor(ctx, d)
	if err != nil {
		return err
	}
	b.add(u.rows(n)...)
	return nil
}

// kills kills followers and leaders in turn. Who was killed is replaced only when
// a quarter of the fleet is gone, since a join costs the whole PlannedScaleWindow.
func (b *bench) kills(ctx context.Context, t *team, n, runs int, follower, leader float64, suffix string) error {
	var followers, leaders series
	least := max(2, min(n-2, n*3/4))
	for i := range 2 * runs {
		if len(t.cover.Alive) <= least {
			if err := t.restore(ctx, n); err != nil {
				return err
			}
		}
		lead := i%2 == 1
		o, err := t.kill(ctx, lead)
		if err != nil {
			return err
		}
		if lead {
			leaders.add(o)
		} else {
			followers.add(o)
		}
		b.debug("%d workers%s: kill %d of %d: %.2f s", n, suffix, i+1, 2*runs, o.took.Seconds())
	}
	b.add(newRow(n, "SIGKILL of a follower"+suffix, "s", new(follower), followers.samples).withMoves(followers.moves),
		newRow(n, "SIGKILL of the leader"+suffix, "s", new(leader), leaders.samples).withMoves(leaders.moves))
	return t.restore(ctx, n)
}

func (b *bench) stops(ctx context.Context, t *team, n int) error {
	runs := 3
	if b.opts.Short || n > 64 {
		runs = 1
	}
	var s series
	for range runs {
		o, err := t.freeze(ctx, n)
		if err != nil {
			return err
		}
		s.add(o)
	}
	limit := t.cfg.HeartbeatTTL + t.cfg.EmergencyGracePeriod + stopSlack
	b.add(newRow(n, "SIGSTOP of a follower", "s", new(limit.Seconds()), s.samples).withMoves(s.moves))
	return nil
}

// leaves has a follower leave and another worker join.
func (b *bench) leaves(ctx context.Context, t *team, n int) error {
	runs := 2
	if b.opts.Short || n > 64 {
		runs = 1
	}
	var leaves, joins series
	for range runs {
		o, err := t.leave(ctx)
		if err != nil {
			return err
		}
		leaves.add(o)
		if o, err = t.join(ctx, n); err != nil {
			return err
		}
		joins.add(o)
	}
	limit := new((t.cfg.PlannedScaleWindow + windowSlack).Seconds())
	b.add(newRow(n, "graceful leave", "s", limit, leaves.samples).withMoves(leaves.moves),
		newRow(n, "join", "s", limit, joins.samples).withMoves(joins.moves))
	return nil
}

// rollingMost is how many of a large fleet are restarted.
const rollingMost = 20

func (b *bench) rolling(ctx context.Context, t *team, n int) error {
	most := 64
	if n > 64 {
		most = rollingMost
	}
	kinds := []struct {
		what        string
		kill, mixed bool
	}{
		{"rolling restart, SIGKILL", true, false},
		{"rolling restart, SIGTERM", false, false},
		{"rolling restart, SIGKILL, one joins", true, true},
		{"rolling restart, SIGTERM, one joins, leader dies", false, true},
	}
	if b.opts.Short {
		kinds = []struct {
			what        string
			kill, mixed bool
		}{kinds[0], kinds[3]}
	}
	for _, k := range kinds {
		// The window of what came before is over.
		if err := t.rest(ctx, t.cfg.HeartbeatInterval); err != nil {
			return err
		}
		s, err := t.rolling(ctx, k.kill, k.mixed, most)
		if err != nil {
			return fmt.Errorf("%s: %w", k.what, err)
		}
		b.add(newRow(n, k.what, "s", nil, s.samples).withMoves(s.moves))
		if k.mixed { // back to n
			if _, err := t.leave(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// restart has the server away for 3 s.
func (b *bench) restart(ctx context.Context, t *team, n int) error {
	if b.srv.own == nil {
		return nil
	}
	plans, moves, err := t.quiet(ctx, func() error {
		if err := b.srv.restart(ctx, 3*time.Second); err != nil {
			return err
		}
		d := 3 * t.cfg.HeartbeatTTL
		if b.opts.Short {
			d = t.cfg.HeartbeatTTL + 2*t.cfg.EmergencyGracePeriod
		}
		return t.rest(ctx, d)
	})
	b.add(newRow(n, "server away for 3 s: rebalances", "", new(0.0), []float64{float64(plans)}).withMoves(moves))
	return err
}

// long has a fleet of 200 idle for ten minutes, with a restart of the server in
// the middle.
func (b *bench) long(ctx context.Context) (err error) {
	const n = 200
	t := b.team(defaultProfile, n)
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	if _, err := t.coldStart(ctx, n); err != nil {
		return err
	}
	if err := t.rest(ctx, 2*t.cfg.PlannedScaleWindow); err != nil {
		return err
	}
	plans, moves, err := t.quiet(ctx, func() error {
		for i := range 2 {
			if i > 0 && b.srv.own != nil {
				if err := b.srv.restart(ctx, time.Second); err != nil {
					return err
				}
			}
			if err := t.rest(ctx, 5*time.Minute); err != nil {
				return err
			}
		}
		return nil
	})
	b.add(newRow(n, "10 min idle, server restarted once: rebalances", "", new(0.0), []float64{float64(plans)}).withMoves(moves))
	return err
}

// otherProfile measures kills under another profile.
func (b *bench) otherProfile(ctx context.Context, p profile, limit float64) error {
	sizes := []int{min(profileWorkers, slices.Max(b.opts.Workers))}
	if b.opts.Long {
		sizes = longProfileWorkers
	}
	for _, n := range sizes {
		if err := b.profileOf(ctx, p, n, limit); err != nil {
			return fmt.Errorf("%d workers: %w", n, err)
		}
	}
	return nil
}

func (b *bench) profileOf(ctx context.Context, p profile, n int, limit float64) (err error) {
	t := b.team(p, n)
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	if _, err := t.coldStart(ctx, n); err != nil {
		return err
	}
	return b.kills(ctx, t, n, b.runs(n), limit, limit, ", "+p.name)
}

func (b *bench) memory(ctx context.Context) error {
	runs := 3
	if b.opts.Short {
		runs = 1
	}
	var kb, routines []float64
	for range runs {
		f, err := memory(ctx, b.srv)
		if err != nil {
			return err
		}
		kb, routines = append(kb, f.KB), append(routines, f.Goroutines)
	}
	b.add(newRow(memoryWorkers, "memory of a manager", "KB", new(memoryGoal), kb),
		newRow(memoryWorkers, "goroutines of a manager", "", new(goroutineGoal), routines))
	return nil
}
