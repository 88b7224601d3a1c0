package bench

import (
	"context"
	"errors"
	"time"
)

// idle is what a fleet that has nothing to do costs the server.
type idle struct {
	in, out float64 // messages per worker and second; negative when unknown
	cpu     float64 // percent of one processor; negative when unknown
}

// idleFor measures for a while, in which nothing may happen.
func (t *team) idleFor(ctx context.Context, d time.Duration) (idle, error) {
	n := float64(len(t.cover.Alive))
	before, err := t.srv.usage(ctx)
	if err != nil {
		return idle{}, err
	}
	if err := t.rest(ctx, d); err != nil {
		return idle{}, err
	}
	after, err := t.srv.usage(ctx)
	if err != nil {
		return idle{}, err
	}
	if !t.cover.Full() {
		return idle{}, errors.New("the fleet was not idle: partitions lost their owner")
	}
	took := after.at.Sub(before.at).Seconds()
	u := idle{in: -1, out: -1, cpu: -1}
	if before.in >= 0 {
		u.in = float64(after.in-before.in) / n / took
		u.out = float64(after.out-before.out) / n / took
	}
	if before.cpu >= 0 {
		u.cpu = 100 * (after.cpu - before.cpu).Seconds() / took
	}
	return u, nil
}

// idleGoals are for messages and for the server's processor time.
func idleGoals(workers int) (in, cpu *float64) {
	if workers > 64 {
		return goal(1), goal(6)
	}
	return goal(1), goal(2)
}

func (u idle) rows(workers int) []Row {
	in, cpu := idleGoals(workers)
	var rows []Row
	if u.in >= 0 {
		rows = append(rows,
			newRow(workers, "idle: messages to the server", "/worker/s", in, []float64{u.in}),
			newRow(workers, "idle: messages from the server", "/worker/s", nil, []float64{u.out}))
	}
	if u.cpu >= 0 {
		rows = append(rows, newRow(workers, "idle: processor time of the server", "% of one", cpu, []float64{u.cpu}))
	}
	return rows
}
