package bench

import (
	"context"
	"errors"
	"time"
)

// idle is what a fleet that has nothing to do costs the server.
type idle struct {
	in, out float64   // messages per worker and second; negative when unknown
	cpu     float64   // percent of one processor; negative when unknown
	workers []float64 // the same of each worker, of those that are known
}

// idleFor measures for a while, in which nothing may happen.
func (t *team) idleFor(ctx context.Context, d time.Duration) (idle, error) {
	n := float64(len(t.cover.Alive))
	workersBefore := t.processorTimes()
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
	for proc, cpu := range t.processorTimes() {
		if was, ok := workersBefore[proc]; ok {
			u.workers = append(u.workers, 100*(cpu-was).Seconds()/took)
		}
	}
	return u, nil
}

// processorTimes are those of the workers, where the system tells.
func (t *team) processorTimes() map[int]time.Duration {
	times := make(map[int]time.Duration)
	for n, p := range t.fleet.Procs {
		if cpu, err := cpuTime(p.Cmd.Process.Pid); err == nil {
			times[n] = cpu
		}
	}
	return times
}

// idleGoals are for messages and for the server's processor time.
func idleGoals(workers int) (in, cpu *float64) {
	if workers > 64 {
		return new(1.0), new(6.0)
	}
	return new(1.0), new(2.0)
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
	if len(u.workers) > 0 {
		rows = append(rows, newRow(workers, "idle: processor time of a worker", "% of one", nil, u.workers))
	}
	return rows
}
