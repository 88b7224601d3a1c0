package soak

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/subscription"
	"github.com/arloliu/parti/test/soak/oracle"
	partitest "github.com/arloliu/parti/testing"
)

// forms are the six kinds of streams.
func forms() []form {
	var out []form
	for _, retention := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.InterestPolicy, jetstream.WorkQueuePolicy} {
		for _, storage := range []jetstream.StorageType{jetstream.MemoryStorage, jetstream.FileStorage} {
			name := map[jetstream.RetentionPolicy]string{
				jetstream.LimitsPolicy: "limits", jetstream.InterestPolicy: "interest", jetstream.WorkQueuePolicy: "work queue",
			}[retention]
			out = append(out, form{
				name:      fmt.Sprintf("%s, %v", name, map[jetstream.StorageType]string{jetstream.MemoryStorage: "memory", jetstream.FileStorage: "file"}[storage]),
				retention: retention, storage: storage, replicas: 1, seed: *seed,
				partitions: 64, workers: 5, waiting: 1000, perPlan: 20,
			})
		}
	}
	return out
}

// TestSoak moves partitions -moves times over all six kinds of streams, and a sixth
// of that over a work queue with one durable for each worker.
func TestSoak(t *testing.T) {
	if *moves == 0 {
		t.Skip("runs for minutes: make soak")
	}
	began := time.Now()
	var results []*result
	all := forms()
	shared := all[len(all)-1]
	shared.name, shared.layout = "per worker", subscription.PerWorker
	for i, f := range append(all, shared) {
		f.moves = (*moves + len(all) - 1) / len(all)
		f.kills = max(1, *moves/2500)
		f.leaves = max(1, *moves/1200)
		f.seed += uint64(i)
		t.Run(f.name, func(t *testing.T) {
			r := onServer(t, f)
			r.check(t)
			results = append(results, r)
			t.Logf("%s took %v", f.name, r.took)
		})
	}
	checkAll(t, results)
	t.Logf("\n%s\nseed %d, all in %v", table(results), *seed, time.Since(began).Round(time.Second))
}

// TestSmoke is a run of a few seconds.
func TestSmoke(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes for some seconds")
	}
	f := forms()[0]
	f.partitions, f.workers, f.waiting, f.moves, f.perPlan, f.kills = 12, 3, 50, 12, 6, 1
	r := onServer(t, f)
	r.check(t)
	t.Logf("\n%s", table([]*result{r}))
}

// TestKills kills workers while all of them work.
func TestKills(t *testing.T) {
	if *kills == 0 {
		t.Skip("runs for a minute: make soak-kills")
	}
	var results []*result
	for i, f := range forms() {
		if f.storage != jetstream.FileStorage {
			continue
		}
		f.crashes = max(1, *kills/3)
		f.seed += uint64(i)
		t.Run(f.name, func(t *testing.T) {
			r := onServer(t, f)
			r.check(t)
			results = append(results, r)
			t.Logf("\n%s", r.orphans())
		})
	}
	t.Logf("\n%s\nseed %d", table(results), *seed)
}

// TestPauses measures how long partitions rest that are moved, 20 at a time, while
// nothing else happens.
func TestPauses(t *testing.T) {
	if *pauses == 0 {
		t.Skip("runs for a minute: make soak-pauses")
	}
	var results []*result
	for i, f := range forms() {
		if f.storage != jetstream.FileStorage {
			continue
		}
		f.moves, f.steady, f.seed = max(1, *pauses/3), true, f.seed+uint64(i)
		t.Run(f.name, func(t *testing.T) {
			r := onServer(t, f)
			r.check(t)
			results = append(results, r)
		})
	}
	t.Logf("\n%s\nseed %d", table(results), *seed)
}

// TestR3 runs on a cluster, and restarts the server that leads the stream.
func TestR3(t *testing.T) {
	if !*r3 {
		t.Skip("runs for minutes: make soak-r3")
	}
	var results []*result
	for i, f := range forms() {
		if f.storage != jetstream.FileStorage {
			continue
		}
		f.name += ", R3"
		f.replicas, f.moves, f.perPlan, f.seed = 3, 60, 10, f.seed+uint64(i)
		t.Run(f.name, func(t *testing.T) {
			cluster := partitest.StartEmbeddedNATSCluster(t, 3)
			f.outage = func(r *run) error { return restartLeader(r, cluster) }
			r := runForm(t, f, strings.Join(cluster.URLs(), ","), cluster.Connect(t))
			r.check(t)
			results = append(results, r)
		})
	}
	t.Logf("\n%s\nseed %d", table(results), *seed)
}

// restartLeader stops the server that leads the stream while partitions drain,
// has more of them move without it, and starts it again.
func restartLeader(r *run, cluster *partitest.Cluster) error {
	info, err := r.backlog.stream.Info(r.ctx)
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	i := slices.IndexFunc(cluster.Servers(), func(s *partitest.Server) bool { return s.Name() == info.Cluster.Leader })
	if i < 0 {
		return fmt.Errorf("the stream has the leader %q, which is none of ours", info.Cluster.Leader)
	}
	if err := r.batch(func() error {
		r.own.Add(oracle.Record{Kind: oracle.OutageBegan})
		cluster.StopNode(i)
		return nil
	}); err != nil {
		return err
	}
	if err := r.batch(nil); err != nil {
		return err
	}
	cluster.RestartNode(i)
	err = r.batch(nil)
	r.own.Add(oracle.Record{Kind: oracle.OutageEnded})
	return err
}
