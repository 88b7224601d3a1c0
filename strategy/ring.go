package strategy

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// ring is a consistent hash ring (Karger et al. 1997): every worker has points
// on a circle of hashes, and a partition belongs to the worker whose point is the
// first at or after its hash. A worker that comes takes over only the stretches
// before its points, one that goes leaves only its own.
type ring []hashed // points in ascending order, their numbers the workers

// newRing puts nodes points per worker on the ring; with capacities, nodes is
// the mean, and a worker has as many as its share of them, at least one.
func newRing(workers []string, capacities []float64, nodes int, seed uint64) ring {
	points := make([]hashed, 0, len(workers)*nodes)
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
			points = append(points, newHashed(uint32(mix(h+uint64(v))>>32), w))
		}
	}
	return sortHashed(points)
}

// homes returns, by position, the worker to which each partition belongs. Both
// the ring and the listing are in order of hash, so one walk round it suffices.
func (r ring) homes(l *listing) []int32 {
	homes := make([]int32, len(l.order))
	at := 0
	for n, h := range l.order {
		for at < len(r) && r[at].hash() < h.hash() {
			at++
		}
		if at < len(r) {
			homes[n] = r[at].number()
		} else {
			homes[n] = r[0].number()
		}
	}
	return homes
}
