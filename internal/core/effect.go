package core

import "time"

// Effect is something the shell has to do, in the order given.
type Effect interface{ effect() }

// Bucket is one of the four buckets.
type Bucket uint8

// The buckets; their names are the configuration's.
const (
	IDs Bucket = iota
	Election
	Heartbeats
	Assignments
	NumBuckets
)

// Verb is an operation on one key.
type Verb uint8

const (
	// Get reads from the stream leader.
	Get Verb = iota
	// Create writes a key that must not exist, or be deleted.
	Create
	// Update writes a key that must stand at revision Rev.
	Update
	// Delete deletes a key that must stand at revision Rev.
	Delete
)

type (
	// KV is an operation on a key, answered by [Done].
	KV struct {
		Op      OpID
		Verb    Verb
		Bucket  Bucket
		Key     string
		Val     []byte
		Rev     uint64
		Timeout time.Duration
		// Fresh: no deletion of the key to be created is known. It may conflict
		// with one.
		Fresh bool
	}
	// Watch asks for every change of the keys that match Filter (an exact key,
	// or a prefix followed by '>'), the present values first. Name is unique
	// per incarnation and watch and shows in the server's listing. The watch
	// goes on until [Unwatch], or until its loss is told by [WatchLost].
	Watch struct {
		ID     WatchID
		Bucket Bucket
		Filter string
		Name   string
	}
	// Unwatch ends a watch. Events of it that come later are ignored.
	Unwatch struct{ ID WatchID }

	// Rebind asks to look at the buckets, and to create those that are gone;
	// answered by [Rebound], perhaps once for several.
	Rebind struct{}

	// Source asks for the list of partitions, answered by [Done] within
	// OperationTimeout.
	Source struct{ Op OpID }
	// Plan asks the strategy to divide List among Workers, which are sorted,
	// answered by [Done] within OperationTimeout. PrevOwner holds, for each
	// partition, the index in PrevWorkers of its published owner, or -1.
	Plan struct {
		Op          OpID
		Workers     []string
		Capacity    []float64           // of each worker
		Labels      []map[string]string // of each worker
		List        *List
		PrevWorkers []string
		PrevOwner   []int32
	}
	// Agent calls the external election agent, answered by [Done] within
	// ElectionTimeout. The shell makes one call at a time, in order.
	Agent struct {
		Op     OpID
		Verb   AgentVerb
		Worker string
		Lease  time.Duration
	}
	// Processes asks the operating system which of these processes of this
	// host are dead, answered by [Done] with the keys of those that are.
	Processes struct {
		Op  OpID
		All map[string]Process
	}

	// Serve has probes for an incarnation answered from now on, and those for the
	// one before not any more; "" ends it.
	Serve struct{ Inc string }
	// Listen asks for the notices about the deletion of consumers of the
	// assignments bucket: of one by its name, of all ("*"), or of none ("").
	// Where that is not permitted, none come.
	Listen struct{ Name string }
	// Probe asks whether anybody answers for an incarnation; see [Done].
	Probe struct {
		Op      OpID
		Inc     string
		Timeout time.Duration
	}

	// Apply puts an assignment into force: updater first, then the hook, then
	// the [Applied] event. When several wait, only the last is applied. Added
	// and Removed compare with the Apply before this one; the shell computes
	// the true difference when it has skipped some.
	Apply struct {
		Seq       uint64
		Term      uint64
		Version   uint64
		Lifecycle string
		Owned     []Owned // sorted by ID
	}

	// Started: Start returns nil. StartFailed: Start returns the fault.
	Started     struct{}
	StartFailed struct{ Fault Fault }
	// Ended: nothing is held any more and nothing will be asked for; the loop
	// ends. Fault is nil after an orderly Stop.
	Ended struct{ Fault *Fault }
	// Refreshed answers [Refresh]; Fault is nil on success.
	Refreshed struct {
		ID    uint64
		Fault *Fault
	}

	// StateChanged is a change of state, in order.
	StateChanged struct{ From, To State }
	// Report is a recoverable error.
	Report struct{ Fault Fault }
	// Alert is a degraded alert.
	Alert struct {
		Level AlertLevel
		Since time.Duration // since NATS was lost
	}
	// Rebalanced says that a plan is in force: its last grant is published. Began
	// is a time on the core's clock; the durations follow each other.
	Rebalanced struct {
		Reason              string
		Term, Version       uint64 // of the commit that published the plan
		Workers, Partitions int
		Moves               int
		Began               time.Duration
		Plan                time.Duration // the strategy decides
		Publish             time.Duration // payloads and head are written
		Handoff             time.Duration // old owners let go, the rest is granted
	}
	// Handed says that this many partitions have an owner again, after each had
	// none for as long as Pause.
	Handed struct {
		Cause      string // "move", "crash" or "restart"
		Pause      time.Duration
		Partitions int
	}
	// Fleet is what a leader knows of its fleet, when it has changed: how many
	// partitions are listed, and how many of them nobody works on. Both are 0
	// without leadership.
	Fleet struct{ Partitions, Unowned int }
	// Log is a line for the log.
	Log struct {
		Level   LogLevel
		Message string
		Pairs   []any
	}
	// Measure is a sample for the metrics.
	Measure struct {
		Metric Metric
		Value  float64
		Label  string
	}
)

