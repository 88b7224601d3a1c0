package wall

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestQuorumIsLost: two of the three servers of a cluster are away for 30 s. No bucket
// can be written; everybody goes on with what it has, or in the Exclusive mode stops
// with its lease. All is well ExitThreshold and some 5 s after the last of the buckets has
// a leader again, which takes a busy machine a while, and nothing has moved.
func TestQuorumIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	for _, mode := range []parti.Ownership{parti.OwnershipAvailable, parti.OwnershipExclusive} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel() // most of it is waiting, as in the others that say so
			loseQuorum(t, mode)
		})
	}
}

func loseQuorum(t *testing.T, mode parti.Ownership) {
	t.Helper()
	const parts, size, within = 30, 3, 30 * time.Second
	c := partitest.StartEmbeddedNATSCluster(t, 3)
	src := source.NewStatic(fleettest.Numbered(parts))
	had := map[*parti.Manager]string{}
	var ms []*parti.Manager
	for range size {
		ms = append(ms, fleettest.NewManager(t, c.NewLink(t).Connect(t, parti.NATSOptions()...),
			parti.Config{Ownership: mode, KVBucket: parti.KVBucketConfig{Replicas: 3}}, src))
	}
	startTogether(t, ms, parts)
	all := func(within time.Duration, what parti.State) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		for _, m := range ms {
			if err := m.WaitState(ctx, what); err != nil {
				t.Errorf("%s is %v: %v", m.WorkerID(), m.State(), err)
			}
		}
	}
	owns := func(when string, want func(m *parti.Manager) string) {
		t.Helper()
		for _, m := range ms {
			if now := fmt.Sprint(m.CurrentAssignment().Partitions); now != want(m) {
				t.Errorf("%s: %s has %s, want %s", when, m.WorkerID(), now, want(m))
			}
		}
	}
	same := func(m *parti.Manager) string { return had[m] }
	all(10*time.Second*slow, parti.StateStable)
	for _, m := range ms {
		had[m] = fmt.Sprint(m.CurrentAssignment().Partitions)
	}

	c.StopNode(0)
	c.StopNode(1)
	lost := time.Now()
	all(20*time.Second*slow, parti.StateDegraded)
	t.Logf("all degraded %v after the loss", time.Since(lost))
	<-time.After(time.Until(lost.Add(30 * time.Second)))
	if mode == parti.OwnershipExclusive {
		owns("without a quorum", func(*parti.Manager) string { return "[]" })
	} else {
		owns("without a quorum", same)
	}

	c.Servers()[0].Restart()
	c.RestartNode(1) // and waits until the cluster works
	back := time.Now()
	all(within*slow, parti.StateStable)
	t.Logf("all stable %v after the cluster works", time.Since(back))
	<-time.After(3 * time.Second)
	all(5*time.Second*slow, parti.StateStable)
	fleettest.OwnedOnce(t, ms, parts)
	owns("afterwards", same)
}
