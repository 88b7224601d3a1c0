package bench

import (
	"os"
	"os/exec"
	"testing"

	"github.com/arloliu/parti/cmd/parti/internal/fleet"
)

// What goes to a newcomer had to move; what goes from one old worker to another
// had not.
func TestMovesTo(t *testing.T) {
	cover := fleet.NewCoverage(6)
	tm := &team{cover: cover, spec: workerSpec{Partitions: 6}}
	own := func(proc int, id string, parts ...string) {
		cover.Is(proc, func(w *fleet.WorkerState) { w.ID, w.Ready = id, true })
		cover.Change(proc, id, parts, nil)
	}
	cover.Seen(1)
	cover.Seen(2)
	own(1, "w-0", "a", "b", "c")
	own(2, "w-1", "d", "e", "f")
	old, before := tm.ids(), cover.Moves

	cover.Gone(2)
	cover.Seen(3)
	own(3, "w-1", "d", "e", "f")
	if m := tm.movesTo(old, before); m != (Moves{}) {
		t.Errorf("a restart: %+v", m)
	}
	cover.Seen(4)
	own(4, "w-2", "a", "d")
	if m := tm.movesTo(old, before); m != (Moves{Moved: 2, Least: 2}) {
		t.Errorf("a join: %+v", m)
	}
	own(1, "w-0", "e")
	if m := tm.movesTo(old, before); m != (Moves{Moved: 3, Least: 2, Others: 1}) {
		t.Errorf("a move of another: %+v", m)
	}
}

// A worker that was taken for dead claims another id in the same process.
func TestIDsAreTheLatest(t *testing.T) {
	tm := &team{cover: fleet.NewCoverage(1), debug: func(string, ...any) {}}
	p := &fleet.Process{N: 1, Cmd: &exec.Cmd{Process: &os.Process{}}}
	tm.cover.Seen(p.N)
	tm.listen(p, &fleet.Report{Kind: fleet.Started, Worker: "w-0"})
	tm.cover.Seen(p.N)
	tm.cover.Is(p.N, startedBefore)
	tm.listen(p, &fleet.Report{Kind: fleet.Assigned, Worker: "w-1", Added: []string{"a"}})
	if ids := tm.ids(); len(ids) != 1 || !ids["w-1"] {
		t.Errorf("ids %v", ids)
	}
}
