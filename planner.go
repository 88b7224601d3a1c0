package parti

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/cespare/xxhash/v2"

	"github.com/arloliu/parti/internal/core"
	"github.com/arloliu/parti/internal/plan"
)

// partitionList is a checked list as the source returned it, in the source's
// order, with what the core needs of it. It owns its memory and is never changed.
type partitionList struct {
	core    *core.List
	index   *plan.Index // by hash of the id
	keys    []string    // of all partitions, one after the other
	ends    []int32     // of the keys of each partition
	each    int         // how many keys each partition has; 0 when that differs
	weights []int64     // as declared
}

// newPartitionList checks and copies a list. Its error wraps ErrSource and names
// the first offender.
func newPartitionList(parts []Partition) (*partitionList, error) {
	var total int64
	for i := range parts {
		if err := parts[i].validate(); err != nil {
			return nil, fmt.Errorf("%w: partition %d of the list: %w", ErrSource, i, err)
		}
		w := effectiveWeight(parts[i].Weight)
		if w > math.MaxInt64-total {
			return nil, fmt.Errorf("%w: partition %q: weight %d: the weights add up to more than an int64 holds", ErrSource, parts[i], w)
		}
		total += w
	}
	l := &partitionList{core: &core.List{Weights: make([]int64, len(parts))}}
	l.copyKeys(parts)
	l.weights = l.core.Weights
	if slices.ContainsFunc(parts, func(p Partition) bool { return p.Weight != effectiveWeight(p.Weight) }) {
		l.weights = make([]int64, len(parts))
	}

	hashes := make([]uint64, len(parts))
	var ids, all digest
	for i, id := range l.core.IDs {
		w := effectiveWeight(parts[i].Weight)
		l.weights[i], l.core.Weights[i] = parts[i].Weight, w
		h := xxhash.Sum64String(id)
		hashes[i] = h
		ids.add(h)
		all.add(h ^ mixBits(uint64(w)))
	}
	l.core.IDDigest, l.core.Digest = ids.text(), all.text()
	index, twice := plan.NewIndex(hashes, func(i, j int32) bool { return l.core.IDs[i] == l.core.IDs[j] })
	if twice != plan.None {
		return nil, fmt.Errorf("%w: partition %q is listed twice", ErrSource, parts[twice])
	}
	l.index = index
	return l, nil
}

func effectiveWeight(w int64) int64 {
	if w == 0 {
		return DefaultWeight
	}
	return w
}

// copyKeys copies the partitions into few large pieces of memory: all ids lie in
// one string, and keys that need no escape are parts of their id.
func (l *partitionList) copyKeys(parts []Partition) {
	size, count := 0, 0
	for i := range parts {
		for _, k := range parts[i].Keys {
			size += len(escapeKey(k)) + 1
		}
		size--
		count += len(parts[i].Keys)
	}
	var text strings.Builder
	text.Grow(size)
	ends := make([]int, 0, count)
	for i := range parts {
		for n, k := range parts[i].Keys {
			if n > 0 {
				text.WriteByte('.')
			}
			text.WriteString(escapeKey(k))
			ends = append(ends, text.Len())
		}
	}
	arena := text.String()
	l.core.IDs = make([]string, len(parts))
	l.keys, l.ends = make([]string, count), make([]int32, len(parts))
	if len(parts) > 0 && count%len(parts) == 0 {
		l.each = count / len(parts)
	}
	at, from := 0, 0
	for i := range parts {
		if len(parts[i].Keys) != l.each {
			l.each = 0
		}
		idFrom := from
		for _, k := range parts[i].Keys {
			if l.keys[at] = arena[from:ends[at]]; l.keys[at] != k {
				l.keys[at] = strings.Clone(k)
			}
			from = ends[at] + 1
			at++
		}
		from-- // ids follow each other without a dot
		l.core.IDs[i] = arena[idFrom:from]
		l.ends[i] = int32(at)
	}
}

// partitions returns the list for others to keep. Keys are shared with the list.
func (l *partitionList) partitions() []Partition {
	parts := make([]Partition, len(l.ends))
	from := int32(0)
	for i, end := range l.ends {
		parts[i] = Partition{Keys: l.keys[from:end:end], Weight: l.weights[i]}
		from = end
	}
	return parts
}

// find returns the number of the partition with an id, or -1.
func (l *partitionList) find(id string) int32 {
	return l.index.Find(xxhash.Sum64String(id), func(i int32) bool { return l.core.IDs[i] == id })
}

// digest adds up two independent hashes of each member of a set, so that the
// order does not matter and nothing need be sorted. It tells sets apart that
// differ by chance, not by malice.
type digest struct{ a, b uint64 }

func (d *digest) add(h uint64) {
	d.a += mixBits(h)
	d.b += mixBits(h ^ 0xd6e8feb86659fd93)
}

func (d *digest) text() string {
	b := binary.BigEndian.AppendUint64(nil, d.a)
	return hex.EncodeToString(binary.BigEndian.AppendUint64(b, d.b))
}

