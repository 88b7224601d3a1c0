package strategy

// roomHeap is a binary heap of workers by a key, the greatest on top, those with
// equal keys by index. Keys of any worker may change.
type roomHeap struct {
	key []int64
	at  []int32 // heap position → worker
	pos []int32 // worker → heap position
}

func newRoomHeap(key []int64) *roomHeap {
	h := &roomHeap{key: key, at: make([]int32, len(key)), pos: make([]int32, len(key))}
	for w := range h.at {
		h.at[w], h.pos[w] = int32(w), int32(w)
	}
	for i := len(h.at)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
	return h
}

// top returns the worker with the greatest key.
func (h *roomHeap) top() int32 { return h.at[0] }

// add changes the key of worker w.
func (h *roomHeap) add(w int32, delta int64) {
	h.key[w] += delta
	if delta > 0 {
		h.up(int(h.pos[w]))
	} else {
		h.down(int(h.pos[w]))
	}
}

func (h *roomHeap) before(i, j int) bool {
	a, b := h.at[i], h.at[j]
	return h.key[a] > h.key[b] || h.key[a] == h.key[b] && a < b
}

func (h *roomHeap) swap(i, j int) {
	h.at[i], h.at[j] = h.at[j], h.at[i]
	h.pos[h.at[i]], h.pos[h.at[j]] = int32(i), int32(j)
}

func (h *roomHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(i, parent) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *roomHeap) down(i int) {
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
