package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/arloliu/parti/internal/core"
)

// plan divides partitions by number: everybody keeps what it has up to its fair
// share, the rest goes where least is. It changes nothing that is balanced.
func plan(e core.Plan) []int32 {
	index := make(map[string]int32, len(e.Workers))
	for i, w := range e.Workers {
		index[w] = int32(i)
	}
	prev := make([]int32, len(e.List.IDs))
	had := make([]int, len(e.Workers))
	for i := range prev {
		prev[i] = -1
		if e.PrevOwner == nil || e.PrevOwner[i] < 0 {
			continue
		}
		if k, ok := index[e.PrevWorkers[e.PrevOwner[i]]]; ok {
			prev[i] = k
			had[k]++
		}
	}
	// Who has most keeps the one that is over.
	order := make([]int32, len(e.Workers))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return had[b] - had[a] })
	share := make([]int, len(e.Workers))
	for i, k := range order {
		share[k] = len(prev) / len(e.Workers)
		if i < len(prev)%len(e.Workers) {
			share[k]++
		}
	}
	owners := make([]int32, len(prev))
	for i, k := range prev {
		owners[i] = -1
		if k >= 0 && share[k] > 0 {
			owners[i] = k
			share[k]--
		}
	}
	next := 0
	for i := range owners {
		if owners[i] >= 0 {
			continue
		}
		for share[order[next]] == 0 {
			next++
		}
		owners[i] = order[next]
		share[order[next]]--
	}
	return owners
}

// newList makes a list as the shell does.
func newList(ids []string, weights []int64) *core.List {
	type item struct {
		id string
		w  int64
	}
	items := make([]item, len(ids))
	for i, id := range ids {
		items[i] = item{id, weights[i]}
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	all, names := sha256.New(), sha256.New()
	for _, it := range items {
		_, _ = fmt.Fprintf(all, "%s %d\n", it.id, it.w)
		_, _ = fmt.Fprintf(names, "%s\n", it.id)
	}
	return &core.List{
		IDs: slices.Clone(ids), Weights: slices.Clone(weights),
		Digest: hex.EncodeToString(all.Sum(nil)[:8]), IDDigest: hex.EncodeToString(names.Sum(nil)[:8]),
	}
}
