package wall

import (
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestClusterDeath: the worker that dies is connected to another server of a cluster
// than the leader, which learns of it and asks for it all the same.
func TestClusterDeath(t *testing.T) {
	c := partitest.StartEmbeddedNATSCluster(t, 3)
	src := source.NewStatic(fleettest.Numbered(partitions))
	var ms []*parti.Manager
	var links []*partitest.Link
	for _, node := range c.Servers() {
		link := node.NewLink(t)
		m := fleettest.NewManager(t, link.Connect(t, parti.NATSOptions()...), parti.Config{KVBucket: parti.KVBucketConfig{Replicas: 3}}, src)
		if err := m.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		ms, links = append(ms, m), append(links, link)
	}
	for _, m := range ms {
		if err := m.WaitState(t.Context(), parti.StateStable); err != nil {
			t.Fatal(err)
		}
	}
	<-time.After(5 * time.Second) // so that everybody has said that it answers probes
	dead := 0
	for ms[dead].IsLeader() {
		dead++
	}
	links[dead].Cut()
	began := time.Now()
	end := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n := 0
		for i, m := range ms {
			if i != dead {
				n += len(m.CurrentAssignment().Partitions)
			}
		}
		if n == partitions {
			break
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("its partitions are not owned again")
		}
	}
	// The grace, and an allowance of a second and the dial timeout: there are
	// several servers to reconnect to.
	took := time.Since(began)
	links[dead].Heal() // so that it stops at once
	t.Logf("owned again after %v", took)
	if limit := 5 * time.Second * slow; took > limit {
		t.Errorf("owned again after %v, want at most %v", took, limit)
	}
}
