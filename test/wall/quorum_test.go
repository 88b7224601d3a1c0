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
// can be written; everybody goes on with what it has, and nothing has moved
// afterwards.
func TestQuorumIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel() // most of it is waiting, as in the others that say so
	const parts, size = 30, 4
	c := partitest.StartEmbeddedNATSCluster(t, 3)
	src := source.NewStatic(fleettest.Numbered(parts))
	had := map[*parti.Manager]string{}
	var ms []*parti.Manager
	for range size {
		ms = append(ms, fleettest.NewManager(t, c.NewLink(t).Connect(t, parti.NATSOptions()...),
			parti.Config{KVBucket: parti.KVBucketConfig{Replicas: 3}}, src))
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
	for _, m := range ms {
		if now := fmt.Sprint(m.CurrentAssignment().Partitions); now != had[m] {
			t.Errorf("without a quorum: %s has %s, had %s", m.WorkerID(), now, had[m])
		}
	}

	c.Servers()[0].Restart()
	c.RestartNode(1) // and waits until the cluster works
	back := time.Now()
	// ExitThreshold and 5 s, and up to a heartbeat and its timeout until NATS is
	// found well again.
	all(14*time.Second*slow, parti.StateStable)
	t.Logf("all stable %v after the cluster works", time.Since(back))
	<-time.After(3 * time.Second)
	all(5*time.Second*slow, parti.StateStable)
	fleettest.OwnedOnce(t, ms, parts)
	for _, m := range ms {
		if now := fmt.Sprint(m.CurrentAssignment().Partitions); now != had[m] {
			t.Errorf("%s has %s, had %s", m.WorkerID(), now, had[m])
		}
	}
}
