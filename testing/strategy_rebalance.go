package testing

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arloliu/parti"
)

// moveSlack is how many times the share of a worker that joins may move: twice
// it is more than any placement by hashing needs, and a fraction of what one
// that forgets who owned what does.
const moveSlack = 2

// rebalanceCheck checks Rebalance on one case.
type rebalanceCheck struct {
	t    testing.TB
	r    parti.Rebalancer
	name string
}

func checkRebalance(t testing.TB, s parti.AssignmentStrategy, r parti.Rebalancer, c strategyCase) {
	t.Helper()
	k := rebalanceCheck{t: t, r: r, name: c.name}

	cold, ok := k.run("cold start", rebalanceInput(c.workers, c.partitions, nil))
	if !ok {
		return
	}
	assigned, err := guarded(func() (assignment, error) { return s.Assign(c.workers, c.partitions) })
	if err != nil {
		return // reported by checkAssign
	}
	if n := moved(owners(assigned), owners(cold)); n != 0 {
		k.fail("cold start", "%d partitions are elsewhere than by Assign, though there are no previous owners", n)
	}
	if still, ok := k.run("no change", rebalanceInput(c.workers, c.partitions, cold)); ok {
		if n := moved(owners(cold), owners(still)); n != 0 {
			k.fail("no change", "%d partitions moved though nothing had changed", n)
		}
	}
	k.join(c, cold)
	if len(c.workers) > 1 {
		k.leave(c, cold)
		k.cordon(c, cold)
	}
}

func (k rebalanceCheck) fail(what, format string, args ...any) {
	k.t.Helper()
	k.t.Errorf("Rebalance, %s, %s: %s", k.name, what, fmt.Sprintf(format, args...))
}

// run calls Rebalance and checks all that holds for any input.
func (k rebalanceCheck) run(what string, in parti.RebalanceInput) (assignment, bool) {
	k.t.Helper()
	given := cloneInput(in)
	got, err := guarded(func() (assignment, error) { return k.r.Rebalance(given) })
	if err != nil {
		k.fail(what, "error: %v", err)
		return nil, false
	}
	if !equalInput(given, in) {
		k.fail(what, "the input was changed")
	}
	var workers []string
	for _, w := range in.Workers {
		workers = append(workers, w.ID)
		if w.Capacity == 0 && len(got[w.ID]) > 0 {
			k.fail(what, "%s, of capacity 0, is given %d partitions", w.ID, len(got[w.ID]))
		}
	}
	if err := complete(got, workers, in.Partitions); err != nil {
		k.fail(what, "%v", err)
		return nil, false
	}
	before := canonical(got)
	again, err := guarded(func() (assignment, error) { return k.r.Rebalance(cloneInput(in)) })
	if err != nil || !bytes.Equal(canonical(again), before) {
		k.fail(what, "the same call again gave another result (error %v)", err)
		return nil, false
	}
	mixed, err := guarded(func() (assignment, error) { return k.r.Rebalance(shuffledInput(in)) })
	if err != nil {
		k.fail(what, "error with shuffled inputs: %v", err)
		return nil, false
	}
	if n := moved(owners(got), owners(mixed)); n != 0 {
		k.fail(what, "with shuffled inputs %d partitions went elsewhere: sort them first", n)
		return nil, false
	}
	if !bytes.Equal(canonical(got), before) {
		k.fail(what, "a later call changed the result of an earlier one")
	}
	return got, true
}

// join checks that a newcomer causes no more moves than its share explains, and
// that the result is settled.
func (k rebalanceCheck) join(c strategyCase, prev assignment) {
	k.t.Helper()
	workers := append(slices.Clone(c.workers), "newcomer")
	got, ok := k.run("a worker joins", rebalanceInput(workers, c.partitions, prev))
	if !ok {
		return
	}
	was, is := owners(prev), owners(got)
	var total, largest, weight int64
	for _, p := range c.partitions {
		total += weightOf(p)
		largest = max(largest, weightOf(p))
		if is[p.ID()] != was[p.ID()] {
			weight += weightOf(p)
		}
	}
	// The least that can move is what the newcomer needs. A partition too heavy
	// to share may have to change places with all that is around it.
	if limit := moveSlack*total/int64(len(workers)) + largest; weight > limit {
		k.fail("a worker joins", "weight %d of %d moved, more than %d: keep what lives where it is", weight, total, limit)
	}
	if still, ok := k.run("after a join", rebalanceInput(workers, c.partitions, got)); ok {
		if n := moved(is, owners(still)); n != 0 {
			k.fail("after a join", "%d partitions moved again though nothing had changed", n)
		}
	}
}

