package oracle

import (
	"fmt"
	"time"
)

// FaultKind is a way in which a history is bad.
type FaultKind string

// The faults.
const (
	// Lost: published, never handled, and the server has it no more.
	Lost FaultKind = "lost"
	// Skipped: never handled, but a later one of its partition was.
	Skipped FaultKind = "skipped"
	// Stranded: the server still has it although the fleet had time for it.
	Stranded FaultKind = "stranded"
	// Duplicate: a handler was called again for a message that it had not
	// failed, without the excuse of an unanswered acknowledgement.
	Duplicate FaultKind = "duplicate"
	// Disorder: begun before an earlier message of its partition was done, or
	// after a later one.
	Disorder FaultKind = "out of order"
	// Overlap: worked on by two, or by one who was not granted it.
	Overlap FaultKind = "overlapping owners"
	// Stale: work was done under a token older than the latest one granted, or
	// a token was granted that is not newer than those before it.
	Stale FaultKind = "stale token"
	// Foreign: a message or partition that nobody published.
	Foreign FaultKind = "foreign"
)

// Faults are all kinds, in the order in which they are shown.
func Faults() []FaultKind {
	return []FaultKind{Lost, Skipped, Stranded, Duplicate, Disorder, Overlap, Stale, Foreign}
}

// Fault is one thing that went wrong.
type Fault struct {
	Kind FaultKind
	Rec  Record // that shows it
	Text string
}

func (f Fault) String() string {
	return fmt.Sprintf("%s: partition %d message %d (stream %d), process %d at %d: %s",
		f.Kind, f.Rec.Part, f.Rec.N, f.Rec.Seq, f.Rec.Proc, f.Rec.At, f.Text)
}

// maxFaults is how many faults of a kind are kept; all are counted.
const maxFaults = 10

// Move is a partition that a plan took from one live worker and gave to another.
type Move struct {
	Part     int
	From, To int // processes
	Told     int64
	Released int64
	Granted  int64
	// First is when the new owner's handler began; 0 if it never did.
	First int64
	// Idle is when the last handler of the giver returned that ran when it was
	// told to let go of this partition and of others with it; Told if none did.
	Idle int64
	// InFlight: a handler of the partition ran when the move began.
	InFlight bool
	// Waiting is how many messages of the partition were not handled then.
	Waiting int
	// Replanned: another plan changed the destination before it was granted.
	Replanned bool
	// Disturbed: a process was killed, or a server was down, before the new
	// owner's first message.
	Disturbed bool
}

// Pause is how long the partition rested beyond the handlers that had to finish.
func (m Move) Pause() time.Duration { return time.Duration(m.First - m.Idle) }

// Steps are what the pause consists of: until the giver had let go, until the new
// owner began with the partition, and until its first message.
func (m Move) Steps() [3]time.Duration {
	return [3]time.Duration{
		time.Duration(m.Released - m.Idle), time.Duration(m.Granted - m.Released), time.Duration(m.First - m.Granted),
	}
}

// Orphan is a partition whose owner was killed.
type Orphan struct {
	Part        int
	From        int // process
	Killed      int64
	Granted     int64 // to the next owner; 0 if to none
	First       int64 // message at the next owner; 0 if there was none
	To          int
	Excused     int  // messages handled twice because of it
	Outstanding int  // messages whose acknowledgement was not known to be answered
	Leader      bool // not set by Judge
}

// Verdict is what a history comes to.
type Verdict struct {
	Published, Handled int
	// Excused are messages that a handler was called for again because their
	// acknowledgement was unanswered when its owner was killed, or a server
	// was.
	Excused int
	// MostAgain is the most of them in one partition under one grant.
	MostAgain int
	// Taken counts partitions that were granted to another while their owner
	// lived, was doubted and could not know.
	Taken int
	// Late counts messages that were begun under a grant that was over, by a
	// process that could not know, and Refused the writes that the store refused.
	Late, Refused int
	// NoToken counts messages handled without a known token.
	NoToken int
	// Returned counts moves that were taken back while the partition drained.
	Returned int
	Count    map[FaultKind]int
	Faults   []Fault
	Moves    []Move
	Orphans  []Orphan
	// Calm and Moving are the rests between two messages of a partition that
	// stayed with its owner, while nothing moved and while something did.
	Calm, Moving []time.Duration
}

// OK reports whether nothing went wrong.
func (v *Verdict) OK() bool { return len(v.Count) == 0 }

func (v *Verdict) fault(kind FaultKind, rec Record, format string, args ...any) {
	if v.Count[kind]++; v.Count[kind] <= maxFaults {
		v.Faults = append(v.Faults, Fault{Kind: kind, Rec: rec, Text: fmt.Sprintf(format, args...)})
	}
}
