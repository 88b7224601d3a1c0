package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// How long connections are away. Who is away for less than the grace, and then
// connects within what it has told of its reconnects, is not taken for dead.
const (
	allAway    = 3 * time.Second
	graceSlack = 100 * time.Millisecond
)

// noticed bounds how long a lost right to answer probes may go unnoticed: workers
// are asked once in 30 heartbeats.
const noticed = 35

// drops has connections break and come back in a fleet in the default
// configuration: nothing may follow from that.
func (b *bench) drops(ctx context.Context) (err error) {
	if b.srv.own == nil {
		return nil
	}
	n := min(profileWorkers, slices.Max(b.opts.Workers))
	t := b.team(defaultProfile, n)
	t.relays = make(map[int]*relay)
	defer func() { err = errors.Join(err, t.close(ctx)) }()
	if _, err := t.add(n - 1); err != nil {
		return err
	}
	err = t.until(ctx, patience, "nobody leads", func() bool {
		_, led := t.cover.Leader()
		return led
	})
	if err != nil {
		return err
	}
	t.spec.Connect.User = poorUser // a follower
	if _, err := t.add(1); err != nil {
		return err
	}
	if err := t.settled(ctx, n); err != nil {
		return err
	}
	if err := b.dropAll(ctx, t, n); err != nil {
		return fmt.Errorf("all: %w", err)
	}
	if err := b.dropOne(ctx, t, n); err != nil {
		return fmt.Errorf("one: %w", err)
	}
	if b.opts.Short { // it takes a minute to be noticed
		return nil
	}
	if err := b.loseProbes(ctx, t, n); err != nil {
		return fmt.Errorf("probes: %w", err)
	}
	return nil
}

// verdicts is how long it takes at most until somebody has been given up.
func (t *team) verdicts() time.Duration {
	return t.cfg.HeartbeatTTL + 2*t.cfg.EmergencyGracePeriod
}

func (b *bench) dropAll(ctx context.Context, t *team, n int) error {
	plans, moves, err := t.quiet(ctx, func() error {
		for _, r := range t.relays {
			r.set(true)
		}
		if err := t.rest(ctx, allAway); err != nil {
			return err
		}
		for _, r := range t.relays {
			r.set(false)
		}
		return t.rest(ctx, t.verdicts())
	})
	b.add(newRow(n, "all connections away for 3 s: rebalances", "", new(0.0), []float64{float64(plans)}).withMoves(moves))
	return err
}

// dropOne takes the connection of one worker after the other, of the leader too.
func (b *bench) dropOne(ctx context.Context, t *team, n int) error {
	away := t.cfg.EmergencyGracePeriod - graceSlack
	if b.opts.Short { // a tenth of a second is little on a busy machine
		away = t.cfg.EmergencyGracePeriod / 2
	}
	var samples []float64
	var all Moves
	for i := range b.runs(n) {
		if err := t.randomPhase(ctx); err != nil {
			return err
		}
		p, err := t.pick(i == 0)
		if err != nil {
			return err
		}
		r := t.relays[p.N]
		plans, moves, err := t.quiet(ctx, func() error {
			r.set(true)
			if err := t.rest(ctx, away); err != nil {
				return err
			}
			r.set(false)
			return t.rest(ctx, t.verdicts()-away)
		})
		if err != nil {
			return err
		}
		samples = append(samples, float64(plans))
		all.add(moves)
	}
	b.add(newRow(n, fmt.Sprintf("one connection away for %v: rebalances", away), "", new(0.0), samples).withMoves(all))
	return nil
}

// loseProbes takes the right to answer probes from a follower whose heartbeats go
// on. Its leader is to say so, once, and to do nothing.
func (b *bench) loseProbes(ctx context.Context, t *team, n int) error {
	before := t.failed
	plans, moves, err := t.quiet(ctx, func() error {
		if err := b.srv.reload(ctx); err != nil {
			return err
		}
		err := t.until(ctx, noticed*t.cfg.HeartbeatInterval, "nobody says that a worker answers no probe", func() bool { return t.failed > before })
		if err != nil {
			return err
		}
		return t.rest(ctx, t.verdicts())
	})
	if err != nil {
		return err
	}
	const what = "right to answer probes lost: "
	b.add(newRow(n, what+"rebalances", "", new(0.0), []float64{float64(plans)}).withMoves(moves),
		newRow(n, what+"errors told", "", new(1.0), []float64{float64(t.failed - before)}))
	return nil
}
