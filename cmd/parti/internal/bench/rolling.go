package bench

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// fallen is a worker that is struck.
type fallen struct {
	process *fleet.Process
	at      time.Time
	owned   int
	moves   int // of the fleet before
}

// startedBefore marks a process that has started and is heard of again.
func startedBefore(w *fleet.WorkerState) { w.Ready = true }

// A replacement comes up within these. On a busy machine it takes long enough to
// start.
const (
	afterKill      = 500 * time.Millisecond
	afterKillShort = 100 * time.Millisecond
	afterTerm      = 2 * time.Second
)

// rolling restarts workers one by one, the leader among them, and measures from
// each one's signal until everything is owned again. In the middle of a mixed one
// the leader is killed and another worker joins; that stays.
func (t *team) rolling(ctx context.Context, kill, mixed bool, atMost int) (series, error) {
	var s series
	moves := t.cover.Moves
	var order []int
	for n := range t.cover.Alive {
		order = append(order, n)
	}
	slices.Sort(order)
	order = t.leaderAmong(order, atMost)
	size, old := len(t.cover.Alive), t.ids()
	for i, n := range order {
		if mixed && i == len(order)/2 {
			o, err := t.disturb(ctx)
			if err != nil {
				return s, err
			}
			size++
			s.add(o)
		}
		p := t.fleet.Procs[n]
		if p == nil || p.Told() { // it was the leader in the middle
			continue
		}
		o, err := t.replace(ctx, p, kill)
		if err != nil {
			return s, err
		}
		s.add(o)
	}
	if err := t.settled(ctx, size); err != nil {
		return s, err
	}
	s.moves = t.movesTo(old, moves)
	return s, nil
}

// disturb has another worker join, and the leader die and come back.
func (t *team) disturb(ctx context.Context) (outcome, error) {
	joiner, err := t.add(1)
	if err != nil {
		return outcome{}, err
	}
	err = t.until(ctx, recoveryLimit, "the worker that joins has no id", func() bool { return joiner[0].ID != "" })
	if err != nil {
		return outcome{}, err
	}
	leader, err := t.pick(true)
	if err != nil {
		return outcome{}, err
	}
	return t.replace(ctx, leader, true)
}

// ids are those of the workers that live.
func (t *team) ids() map[string]bool {
	ids := make(map[string]bool)
	for _, w := range t.cover.Alive {
		ids[w.ID] = true
	}
	return ids
}

// movesTo tells what moved since the fleet had made so many moves: what went to
// an id that was not among the old ones had to.
func (t *team) movesTo(old map[string]bool, before int) Moves {
	m := Moves{Moved: t.cover.Moves - before}
	newcomers, got := 0, 0
	for n, w := range t.cover.Alive {
		if !old[w.ID] {
			newcomers++
			got += t.cover.Owned(n)
		}
	}
	m.Least = t.spec.Partitions / len(t.cover.Alive) * newcomers
	m.Others = m.Moved - got
	return m
}

// leaderAmong shortens the list of who is restarted and keeps the leader in it.
func (t *team) leaderAmong(order []int, atMost int) []int {
	if len(order) <= atMost {
		return order
	}
	lead, ok := t.cover.Leader()
	if i := slices.Index(order, lead); ok && i >= atMost {
		order[atMost/2] = lead
	}
	return order[:atMost]
}

// replace ends a process, starts another, and waits until it works and all is
// owned.
func (t *team) replace(ctx context.Context, p *fleet.Process, kill bool) (outcome, error) {
	begun := time.Now()
	t.debug("%s is restarted", p.Label())
	var wait time.Duration
	if kill {
		if err := t.fleet.Kill(p); err != nil {
			return outcome{}, err
		}
		t.cover.Gone(p.N)
		wait = rand.N(t.afterKill)
	} else {
		if err := p.Terminate(); err != nil {
			return outcome{}, err
		}
		err := t.until(ctx, recoveryLimit, p.Label()+" has not ended", func() bool { return t.fleet.Procs[p.N] == nil })
		if err != nil {
			return outcome{}, err
		}
		wait = rand.N(afterTerm)
	}
	if err := t.rest(ctx, wait); err != nil {
		return outcome{}, err
	}
	started, err := t.add(1)
	if err != nil {
		return outcome{}, err
	}
	err = t.until(ctx, recoveryLimit, "a restarted worker is not back", func() bool {
		_, led := t.cover.Leader()
		return led && t.cover.Alive[started[0].N].Ready && t.cover.Full()
	})
	return outcome{took: t.assigned.Sub(begun)}, err
}
