package parti_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
	partitest "github.com/arloliu/parti/testing"
)

// TestBucketSettingsAreObeyed: each bucket has the name that is set for what it
// holds, the storage, and no other is there.
func TestBucketSettingsAreObeyed(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{KVBucket: parti.KVBucketConfig{
			StableIDBucket: "who-is-who", ElectionBucket: "the_chair", HeartbeatBucket: "Pulse", AssignmentBucket: "tasks9",
			Storage: parti.StorageMemory,
		}}
		w := newWorker(t, srv, cfg, source.NewStatic(fleettest.Numbered(5)))
		startAll(t, w)
		check(t, 5, w)
		js, err := jetstream.New(srv.Connect(t))
		if err != nil {
			t.Fatal(err)
		}
		holds := map[string]string{
			"who-is-who": "worker.id.0", "the_chair": "worker.leader", "Pulse": "worker.hb.worker-0", "tasks9": "worker.head",
		}
		streams := js.ListStreams(t.Context())
		found := map[string]bool{}
		for s := range streams.Info() {
			found[strings.TrimPrefix(s.Config.Name, "KV_")] = true
			if c := s.Config; c.Storage != jetstream.MemoryStorage || c.Replicas != 1 {
				t.Errorf("%s: storage %v, %d replicas", c.Name, c.Storage, c.Replicas)
			}
		}
		if err := streams.Err(); err != nil {
			t.Fatal(err)
		}
		if got, want := slices.Sorted(maps.Keys(found)), slices.Sorted(maps.Keys(holds)); !slices.Equal(got, want) {
			t.Fatalf("buckets %v, want %v", got, want)
		}
		for bucket, key := range holds {
			kv, err := js.KeyValue(t.Context(), bucket)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := kv.Get(t.Context(), key); err != nil {
				t.Errorf("%s in %s: %v", key, bucket, err)
			}
		}
	})
}

// TestReplicasAreAskedFor: a single server cannot have three.
func TestReplicasAreAskedFor(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		cfg := parti.Config{KVBucket: parti.KVBucketConfig{Replicas: 3}}
		err := newWorker(t, srv, cfg, source.NewStatic(fleettest.Numbered(5))).Start(t.Context())
		if !errors.Is(err, parti.ErrBucketUnusable) || !strings.Contains(err.Error(), "replicas > 1") {
			t.Errorf("start: %v", err)
		}
	})
}
