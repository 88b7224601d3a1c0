package soak

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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

// TestSoak moves partitions -moves times over all six kinds of streams.
func TestSoak(t *testing.T) {
	if *moves == 0 {
		t.Skip("runs for minutes: make soak")
	}
	began := time.Now()
	var results []*result
	for i, f := range forms() {
		f.moves = (*moves + 5) / 6
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
