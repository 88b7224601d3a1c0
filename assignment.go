package parti

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
