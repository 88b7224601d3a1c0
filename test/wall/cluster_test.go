package wall

import (
	"sync"
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
	t.Parallel()
	c := partitest.StartEmbeddedNATSCluster(t, 3)
	src := source.NewStatic(fleettest.Numbered(partitions))
	var ms []*parti.Manager
	var links []*partitest.Link
	for _, node := range c.Servers() {
		link := node.NewLink(t)
		m := fleettest.NewManager(t, link.Connect(t, parti.NATSOptions()...), parti.Config{KVBucket: parti.KVBucketConfig{Replicas: 3}}, src)
		ms, links = append(ms, m), append(links, link)
	}
	startTogether(t, ms, partitions)
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

// startTogether starts managers at once, so that one plan is enough, and waits until
// they own all partitions. One that is late for that plan joins by another.
func startTogether(t *testing.T, ms []*parti.Manager, parts int) {
	t.Helper()
	var wg sync.WaitGroup
	for _, m := range ms {
		wg.Go(func() {
			if err := m.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	end := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		n, idle := 0, 0
		for _, m := range ms {
			owned := len(m.CurrentAssignment().Partitions)
			if n += owned; owned == 0 || m.State() != parti.StateStable {
				idle++
			}
		}
		if n == parts && idle == 0 {
			fleettest.OwnedOnce(t, ms, parts)
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%d of %d partitions are owned, %d managers are not at rest", n, parts, idle)
		}
	}
}
