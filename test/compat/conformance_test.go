package compat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/internal/kvtest"
	"github.com/arloliu/parti/internal/natskv"
	"github.com/arloliu/parti/test/internal/crew"
)

// TestConformance runs the suite of the store on the nats-server program that
// PARTI_NATS_SERVER names: on one server, and on three with replicated buckets.
func TestConformance(t *testing.T) {
	binary := os.Getenv(crew.ServerVariable)
	if binary == "" {
		t.Skip("needs a nats-server program: make compat")
	}
	for _, c := range []struct {
		name   string
		nodes  int
		memory bool
	}{{"memory", 1, true}, {"file", 1, false}, {"R3", 3, false}} {
		t.Run(c.name, func(t *testing.T) {
			servers := crew.StartTestServers(t, binary, c.nodes)
			js := connect(t, servers)
			n := 0
			kvtest.Conformance(t, func(t *testing.T) kvtest.KV {
				t.Helper()
				n++
				cfg := natskv.Config{Memory: c.memory, Replicas: c.nodes}
				for i := range cfg.Buckets {
					cfg.Buckets[i] = fmt.Sprintf("bucket-%d-%d", n, i)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				s, err := natskv.Open(ctx, js, cfg)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					s.Close()
					for _, b := range cfg.Buckets { // a cluster bears only so many
						_ = js.DeleteKeyValue(context.Background(), b)
					}
				})
				answers(ctx, t, s)
				return kvtest.Real{Store: s}
			})
		})
	}
}

// answers waits until every bucket answers: on a cluster it takes a moment until all
// servers know who leads it.
func answers(ctx context.Context, t *testing.T, s *natskv.Store) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for bucket := range natskv.Buckets {
		for {
			_, err := s.Get(ctx, bucket, "nothing")
			if errors.Is(err, natskv.ErrNotFound) {
				break
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				t.Fatalf("bucket %d: %v", bucket, err)
			}
		}
	}
}

func connect(t *testing.T, servers *crew.Servers) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(servers.URLs(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	info, err := js.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("server %s, API level %d", nc.ConnectedServerVersion(), info.API.Level)
	return js
}
