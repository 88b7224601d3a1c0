package parti

import (
	"fmt"
	"slices"
)

// State is where a worker stands in its life. The zero value is [StateInit].
//
//	Init → ClaimingID → Election → WaitingAssignment → Stable
//	Stable → Scaling → Rebalancing → Stable      membership or list changed
//	Stable → Emergency → Stable                  a worker crashed
//	any → Degraded → back                        NATS is away
//	any → Shutdown                               Stop was called
//
// Scaling and Emergency are shown by the leader only, since it is the one that
// waits and decides; a follower shows Rebalancing while it gives up or takes
// over partitions.
type State int

const (
	// StateInit is the state before Start.
	StateInit State = iota
	// StateClaimingID means that the worker looks for a free stable id.
	StateClaimingID
	// StateElection means that an id is held and no leader is known yet.
	StateElection
	// StateWaitingAssignment means that a leader is known and no assignment
	// that names this worker has been applied yet.
	StateWaitingAssignment
	// StateStable is normal operation.
	StateStable
	// StateScaling means that the leader waits out a stabilization window.
	StateScaling
	// StateRebalancing means that a new assignment is calculated, published or
	// being taken over.
	StateRebalancing
	// StateEmergency means that the leader replaces a crashed worker.
	StateEmergency
	// StateDegraded means that NATS is away and the assignment is frozen.
	StateDegraded
	// StateShutdown means that Stop was called, or that the worker ended by
	// itself; see [Manager.Err].
	StateShutdown
)

var stateNames = [...]string{
	StateInit:              "Init",
	StateClaimingID:        "ClaimingID",
	StateElection:          "Election",
	StateWaitingAssignment: "WaitingAssignment",
	StateStable:            "Stable",
	StateScaling:           "Scaling",
	StateRebalancing:       "Rebalancing",
	StateEmergency:         "Emergency",
	StateDegraded:          "Degraded",
	StateShutdown:          "Shutdown",
}

// MarshalText makes the state its name in JSON and elsewhere.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name.
func (s *State) UnmarshalText(text []byte) error {
	i := slices.Index(stateNames[:], string(text))
	if i < 0 {
		return fmt.Errorf("state %q: unknown", text)
	}
	*s = State(i)
	return nil
}

// States are all states, in their order.
func States() []State {
	all := make([]State, len(stateNames))
	for i := range all {
		all[i] = State(i)
	}
	return all
}

// String returns the name of the state without its prefix, such as "Stable".
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return stateNames[s]
}
