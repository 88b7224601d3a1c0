package core

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// bulky is a fleet whose payloads are larger than a key takes.
func bulky(t *testing.T) (s *script, do func(...string)) {
	t.Helper()
	s = &script{world: newWorld(), cfg: testConfig()}
	s.maxPayload = 4096
	do = func(cmds ...string) {
		t.Helper()
		for _, c := range cmds {
			if err := s.do(strings.Fields(c)); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.list = testList(bulkyIDs(2000)...)
	return s, do
}

// bulkyIDs returns n ids that deflating does not shorten much.
func bulkyIDs(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8)})
		ids[i] = hex.EncodeToString(sum[:10])
	}
	return ids
}

// files returns the sizes of what the assignments bucket holds under a prefix.
func (s *script) files(t *testing.T, prefix string) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, key := range s.kv.Keys(int(Assignments)) {
		if strings.HasPrefix(key, "g."+prefix) {
			e, err := s.kv.Get(int(Assignments), key)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(key, "g.")] = len(e.Val)
			if len(e.Val) > s.maxPayload-valueMargin {
				t.Errorf("%s has %d bytes", key, len(e.Val))
			}
		}
	}
	return out
}

// wantCovered checks that each partition of the list runs once.
func (s *script) wantCovered(t *testing.T) {
	t.Helper()
	count := map[string]int{}
	for _, n := range s.nodes {
		if n.dead {
			continue
		}
		for id := range n.running {
			count[id]++
		}
	}
	if len(count) != len(s.list.IDs) {
		t.Fatalf("%d partitions run, the list has %d", len(count), len(s.list.IDs))
	}
	for _, id := range s.list.IDs {
		if count[id] != 1 {
			t.Fatalf("partition %s runs %d times", id, count[id])
		}
	}
}

// TestPayloadsAreSplit: a payload too large for a key is written in parts, read
// by its worker and by the next leader, and removed with all its parts.
func TestPayloadsAreSplit(t *testing.T) {
	s, do := bulky(t)
	do("start a,b,c", "run 15s")
	s.wantCovered(t)
	if n := len(s.files(t, "part.w-1.4.1")); n < 3 {
		t.Fatalf("the payload of w-1 has %d parts", n)
	}
	held := maps.Clone(s.node("b").running)
	do("kill a", "run 30s")
	s.wantCovered(t)
	for id, token := range held {
		if s.node("b").running[id] != token {
			t.Errorf("%s was granted to b anew", id)
		}
	}
	do("stop c", "run 60s")
	s.list = testList(bulkyIDs(2001)...) // what a head does not name goes with the next
	do("refresh b 1", "run 30s")
	s.wantCovered(t)
	for key := range s.files(t, "part.") {
		if !strings.HasPrefix(key, "part.w-1.") {
			t.Errorf("%s was left behind", key)
		}
	}
}

// TestDeltasFollowBases: a small change is written in few bytes; a leader that
// takes over, and a reader that has no base yet, understand it; when the deltas
// outweigh the base, a new base is written and the old one goes.
func TestDeltasFollowBases(t *testing.T) {
	s, do := bulky(t)
	do("start a,b", "run 15s")
	ids := bulkyIDs(2100)
	grow := func(n int) {
		s.list = testList(ids[:n]...)
		do("refresh a 1", "run 25s")
		s.wantCovered(t)
	}
	grow(2001)
	version := s.node("b").core.adopt.head.at()
	for _, w := range []string{"w-0", "w-1"} {
		for key, size := range s.files(t, fmt.Sprintf("part.%s.%s", w, version)) {
			if size > 200 {
				t.Errorf("%s takes %d bytes for one partition", key, size)
			}
		}
	}
	grow(2005)
	grow(2008)
	grow(2010)
	held := maps.Clone(s.node("b").running)
	do("kill a", "run 30s") // b leads, having read base and delta
	s.wantCovered(t)
	for id, token := range held {
		if s.node("b").running[id] != token {
			t.Errorf("%s was granted to b anew", id)
		}
	}
	s.list = testList(ids[1:2010]...)
	do("refresh b 1", "run 25s")
	s.wantCovered(t)
	do("start d", "run 30s")
	do("refresh b 1", "run 1s")
	base := s.node("b").core.adopt.base.ref
	for n := 2011; n < 2080 && s.node("b").core.adopt.base.ref == base; n++ {
		s.list = testList(append(ids[2099:], ids[:n]...)...)
		do("refresh b 1", "run 25s")
		s.wantCovered(t)
	}
	s.list = testList(ids[1000:2000]...)
	do("refresh b 1", "run 25s", "refresh b 1", "run 60s")
	s.wantCovered(t)
	if got := s.node("b").core.adopt.base.ref; got == base {
		t.Error("no new base was written")
	}
	for key := range s.files(t, fmt.Sprintf("part.w-1.%d.%d", base.Term, base.Version)) {
		t.Errorf("%s was left behind", key)
	}
}
