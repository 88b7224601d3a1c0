package parti

import (
	"cmp"
	"fmt"
)

// Assignment is what a worker owns, as of one published version.
type Assignment struct {
	// Term is the leadership under which the version was published.
	Term uint64 `json:"term"`
	// Version grows with every published change of the fleet's assignment.
	// Zero before the first.
	Version uint64 `json:"version"`
	// Lifecycle tells where the fleet stands: LifecycleColdStart before its
	// first plan, LifecyclePostColdStart after it, LifecycleStable from the
	// second plan on.
	Lifecycle Lifecycle `json:"lifecycle"`
	// Partitions are owned by this worker, in ascending order of their ids.
	Partitions []Partition `json:"partitions"`
}

// Lifecycle tells where a fleet stands between its cold start and steady work.
type Lifecycle string

// The lifecycles of a fleet.
const (
	LifecycleColdStart     Lifecycle = "cold_start"
	LifecyclePostColdStart Lifecycle = "post_cold_start"
	LifecycleStable        Lifecycle = "stable"
)

// Token is a fencing token. Each grant of a partition carries one that is
// greater than every earlier one of the same partition, over leaders, restarts
// and rebuilt state. A store that keeps the highest token seen per partition and
// refuses writes with a lower one is safe from owners that have been replaced
// and do not know it yet.
//
// Tokens are comparable with ==; Compare and Less order them.
type Token struct {
	Term    uint64 `json:"term"`
	Version uint64 `json:"version"`
}

// Compare returns -1, 0 or +1 as t is older than, equal to or newer than u.
func (t Token) Compare(u Token) int {
	return cmp.Or(cmp.Compare(t.Term, u.Term), cmp.Compare(t.Version, u.Version))
}

// Less reports whether t is older than u.
func (t Token) Less(u Token) bool { return t.Compare(u) < 0 }

// IsZero reports whether t is the token of no grant.
func (t Token) IsZero() bool { return t == Token{} }

// String returns the token as "term.version"; it sorts only numerically, so use
// Compare to order tokens.
func (t Token) String() string { return fmt.Sprintf("%d.%d", t.Term, t.Version) }
