package strategy

import "slices"

// topHeap is a binary heap of workers by a key, the greatest on top, those with
// equal keys by index. Keys of any worker may change.
type topHeap struct {
	key []int64
	at  []int32 // heap position → worker
	pos []int32 // worker → heap position
}

// init makes a heap of the keys, which it then owns.
func (h *topHeap) init(key []int64) {
	h.key = key
	h.at = slices.Grow(h.at[:0], len(key))[:len(key)]
	h.pos = slices.Grow(h.pos[:0], len(key))[:len(key)]
	for w := range h.at {
		h.at[w], h.pos[w] = int32(w), int32(w)
	}
	for i := len(h.at)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// top returns the worker with the greatest key.
func (h *topHeap) top() int32 { return h.at[0] }

// set changes the key of worker w.
func (h *topHeap) set(w int32, key int64) {
	old := h.key[w]
	h.key[w] = key
	if key > old {
		h.up(int(h.pos[w]))
	} else {
		h.down(int(h.pos[w]))
	}
}

func (h *topHeap) before(i, j int) bool {
	a, b := h.at[i], h.at[j]
	return h.key[a] > h.key[b] || h.key[a] == h.key[b] && a < b
}

func (h *topHeap) swap(i, j int) {
	h.at[i], h.at[j] = h.at[j], h.at[i]
	h.pos[h.at[i]], h.pos[h.at[j]] = int32(i), int32(j)
}

func (h *topHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(i, parent) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *topHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h.at) {
			return
		}
		if child+1 < len(h.at) && h.before(child+1, child) {
			child++
		}
		if !h.before(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
