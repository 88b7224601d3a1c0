package core

// State mirrors the public states, in the same order.
type State uint8

// The states of a worker.
const (
	Init State = iota
	ClaimingID
	Electing
	WaitingAssignment
	Stable
	Scaling
	Rebalancing
	Emergency
	Degraded
	Shutdown
)
