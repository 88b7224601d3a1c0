package chaos

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is a way to break something.
type kind string

const (
	sigkill   kind = "worker SIGKILL"
	sigstop   kind = "worker SIGSTOP"
	cut       kind = "worker cut"
	halfOpen  kind = "worker half-open"
	latency   kind = "worker latency"
	bandwidth kind = "worker bandwidth"
	nodeKill  kind = "server SIGKILL"
	moved     kind = "leader moved"
	rolling   kind = "rolling restart"
	full      kind = "store limit"
)

// kinds are all of them, in the order in which they are shown.
func kinds() []kind {
	return []kind{sigkill, sigstop, cut, halfOpen, latency, bandwidth, nodeKill, moved, rolling, full}
}

// ofServer tells whether at most one such fault is to go on at a time: a majority
// of the servers works.
func (k kind) ofServer() bool { return k == nodeKill || k == rolling || k == full }

// fault is one thing that is broken, and repaired again.
type fault struct {
	Kind kind
	// At is when, from the beginning of its episode, and For how long.
	At, For time.Duration
	// Slot is which worker, or which server, or which leader.
	Slot int
	// Variant is a number with which a kind does as it likes.
	Variant int
}

// perEpisode is how many faults come together.
const perEpisode = 5

// schedule returns what breaks in each episode: n faults in all, a twentieth of
// them at least of each kind, no two workers' faults of an episode in one slot. It
// depends on its arguments only.
func schedule(seed uint64, n, nodes int) [][]fault {
	rng := rand.New(rand.NewPCG(seed, 1))
	all := kinds()
	episodes := make([][]fault, (n+perEpisode-1)/perEpisode)
	var rest []kind
	for i := range n {
		k := all[i%len(all)]
		if i >= len(all)*((n+19)/20) { // the cheap ones come more often
			k = []kind{sigkill, sigstop, cut, halfOpen, latency, bandwidth, moved}[rng.IntN(7)]
		}
		rest = append(rest, k)
	}
	// Servers' faults first, one in each episode, and a second one where there are
	// more; then what is left, wherever there is room.
	slices.SortStableFunc(rest, func(a, b kind) int { return cmp.Compare(rank(a), rank(b)) })
	order := rng.Perm(len(episodes))
	for i, k := range rest {
		episodes[order[i%len(order)]] = append(episodes[order[i%len(order)]], fault{Kind: k})
	}
	for _, ep := range episodes {
		free := rng.Perm(slots)
		after := time.Duration(0) // when the last fault of servers is over
		for i := range ep {
			f := &ep[i]
			f.At, f.Variant = between(rng, 0, 3*time.Second), rng.IntN(1000)
			switch f.Kind {
			case nodeKill:
				f.For, f.Slot = between(rng, 500*time.Millisecond, 5*time.Second), rng.IntN(nodes)
			case rolling:
				f.For = between(rng, 100*time.Millisecond, time.Second) // between two of them
			case full:
				f.For = between(rng, time.Second, 4*time.Second)
			case moved:
				f.Slot = rng.IntN(1000)
			default:
				f.Slot, free = free[0], free[1:]
				if f.Kind == sigkill && f.Slot == 0 { // lives from the beginning to the end
					f.Slot, free = free[0], append(free[1:], 0)
				}
				f.For = between(rng, 300*time.Millisecond, 8*time.Second)
			}
			if f.Kind.ofServer() {
				f.At += after
				after = f.At + f.For + time.Second
			}
		}
		slices.SortStableFunc(ep, func(a, b fault) int { return cmp.Compare(a.At, b.At) })
	}
	return slices.DeleteFunc(episodes, func(ep []fault) bool { return len(ep) == 0 })
}

func rank(k kind) int {
	switch {
	case k.ofServer():
		return 0
	case k == moved:
		return 1
	default:
		return 2
	}
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}
