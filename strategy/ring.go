package strategy

import (
	"cmp"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// ring is a consistent hash ring (Karger et al. 1997): every worker has points
// on a circle of 64-bit hashes, and a key belongs to the worker whose point is
// the first at or after the key's hash. A worker that comes takes over only the
// stretches before its points, one that goes leaves only its own.
type ring struct {
	points []point // in ascending order
}

type point struct {
	hash   uint64
	worker int32
}

// newRing puts nodes points per worker on the ring; with capacities, nodes is
// the mean, and a worker has as many as its share of them, at least one.
func newRing(workers []string, capacities []float64, nodes int, seed uint64) *ring {
	r := &ring{points: make([]point, 0, len(workers)*nodes)}
	sum := 0.0
	for _, c := range capacities {
		sum += c
	}
	for w, id := range workers {
		n := nodes
		if capacities != nil {
			n = max(1, int(math.Round(capacities[w]/sum*float64(len(workers)*nodes))))
		}
		h := mix(seed ^ xxhash.Sum64String(id))
		for v := range n {
			r.points = append(r.points, point{hash: mix(h + uint64(v)), worker: int32(w)})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		if c := cmp.Compare(a.hash, b.hash); c != 0 {
			return c
		}
		return cmp.Compare(a.worker, b.worker)
	})
	return r
}

// homes returns the worker to which each key belongs.
func (r *ring) homes(k *keySet) []int32 {
	homes := make([]int32, len(k.hash))
	at := 0
	for _, i := range k.order {
		for at < len(r.points) && r.points[at].hash < k.hash[i] {
			at++
		}
		homes[i] = r.points[at%len(r.points)].worker
	}
	return homes
}