// mixBits is the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
func mixBits(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// planner calls the user's strategy and checks what it returns.
type planner struct {
	strategy   AssignmentStrategy
	rebalancer Rebalancer // nil when the strategy offers none
}

func newPlanner(s AssignmentStrategy) *planner {
	r, _ := s.(Rebalancer)
	return &planner{strategy: s, rebalancer: r}
}

// plan asks the strategy who is to own what and returns owners[i], the index
// into workers of the owner of partition i of the list. PrevOwner[i] is the index into
// prevWorkers of its owner so far, -1 for none; nil before the first plan. An
// error wraps ErrStrategy and names the offender. Plan takes as long as the
// strategy does.
func (p *planner) plan(workers []WorkerInfo, l *partitionList, prevWorkers []string, prevOwner []int32) ([]int32, error) {
	result, err := p.call(workers, l, prevWorkers, prevOwner)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStrategy, err)
	}
	owners, err := ownersOf(result, workerIDs(workers), l)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStrategy, err)
	}
	return owners, nil
}

// call gives the strategy copies, since it is foreign code, and turns its panics
// into errors.
func (p *planner) call(workers []WorkerInfo, l *partitionList, prevWorkers []string, prevOwner []int32) (result map[string][]Partition, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	if p.rebalancer == nil {
		// It knows no capacities; at least who is to own nothing is left out.
		able := slices.DeleteFunc(slices.Clone(workers), func(w WorkerInfo) bool { return w.Capacity == 0 })
		if len(able) == 0 {
			return nil, errors.New("no worker has a capacity above 0")
		}
		return p.strategy.Assign(workerIDs(able), l.partitions())
	}
	in := RebalanceInput{
		Workers:     workers,
		Partitions:  l.partitions(),
		PrevWorkers: prevWorkers,
		PrevOwner:   prevOwner,
	}
	return p.rebalancer.Rebalance(in)
}

func workerIDs(workers []WorkerInfo) []string {
	out := make([]string, len(workers))
	for i, w := range workers {
		out[i] = w.ID
	}
	return out
}

// ownersOf turns the result of a strategy into owners by index. Every partition
// must be there once, by its keys, and only known workers. What the strategy was
// given and gives back is known by the memory of its keys, which is much faster
// than to look for a million of them by name.
func ownersOf(result map[string][]Partition, workers []string, l *partitionList) ([]int32, error) {
	owners := make([]int32, len(l.core.IDs))
	for i := range owners {
		owners[i] = plan.None
	}
	known, left := 0, len(owners)
	var buf []byte
	for w, id := range workers {
		mine, ok := result[id]
		if ok {
			known++
		}
		for i := range mine {
			n := l.given(mine[i].Keys)
			if n == plan.None {
				n, buf = l.findKeys(mine[i].Keys, buf)
			}
			if n == plan.None {
				return nil, fmt.Errorf("partition %q of worker %q was invented", mine[i], id)
			}
			if other := owners[n]; other != plan.None {
				return nil, fmt.Errorf("partition %q was assigned twice, to %q and %q", mine[i], workers[other], id)
			}
			owners[n] = int32(w)
			left--
		}
	}
	if known < len(result) {
		unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(result)), func(id string) bool { return slices.Contains(workers, id) })
		return nil, fmt.Errorf("%q is no worker", unknown[0])
	}
	if left > 0 {
		return nil, fmt.Errorf("partition %q was lost", l.core.IDs[slices.Index(owners, plan.None)])
	}
	return owners, nil
}

// given returns the number of the partition whose keys these are, in the very
// memory that partitions hands out, or -1 when they are not, or may not be.
func (l *partitionList) given(keys []string) int32 {
	if l.each == 0 || len(keys) != l.each {
		return plan.None
	}
	// Only a number is made of the addresses; whether it is the place of these
	// keys is told by the comparison of pointers below.
	at := (uintptr(unsafe.Pointer(unsafe.SliceData(keys))) - uintptr(unsafe.Pointer(unsafe.SliceData(l.keys)))) / unsafe.Sizeof("") //nolint:gosec // see above
	if at >= uintptr(len(l.keys)) || at%uintptr(l.each) != 0 || &l.keys[at] != &keys[0] {
		return plan.None
	}
	return int32(at / uintptr(l.each))
}

// findKeys returns the number of the partition with these keys, or -1. The id is
// written to buf, which is returned for the next call, so that looking up a
// million partitions allocates nothing.
func (l *partitionList) findKeys(keys []string, buf []byte) (int32, []byte) {
	buf = buf[:0]
	for i, k := range keys {
		if i > 0 {
			buf = append(buf, '.')
		}
		buf = append(buf, escapeKey(k)...)
	}
	// Different keys have different ids, and no id of the list is that of keys
	// that are not allowed.
	return l.index.Find(xxhash.Sum64(buf), func(i int32) bool { return l.core.IDs[i] == string(buf) }), buf
}
