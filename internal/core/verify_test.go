package core

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// TestStaleIncarnation: a watch that begins anew on a replica that is behind shows
// a heartbeat of an incarnation that has ended. It is not believed: what the
// present one holds stays with it, under the same tokens.
func TestStaleIncarnation(t *testing.T) {
	s := &script{world: newWorld(), cfg: testConfig()}
	for _, cmd := range []string{"start a,b", "run 15s"} {
		if err := s.do(strings.Fields(cmd)); err != nil {
			t.Fatal(err)
		}
	}
	a, b := s.node("a"), s.node("b")
	held := maps.Clone(b.running)
	if !a.core.leading() || len(held) == 0 {
		t.Fatal("a does not lead, or b holds nothing")
	}
	old := a.core.lead.members["w-1"].rec
	old.Inc, old.Seq = "ended", 1
	a.core.beatWatchBegins()
	a.core.sawBeat("w-1", Watched{Key: "g.hb.w-1", Val: encode(old), Rev: 1}, false)
	s.run(20 * time.Second)
	if !maps.Equal(b.running, held) {
		t.Errorf("b held %v and now holds %v", held, b.running)
	}
	if inc := a.core.lead.seatOf("w-1").inc; inc != b.core.inc {
		t.Errorf("the seat is of incarnation %q, b is %q", inc, b.core.inc)
	}
	if v := a.core.lead.head.Version; v != 1 {
		t.Errorf("the head became version %d", v)
	}
}
