package strategy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/arloliu/parti"
)

// keySet holds what the strategies need to know of the keys of a list of
// partitions, all of them different.
type keySet struct {
	// hash[i] is the hash of the keys of partition i.
	hash []uint64
	// order lists the partitions in ascending order of hash, those with equal
	// hashes by keys: the same sequence of partitions whatever the order of the
	// list.
	order []int32
}

// keyHasher hashes keys under a seed.
type keyHasher struct {
	seed uint64
}

// keySet hashes the keys of partitions and checks them.
func (k *keyHasher) keySet(partitions []parti.Partition) (*keySet, error) {
	s := &keySet{hash: make([]uint64, len(partitions)), order: make([]int32, len(partitions))}
	for i := range partitions {
		if len(partitions[i].Keys) == 0 {
			return nil, fmt.Errorf("partition %d of the list has no keys", i)
		}
		for _, key := range partitions[i].Keys {
			if key == "" {
				return nil, fmt.Errorf("partition %q: one of its keys is empty", partitions[i].Keys)
			}
		}
		s.hash[i] = hashKeys(k.seed, partitions[i].Keys)
		s.order[i] = int32(i)
	}
	slices.SortFunc(s.order, func(a, b int32) int { return s.compare(partitions, a, b) })
	for n, i := range s.order[min(1, len(s.order)):] {
		if j := s.order[n]; s.hash[i] == s.hash[j] && slices.Equal(partitions[i].Keys, partitions[j].Keys) {
			return nil, fmt.Errorf("partition %q is listed twice", partitions[i])
		}
	}
	return s, nil
}

// compare orders partitions a and b by hash, then by keys.
func (s *keySet) compare(partitions []parti.Partition, a, b int32) int {
	if c := cmp.Compare(s.hash[a], s.hash[b]); c != 0 {
		return c
	}
	return slices.Compare(partitions[a].Keys, partitions[b].Keys)
}

// hashKeys hashes each key by itself, so that {"a", "bc"} and {"ab", "c"} differ,
// and chains the hashes, so that their order counts.
func hashKeys(seed uint64, keys []string) uint64 {
	h := seed
	for _, key := range keys {
		h = mix(h + xxhash.Sum64String(key))
	}
	return h
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection that
// lets every bit of x change every bit of the result.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