// leave checks that what a leaver had goes to the others. With equal weights
// there is no reason for anything else to move.
func (k rebalanceCheck) leave(c strategyCase, prev assignment) {
	k.t.Helper()
	workers := c.workers[1:]
	got, ok := k.run("a worker leaves", rebalanceInput(workers, c.partitions, prev))
	if !ok || !c.equal {
		return
	}
	was := owners(prev)
	for id, w := range was {
		if w == c.workers[0] {
			delete(was, id)
		}
	}
	if n := moved(was, owners(got)); n != 0 {
		k.fail("a worker leaves", "%d partitions moved whose owners stayed, with equal weights", n)
	}
}

// cordon checks that a worker of capacity 0 is emptied; run does the checking.
func (k rebalanceCheck) cordon(c strategyCase, prev assignment) {
	k.t.Helper()
	in := rebalanceInput(c.workers, c.partitions, prev)
	in.Workers[len(in.Workers)-1].Capacity = 0
	k.run("a worker is cordoned", in)
}

// rebalanceInput describes workers of equal capacity after prev; nil for a cold
// start.
func rebalanceInput(workers []string, partitions []parti.Partition, prev assignment) parti.RebalanceInput {
	in := parti.RebalanceInput{Partitions: partitions}
	for _, w := range workers {
		in.Workers = append(in.Workers, parti.WorkerInfo{ID: w, Capacity: 1})
	}
	if prev == nil {
		return in
	}
	index := map[string]int32{}
	for _, w := range sortedKeys(prev) {
		index[w] = int32(len(in.PrevWorkers))
		in.PrevWorkers = append(in.PrevWorkers, w)
	}
	was := owners(prev)
	for _, p := range partitions {
		in.PrevOwner = append(in.PrevOwner, index[was[p.ID()]])
	}
	return in
}

func cloneInput(in parti.RebalanceInput) parti.RebalanceInput {
	in.Workers = slices.Clone(in.Workers)
	in.Partitions = clonePartitions(in.Partitions)
	in.PrevWorkers = slices.Clone(in.PrevWorkers)
	in.PrevOwner = slices.Clone(in.PrevOwner)
	return in
}

func equalInput(a, b parti.RebalanceInput) bool {
	sameWorker := func(v, w parti.WorkerInfo) bool { return v.ID == w.ID && v.Capacity == w.Capacity }
	return slices.EqualFunc(a.Workers, b.Workers, sameWorker) &&
		equalPartitions(a.Partitions, b.Partitions) &&
		slices.Equal(a.PrevWorkers, b.PrevWorkers) && slices.Equal(a.PrevOwner, b.PrevOwner)
}

// shuffledInput says the same in another order.
func shuffledInput(in parti.RebalanceInput) parti.RebalanceInput {
	in = cloneInput(in)
	rng := rand.New(rand.NewPCG(2, uint64(len(in.Partitions))))
	rng.Shuffle(len(in.Workers), func(i, j int) { in.Workers[i], in.Workers[j] = in.Workers[j], in.Workers[i] })
	rng.Shuffle(len(in.Partitions), func(i, j int) {
		in.Partitions[i], in.Partitions[j] = in.Partitions[j], in.Partitions[i]
		if in.PrevOwner != nil {
			in.PrevOwner[i], in.PrevOwner[j] = in.PrevOwner[j], in.PrevOwner[i]
		}
	})
	slices.Reverse(in.PrevWorkers)
	for i, o := range in.PrevOwner {
		if o >= 0 {
			in.PrevOwner[i] = int32(len(in.PrevWorkers)) - 1 - o
		}
	}
	return in
}

func weightOf(p parti.Partition) int64 {
	if p.Weight == 0 {
		return parti.DefaultWeight
	}
	return p.Weight
}
