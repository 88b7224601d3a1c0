package subscription

import "time"

// Metrics receives measurements. Embed [NopMetrics] to implement only some of
// its methods. They are called from several goroutines and must not block.
type Metrics interface {
	// ObserveHandler is how long a call of the handler took and whether it
	// succeeded.
	ObserveHandler(d time.Duration, ok bool)
	// IncrementPanic counts panics of the handler.
	IncrementPanic()
	// IncrementStuck counts handlers that outlasted HandlerTimeout.
	IncrementStuck()
	// IncrementRevoked counts partitions whose handler still ran when they had
	// to be let go.
	IncrementRevoked()
	// IncrementDeadLettered counts messages given to the DeadLetterSubject.
	IncrementDeadLettered()
	// IncrementTerminated counts poison messages dropped for want of one.
	IncrementTerminated()
	// IncrementTakeover counts partitions gained with unacknowledged messages.
	IncrementTakeover()
	// IncrementResync counts partitions that began again at their ack floor
	// because a delivery was lost.
	IncrementResync()
	// AddHandedBack counts messages fetched and handed back, not begun.
	AddHandedBack(n int)
	// ObserveRelease is how long it took to let go of a partition.
	ObserveRelease(d time.Duration)
	// SetAbandoned is how many durables of partitions that left the list hold
	// messages that nobody handles, and how many messages. The leader sets it; it
	// is zero elsewhere.
	SetAbandoned(durables int, messages uint64)
	// IncrementRetired counts durables removed because their partitions left the
	// list.
	IncrementRetired()
}

// NopMetrics collects nothing.
type NopMetrics struct{}

var _ Metrics = NopMetrics{}

func (NopMetrics) ObserveHandler(time.Duration, bool) {}
func (NopMetrics) IncrementPanic()                    {}
func (NopMetrics) IncrementStuck()                    {}
func (NopMetrics) IncrementRevoked()                  {}
func (NopMetrics) IncrementDeadLettered()             {}
func (NopMetrics) IncrementTerminated()               {}
func (NopMetrics) IncrementTakeover()                 {}
func (NopMetrics) IncrementResync()                   {}
func (NopMetrics) AddHandedBack(int)                  {}
func (NopMetrics) ObserveRelease(time.Duration)       {}
func (NopMetrics) SetAbandoned(int, uint64)           {}
func (NopMetrics) IncrementRetired()                  {}
