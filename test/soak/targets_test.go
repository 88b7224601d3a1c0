package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// source lists the partitions with the worker that each is to go to: its number,
// plus one, is the weight. The runner writes the targets to a key, and a refresh
// makes the leader read them; so the runner decides what moves, and when.
type source struct {
	kv jetstream.KeyValue
}

func (s source) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	entry, err := s.kv.Get(ctx, targetsKey)
	if err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	var targets []int
	if err := json.Unmarshal(entry.Value(), &targets); err != nil {
		return nil, fmt.Errorf("read targets: %w", err)
	}
	parts := make([]parti.Partition, len(targets))
	for p, target := range targets {
		parts[p] = parti.Partition{Keys: []string{partitionKey(p)}, Weight: int64(target) + 1}
	}
	return parts, nil
}

// follow is the strategy: every partition goes where its weight says.
type follow struct {
	moved func(oracle.Record) // told what a plan moves
}

var _ parti.Rebalancer = follow{}

func (f follow) Assign(workers []string, parts []parti.Partition) (map[string][]parti.Partition, error) {
	numbers := make([]int, len(workers))
	names := make(map[int]string, len(workers))
	for i, w := range workers {
		n, err := workerNumber(w)
		if err != nil {
			return nil, err
		}
		numbers[i], names[n] = n, w
	}
	out := make(map[string][]parti.Partition, len(workers))
	for _, p := range parts {
		w := names[ownerOf(partitionOf(p.Keys[0]), int(p.Weight-1), numbers)]
		out[w] = append(out[w], p)
	}
	return out, nil
}

func (f follow) Rebalance(in parti.RebalanceInput) (map[string][]parti.Partition, error) {
	workers := make([]string, len(in.Workers))
	for i, w := range in.Workers {
		workers[i] = w.ID
	}
	out, err := f.Assign(workers, in.Partitions)
	if err != nil || in.PrevOwner == nil {
		return out, err
	}
	previous := make(map[string]string, len(in.Partitions))
	for i, p := range in.Partitions {
		if o := in.PrevOwner[i]; o >= 0 {
			previous[p.ID()] = in.PrevWorkers[o]
		}
	}
	for w, parts := range out {
		n, err := workerNumber(w)
		if err != nil {
			return nil, err
		}
		for _, p := range parts {
			if was := previous[p.ID()]; was != w {
				f.moved(oracle.Record{Kind: oracle.Planned, Part: partitionOf(p.Keys[0]), N: n, Text: was + " to " + w})
			}
		}
	}
	return out, nil
}

// ownerOf is where a partition goes: to its target, or, while there is no such
// worker, to one that its number chooses.
func ownerOf(part, target int, workers []int) int {
	if slices.Contains(workers, target) {
		return target
	}
	best, most := -1, uint64(0)
	for _, w := range workers {
		h := fnv.New64a()
		_, _ = fmt.Fprintf(h, "%d/%d", part, w)
		if sum := h.Sum64(); best < 0 || sum > most || sum == most && w < best {
			best, most = w, sum
		}
	}
	return best
}

func workerNumber(id string) (int, error) {
	number := crew.WorkerNumber(id)
	if number < 0 {
		return 0, fmt.Errorf("worker id %q has no number", id)
	}
	return number, nil
}

// settled tells whether every partition is where its target says.
func settled(f *crew.Fleet, targets []int) bool {
	numbers := f.Numbers()
	for part, target := range targets {
		p := f.Procs[f.Owner[part]]
		if p == nil || p.Killed || p.Number != ownerOf(part, target, numbers) {
			return false
		}
	}
	return true
}
