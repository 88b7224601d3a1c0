package testing_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	partitest "github.com/arloliu/parti/testing"
)

// What the package documentation says of the server's clocks in a bubble.
func TestBubbleServerClocks(t *testing.T) {
	for name, storage := range map[string]jetstream.StorageType{"memory": jetstream.MemoryStorage, "file": jetstream.FileStorage} {
		t.Run(name, func(t *testing.T) {
			partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
				js, err := jetstream.New(srv.Connect(t))
				ok(t, err)
				checkAckWait(t, js, storage)
				checkKeyTTL(t, js, storage)
				if storage == jetstream.MemoryStorage {
					checkBucketTTL(t, js)
				}
			})
		})
	}
}

func checkAckWait(t *testing.T, js jetstream.JetStream, storage jetstream.StorageType) {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Storage: storage})
	ok(t, err)
	_, err = js.Publish(t.Context(), "s", nil)
	ok(t, err)
	c, err := s.CreateConsumer(t.Context(), jetstream.ConsumerConfig{
		Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 10 * time.Second,
	})
	ok(t, err)
	_, err = c.Next()
	ok(t, err)
	start := time.Now()
	_, err = c.Next(jetstream.FetchMaxWait(time.Minute))
	ok(t, err)
	if d := time.Since(start); d < 10*time.Second || d > 11*time.Second {
		t.Errorf("AckWait of 10s took %v", d)
	}
}

func checkKeyTTL(t *testing.T, js jetstream.JetStream, storage jetstream.StorageType) {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "keys", LimitMarkerTTL: time.Second, Storage: storage})
	ok(t, err)
	_, err = kv.Create(t.Context(), "k", nil, jetstream.KeyTTL(4*time.Second))
	ok(t, err)
	time.Sleep(3900 * time.Millisecond)
	_, err = kv.Get(t.Context(), "k")
	ok(t, err)
	time.Sleep(400 * time.Millisecond)
	if _, err := kv.Get(t.Context(), "k"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("a key outlived its TTL: %v", err)
	}
}

// checkBucketTTL checks that a bucket in memory expires nothing early, and
// everything after twice its TTL at most. One in files expires far too much.
func checkBucketTTL(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "bucket", TTL: 10 * time.Second, Storage: jetstream.MemoryStorage})
	ok(t, err)
	put(t, kv, "early")
	time.Sleep(5 * time.Second)
	put(t, kv, "late")
	time.Sleep(9900 * time.Millisecond)
	_, err = kv.Get(t.Context(), "late")
	ok(t, err)
	time.Sleep(11 * time.Second)
	for _, key := range []string{"early", "late"} {
		if _, err := kv.Get(t.Context(), key); !errors.Is(err, jetstream.ErrKeyNotFound) {
			t.Errorf("key %s outlived twice its TTL: %v", key, err)
		}
	}
}