// AgentVerb is a call of the election agent.
type AgentVerb uint8

// The calls of an agent.
const (
	AgentRequest AgentVerb = iota
	AgentRenew
	AgentRelease
)

// LogLevel is the level of a [Log] line.
type LogLevel uint8

// The log levels.
const (
	Debug LogLevel = iota
	Info
	Warn
	Error
)

// AlertLevel is the level of a degraded alert; zero is none.
type AlertLevel uint8

// The alert levels.
const (
	AlertNone AlertLevel = iota
	AlertInfo
	AlertWarn
	AlertError
	AlertCritical
)

func (KV) effect()           {}
func (Watch) effect()        {}
func (Unwatch) effect()      {}
func (Rebind) effect()       {}
func (Source) effect()       {}
func (Plan) effect()         {}
func (Agent) effect()        {}
func (Processes) effect()    {}
func (Serve) effect()        {}
func (Listen) effect()       {}
func (Probe) effect()        {}
func (Apply) effect()        {}
func (Started) effect()      {}
func (StartFailed) effect()  {}
func (Ended) effect()        {}
func (Refreshed) effect()    {}
func (StateChanged) effect() {}
func (Report) effect()       {}
func (Alert) effect()        {}
func (Rebalanced) effect()   {}
func (Handed) effect()       {}
func (Fleet) effect()        {}
func (Log) effect()          {}
func (Measure) effect()      {}

// Fault is an error as the core sees it; the shell turns it into one that can
// be matched.
type Fault struct {
	Kind FaultKind
	Text string // names the thing and the remedy
}

// FaultKind is the kind of a [Fault].
type FaultKind uint8

// The kinds of faults; root has an error variable for each.
const (
	FaultConnection FaultKind = iota + 1
	FaultKV
	FaultIDsExhausted
	FaultIDLost
	FaultElection
	FaultSource
	FaultStrategy
	FaultVersion
	FaultForced
	FaultForeignApp
	FaultForeignValue
	FaultTimeout // matches context.DeadlineExceeded
	FaultStopped
)

// Metric names what a [Measure] samples.
type Metric uint8

// The metrics.
const (
	MetricDegraded       Metric = iota // 1 or 0
	MetricCacheAge                     // seconds since the assignment was last confirmed
	MetricAlertLevel                   // 0 to 4
	MetricDegradedTime                 // seconds, on leaving
	MetricAlerts                       // +1, Label is the level
	MetricCacheFallback                // +1
	MetricLeader                       // 1 or 0
	MetricPartitions                   // owned by this worker
	MetricMoves                        // partitions moved by a plan, Label is the reason
	MetricRebalances                   // +1, Label is the reason
	MetricForced                       // handoffs forced
	MetricClaimConflicts               // +1
	MetricWatchRestarts                // +1
	MetricKVErrors                     // +1, Label is the bucket
	MetricCommitTime                   // seconds from the decision to the head written
	MetricOverlaps                     // partitions held when it turned out that others had been given them
)

// Process names a process of some host beyond doubt.
type Process struct {
	Boot  string `json:"boot,omitempty"` // boot id of the host
	PIDNS string `json:"ns,omitempty"`   // pid namespace
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"` // start time in clock ticks since boot
}
