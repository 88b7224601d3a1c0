package plan

import "math/bits"

// Index finds things by a 64-bit hash of what names them. It is a table with
// open addressing and linear probing that holds only their numbers, so that a
// million of them cost 12 MB and two allocations.
type Index struct {
	hashes []uint64
	slots  []int32 // number + 1; 0 is empty
	shift  int
}

// NewIndex returns an index over things 0…len(hashes)-1 with the given hashes,
// which must be well mixed in their high bits, and None; or, when same(i, j)
// tells of two with equal hashes that they are the same thing, the number of the
// first that repeats an earlier one.
func NewIndex(hashes []uint64, same func(i, j int32) bool) (*Index, int32) {
	size := bits.Len(uint(len(hashes)) * 2)
	x := &Index{hashes: hashes, slots: make([]int32, 1<<size), shift: 64 - size}
	for i, h := range hashes {
		s := x.slot(h)
		for x.slots[s] != 0 {
			j := x.slots[s] - 1
			if hashes[j] == h && same(int32(i), j) {
				return x, int32(i)
			}
			s = (s + 1) & (len(x.slots) - 1)
		}
		x.slots[s] = int32(i) + 1
	}
	return x, None
}

// Find returns the number of the thing with hash h for which is reports true, or
// None.
func (x *Index) Find(h uint64, is func(i int32) bool) int32 {
	for s := x.slot(h); x.slots[s] != 0; s = (s + 1) & (len(x.slots) - 1) {
		if i := x.slots[s] - 1; x.hashes[i] == h && is(i) {
			return i
		}
	}
	return None
}

func (x *Index) slot(h uint64) int { return int(h >> x.shift) }
