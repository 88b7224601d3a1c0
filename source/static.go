// Package source provides partition sources.
//
// [Static] serves a list that the program sets, [NATSKV] one that is published in
// a NATS bucket, and announces its changes, [SQL] one that a query returns. For
// partitions found otherwise implement [parti.PartitionSource].
package source

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/arloliu/parti"
)

// Static is a list of partitions that changes only by Update. Its methods may be
// called from several goroutines.
type Static struct {
	list atomic.Pointer[[]parti.Partition]
}

var _ parti.PartitionSource = (*Static)(nil)

// NewStatic returns a source of the given partitions. The list is copied, keys
// included, so that the caller may change it afterwards.
func NewStatic(partitions []parti.Partition) *Static {
	s := &Static{}
	s.Update(partitions)
	return s
}

// ListPartitions returns the current list, in the order it was given. The list
// is the caller's own, but for the keys, which are shared and must not be
// changed. It fails only when ctx has ended.
func (s *Static) ListPartitions(ctx context.Context) ([]parti.Partition, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return slices.Clone(*s.list.Load()), nil
}

// Update replaces the list by a copy of the given one. A manager sees it at its
// next [parti.Manager.RefreshPartitions].
func (s *Static) Update(partitions []parti.Partition) {
	list := slices.Clone(partitions)
	for i := range list {
		list[i].Keys = slices.Clone(list[i].Keys)
	}
	s.list.Store(&list)
}
