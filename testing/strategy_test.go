package testing_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

type assignFunc func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error)

func (f assignFunc) Assign(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	return f(workers, partitions)
}

// dealt is a good strategy: sorted, then dealt out.
func dealt(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
	workers, partitions = slices.Sorted(slices.Values(workers)), slices.SortedFunc(slices.Values(partitions), parti.Partition.Compare)
	out := map[string][]parti.Partition{}
	if len(workers) == 0 {
		return out, nil
	}
	for i, p := range partitions {
		w := workers[i%len(workers)]
		out[w] = append(out[w], p)
	}
	return out, nil
}

func TestCheckStrategyAcceptsAGoodOne(t *testing.T) {
	partitest.CheckStrategy(t, assignFunc(dealt))
}

func TestCheckStrategyFindsBadOnes(t *testing.T) {
	// with changes the result of the good strategy.
	with := func(change func(out map[string][]parti.Partition, workers []string)) assignFunc {
		return func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			out, err := dealt(workers, partitions)
			if len(workers) > 0 {
				change(out, slices.Sorted(slices.Values(workers)))
			}
			return out, err
		}
	}
	calls := 0
	var reused map[string][]parti.Partition
	for name, test := range map[string]struct {
		strategy assignFunc
		want     string
	}{
		"losing": {with(func(out map[string][]parti.Partition, ws []string) {
			if n := len(out[ws[0]]); n > 1 {
				out[ws[0]] = out[ws[0]][1:]
			}
		}), "lost"},
		"inventing": {with(func(out map[string][]parti.Partition, ws []string) {
			out[ws[0]] = append(out[ws[0]], parti.Partition{Keys: []string{"mine"}})
		}), "invented"},
		"doubling": {with(func(out map[string][]parti.Partition, ws []string) {
			if len(ws) > 1 {
				out[ws[1]] = append(out[ws[1]], out[ws[0]]...)
			}
		}), "given to both"},
		"twice to one": {with(func(out map[string][]parti.Partition, ws []string) {
			out[ws[0]] = append(out[ws[0]], out[ws[0]]...)
		}), "given to both"},
		"strangers": {with(func(out map[string][]parti.Partition, ws []string) {
			out["stranger"] = out[ws[0]]
			delete(out, ws[0])
		}), "no worker of the list"},
		"weights": {with(func(out map[string][]parti.Partition, ws []string) {
			for i := range out[ws[0]] {
				out[ws[0]][i].Weight++
			}
		}), "weight"},
		"map order": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			set := map[string]bool{}
			for _, w := range workers {
				set[w] = true
			}
			out, i, order := map[string][]parti.Partition{}, 0, []string{}
			for w := range set {
				order = append(order, w)
			}
			for _, p := range partitions {
				out[order[i%len(order)]] = append(out[order[i%len(order)]], p)
				i++
			}
			return out, nil
		}, "another result"},
		"stateful": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			calls++
			if len(workers) == 0 {
				return nil, nil
			}
			return map[string][]parti.Partition{workers[calls%len(workers)]: partitions}, nil
		}, "another result"},
		"input order": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			out := map[string][]parti.Partition{}
			for i, p := range partitions {
				out[workers[i%len(workers)]] = append(out[workers[i%len(workers)]], p)
			}
			return out, nil
		}, "shuffled inputs"},
		"sorting the input": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			slices.SortFunc(partitions, func(p, q parti.Partition) int { return q.Compare(p) })
			return dealt(workers, partitions)
		}, "inputs were changed"},
		"reusing its result": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			out, err := dealt(workers, partitions)
			at := map[string]int{}
			for i, p := range partitions {
				at[p.ID()] = i
			}
			for w := range out {
				slices.SortFunc(out[w], func(p, q parti.Partition) int { return at[p.ID()] - at[q.ID()] })
			}
			if reused == nil {
				reused = map[string][]parti.Partition{}
			}
			clear(reused)
			maps.Copy(reused, out)
			return reused, err
		}, "changed the result of an earlier one"},
		"dividing by zero": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			_ = len(partitions) % len(workers)
			return dealt(workers, partitions)
		}, "no workers: panic"},
		"refusing to do nothing": {func(workers []string, partitions []parti.Partition) (map[string][]parti.Partition, error) {
			if len(partitions) == 0 {
				return nil, parti.ErrSource
			}
			return dealt(workers, partitions)
		}, "no partitions: error"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			partitest.CheckStrategy(r, test.strategy)
			if !r.failed(test.want) {
				t.Errorf("want a failure with %q, got %q", test.want, r.lines())
			}
		})
	}
}

