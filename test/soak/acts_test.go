package soak

import (
	"fmt"
	"time"

	"github.com/arloliu/parti/test/internal/crew"
)

// killLeader kills the leader at some moment of a move: when it has been asked
// for a plan, when the plan is committed and partitions drain, or when nothing
// moves. Its replacement comes at once, and then takes over id and partitions,
// or after they have gone to others.
func (r *run) killLeader() error {
	if err := r.until("there is one leader", settleLimit, func() bool { return r.fleet.Leader() != nil }); err != nil {
		return err
	}
	kill := func() error {
		victim := r.fleet.Leader()
		if victim == nil {
			return fmt.Errorf("there is no leader to kill")
		}
		r.leaders = append(r.leaders, victim.N)
		return r.killed(victim, r.rng.IntN(2) == 0)
	}
	switch len(r.leaders) % 3 {
	case 0:
		return r.batch(kill)
	case 1:
		return r.batch(func() error {
			if err := r.answered(); err != nil {
				return err
			}
			return kill()
		})
	default:
		if err := kill(); err != nil {
			return err
		}
		return r.settle()
	}
}

// crash kills any worker while nothing moves.
func (r *run) crash() error {
	live := r.fleet.Live()
	if err := r.killed(live[r.rng.IntN(len(live))], r.rng.IntN(2) == 0); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return err
	}
	return r.think() // until new owners have begun, most often
}

// killed kills a worker and starts another one, at once or when the partitions
// have new owners.
func (r *run) killed(victim *crew.Process, atOnce bool) error {
	if err := r.fleet.Kill(victim); err != nil {
		return err
	}
	if err := r.until("the killed process has ended", settleLimit, func() bool { return r.fleet.Procs[victim.N] == nil }); err != nil {
		return err
	}
	if !atOnce {
		if err := r.until("every partition has an owner again", settleLimit, r.fleet.Owned); err != nil {
			return err
		}
	}
	return r.join()
}

// join starts a worker and waits until it is one.
func (r *run) join() error {
	p, err := r.fleet.Start()
	if err != nil {
		return err
	}
	return r.until("the new worker has joined", settleLimit, func() bool { return p.Number >= 0 })
}

// leaveAndJoin has a worker leave and, when its partitions have new owners,
// another one join.
func (r *run) leaveAndJoin() error {
	live := r.fleet.Live()
	p := live[r.rng.IntN(len(live))]
	began := time.Now()
	r.fleet.Leave(p)
	if err := r.until("the worker has left", settleLimit, func() bool { return r.fleet.Procs[p.N] == nil }); err != nil {
		return fmt.Errorf("%w (after %v)", err, time.Since(began))
	}
	if err := r.settle(); err != nil {
		return err
	}
	if err := r.join(); err != nil {
		return err
	}
	return r.settle()
}
