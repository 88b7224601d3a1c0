package chaos

import (
	"errors"
	"testing"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/test/internal/crew"
	"github.com/arloliu/parti/test/soak/oracle"
)

// The store refuses what comes under an older token than it knows of.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	l, err := newLedger(dir)
	if err != nil {
		t.Fatal(err)
	}
	tell := func(proc int, kind oracle.Kind, part int, version uint64) error {
		c, err := dialLedger(l.listener.Addr().String(), proc)
		if err != nil {
			t.Fatal(err)
		}
		return c.write(oracle.Record{Kind: kind, Part: part, N: 1, Token: parti.Token{Term: 1, Version: version}})
	}
	for i, step := range []struct {
		proc    int
		kind    oracle.Kind
		part    int
		version uint64
		stale   bool
	}{
		{1, oracle.Granted, 0, 1, false},
		{1, oracle.Handled, 0, 1, false},
		{2, oracle.Granted, 0, 2, false},
		{1, oracle.Handled, 0, 1, true},
		{1, oracle.Handled, 1, 1, false}, // another partition
		{2, oracle.Handled, 0, 2, false},
		{2, oracle.Handled, 0, 3, false}, // a token that it was not told of
		{2, oracle.Handled, 0, 2, true},
		{1, oracle.Granted, 0, 1, true}, // and recorded, to be judged
	} {
		if err := tell(step.proc, step.kind, step.part, step.version); errors.Is(err, errStale) != step.stale || !step.stale && err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	l.close()
	records, err := crew.ReadHistories(dir, 2)
	if err != nil {
		t.Fatal(err)
	}
	if len(records) != 7 {
		t.Errorf("%d records, want 7: %v", len(records), records)
	}
}