// rebalancer is a strategy with the upgrade, good unless a flag spoils it.
type rebalancer struct {
	assignFunc
	forgetful, eager, cordonBlind bool
}

func (r rebalancer) Rebalance(in parti.RebalanceInput) (map[string][]parti.Partition, error) {
	var workers []string
	for _, w := range in.Workers {
		if w.Capacity > 0 || r.cordonBlind {
			workers = append(workers, w.ID)
		}
	}
	slices.Sort(workers)
	if in.PrevOwner == nil || r.forgetful {
		return r.Assign(workers, in.Partitions)
	}
	type item struct {
		p    parti.Partition
		prev string
	}
	var items []item
	for i, p := range in.Partitions {
		it := item{p: p}
		if o := in.PrevOwner[i]; o >= 0 {
			it.prev = in.PrevWorkers[o]
		}
		items = append(items, it)
	}
	slices.SortFunc(items, func(a, b item) int { return a.p.Compare(b.p) })
	out, orphans := map[string][]parti.Partition{}, []parti.Partition{}
	quota := (len(items) + len(workers) - 1) / len(workers)
	for i, it := range items {
		full := len(out[it.prev]) >= quota
		if slices.Contains(workers, it.prev) && !full && (!r.eager || i > 0) {
			out[it.prev] = append(out[it.prev], it.p)
		} else {
			orphans = append(orphans, it.p)
		}
	}
	for i, p := range orphans {
		w := slices.MinFunc(workers, func(v, w string) int { return len(out[v]) - len(out[w]) })
		if r.eager && i == 0 {
			for _, it := range items { // anywhere but where it was
				if it.p.ID() == p.ID() && it.prev == w && len(workers) > 1 {
					w = workers[(slices.Index(workers, w)+1)%len(workers)]
				}
			}
		}
		out[w] = append(out[w], p)
	}
	return out, nil
}

func TestCheckStrategyAcceptsARebalancer(t *testing.T) {
	partitest.CheckStrategy(t, rebalancer{assignFunc: dealt})
}

func TestCheckStrategyFindsBadRebalancers(t *testing.T) {
	for name, test := range map[string]struct {
		r    parti.AssignmentStrategy
		want []string
	}{
		"forgetful":             {rebalancer{assignFunc: dealt, forgetful: true}, []string{"keep what lives", "whose owners stayed"}},
		"restless":              {rebalancer{assignFunc: dealt, eager: true}, []string{"moved though nothing had changed", "moved again"}},
		"cordon-blind":          {rebalancer{assignFunc: dealt, cordonBlind: true}, []string{"of capacity 0"}},
		"cold start of its own": {otherHome{rebalancer{assignFunc: dealt}}, []string{"elsewhere than by Assign"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			partitest.CheckStrategy(r, test.r)
			for _, want := range test.want {
				if !r.failed(want) {
					t.Errorf("want a failure with %q, got %q", want, r.lines())
				}
			}
		})
	}
}

// otherHome starts cold from another assignment than its Assign.
type otherHome struct{ rebalancer }

func (o otherHome) Rebalance(in parti.RebalanceInput) (map[string][]parti.Partition, error) {
	if in.PrevOwner == nil && len(in.Workers) > 0 {
		first := slices.MinFunc(in.Workers, func(v, w parti.WorkerInfo) int {
			if v.ID < w.ID {
				return -1
			}
			return 1
		})
		return map[string][]parti.Partition{first.ID: slices.SortedFunc(slices.Values(in.Partitions), parti.Partition.Compare)}, nil
	}
	return o.rebalancer.Rebalance(in)
}
