package core

import "time"

// Event is something that happened outside, told to [Core.Step].
type Event interface{ event() }

type (
	// Start begins a life: claim an id, join the fleet. Nonce names the new
	// incarnation and must be unique; Seed feeds the jitter; Wall is the wall
	// clock in milliseconds since 1970, used only to begin the terms of an empty bucket.
	Start struct {
		Nonce string
		Seed  uint64
		Wall  uint64
	}
	// Stop asks for an orderly end.
	Stop struct{}
	// Abort ends at once, without draining: a failed or cancelled Start. What
	// was claimed is still released.
	Abort struct{}
	// Tick says that time has passed; sent when the time of [Core.Wake] comes.
	Tick struct{}

	// Connected and Disconnected follow the state of the NATS connection.
	// Before Start the core takes it to be connected.
	Connected struct {
		Server    string        // id of the server
		Allowance time.Duration // how long a reconnect of this connection may take
		// MaxPayload is how many bytes a message may have; 0 = not known.
		MaxPayload int
	}
	// Disconnected says that the connection is down.
	Disconnected struct{}

	// Done is the result of a [KV], [Source], [Plan], [Agent], [Processes] or
	// [Probe] effect; the fields that its kind does not use are zero.
	Done struct {
		Op   OpID
		Err  ErrKind // KV; Probe: OK = answered, NotFound = nobody listens, Ambiguous = no answer in time
		Text string  // error text, for people; not empty when a Source, Plan or Agent failed
		Rev  uint64  // KV: revision written or read
		Val  []byte  // KV Get: the value

		List   *List    // Source: what was listed, nil on error
		Owners []int32  // Plan: for each partition of the list, the index of its owner in Plan.Workers; nil on error
		Yes    bool     // Agent
		Dead   []string // Processes: keys of the processes proved dead
	}

	// Watched is a change seen by a watch, in the order of revisions.
	Watched struct {
		Watch   WatchID
		Key     string // "" for the event that only says Synced
		Val     []byte
		Rev     uint64
		Deleted bool
		// Synced says that nothing is waiting behind this event: the watch has
		// delivered everything written before.
		Synced bool
	}
	// WatchLost says that a watch ended or fell silent, or could not be made,
	// and why: Err is OK for one that was made. The core asks for a new one.
	WatchLost struct {
		Watch WatchID
		Err   ErrKind
		Text  string
	}

	// Applied says that the assignment of the [Apply] effect with this Seq is
	// in force: updater and hook have returned. Those superseded before they
	// began are not reported.
	Applied struct{ Seq uint64 }

	// Probed says that a probe for this incarnation was answered; told once per
	// [Serve].
	Probed struct{ Inc string }
	// Notice says that the server has deleted the consumer of a watch, by its name.
	// Notices may be late, and may be lost.
	Notice struct{ Name string }

	// Rebound tells the creation times of the buckets, "" where it is not known:
	// after some of them were created anew, or in answer to [Rebind].
	Rebound struct{ Created [NumBuckets]string }

	// Refresh asks to read the list of partitions again; answered by a
	// [Refreshed] effect with the same ID.
	Refresh struct{ ID uint64 }
	// ListChanged says that the source announces another list. Only a leader
	// looks; it reads the list as if it had been asked to refresh.
	ListChanged struct{}
)

func (Start) event()        {}
func (Stop) event()         {}
func (Abort) event()        {}
func (Tick) event()         {}
func (Connected) event()    {}
func (Disconnected) event() {}
func (Done) event()         {}
func (Watched) event()      {}
func (WatchLost) event()    {}
func (Applied) event()      {}
func (Probed) event()       {}
func (Notice) event()       {}
func (Rebound) event()      {}
func (Refresh) event()      {}
func (ListChanged) event()  {}

// ErrKind says how an operation on a bucket ended.
type ErrKind uint8

const (
	// OK is success.
	OK ErrKind = iota
	// Conflict: the key exists (Create), or its revision is another one
	// (Update, Delete). An answer, not an error.
	Conflict
	// NotFound: the key does not exist. An answer, not an error.
	NotFound
	// Down: the connection is down; the operation was not sent.
	Down
	// Ambiguous: no answer came; the write may or may not have happened.
	Ambiguous
	// Failed: NATS refused; the operation did not happen. Done.Text says why.
	Failed
)

// OpID pairs a [Done] with the effect it answers. WatchID names a watch.
type (
	OpID    uint64
	WatchID uint64
)
