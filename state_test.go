package parti

import (
	"testing"

	"github.com/arloliu/parti/internal/core"
)

// stateTable has the states in the order of the guide's table, their names there,
// and the core's states.
var stateTable = []struct {
	state State
	core  core.State
	name  string
}{
	{StateInit, core.Init, "Init"},
	{StateClaimingID, core.ClaimingID, "ClaimingID"},
	{StateElection, core.Electing, "Election"},
	{StateWaitingAssignment, core.WaitingAssignment, "WaitingAssignment"},
	{StateStable, core.Stable, "Stable"},
	{StateScaling, core.Scaling, "Scaling"},
	{StateRebalancing, core.Rebalancing, "Rebalancing"},
	{StateEmergency, core.Emergency, "Emergency"},
	{StateDegraded, core.Degraded, "Degraded"},
	{StateShutdown, core.Shutdown, "Shutdown"},
}

func TestStateString(t *testing.T) {
	for i, tc := range stateTable {
		if got := tc.state.String(); got != tc.name {
			t.Errorf("got %q, want %q", got, tc.name)
		}
		if int(tc.state) != i || int(tc.core) != i {
			t.Errorf("%v is %d here and %d in the core", tc.state, tc.state, tc.core)
		}
	}
	for state, want := range map[State]string{-1: "State(-1)", 10: "State(10)"} {
		if got := state.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if State(len(stateTable)).String() != "State(10)" || len(stateNames) != len(stateTable) {
		t.Error("there are more states than this test knows")
	}
	var zero State
	if zero != StateInit {
		t.Errorf("the zero state is %v", zero)
	}
}
