package wall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
)

// TestDurableLeaderIsKilled: the server that leads an idle partition's durable is
// killed, and the worker is connected to another one. Where there are replicas the
// next leader knows of the pull request. A single one is started again and does not,
// and nothing tells the worker: it asks again when heartbeats are missing.
func TestDurableLeaderIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("R%d", replicas), func(t *testing.T) { killDurableLeader(t, replicas) })
	}
}

func killDurableLeader(t *testing.T, replicas int) {
	t.Helper()
	nodes := startNodes(t)
	connect := func(url string) *nats.Conn {
		t.Helper()
		var nc *nats.Conn
		retry(t, "connect", func() (err error) {
			nc, err = nats.Connect(url, append(parti.NATSOptions(), nats.IgnoreDiscoveredServers())...)
			return err
		})
		t.Cleanup(nc.Close)
		return nc
	}
	js, err := jetstream.New(connect(urls(nodes)))
	if err != nil {
		t.Fatal(err)
	}
	brief := func(f func(ctx context.Context) error) func() error {
		return func() error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			return f(ctx)
		}
	}
	retry(t, "create stream", brief(func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}, Replicas: replicas})
		return err
	}))
	p := parti.Partition{Keys: []string{"p"}}
	handled := make(chan string, 10)
	missed := make(chan struct{}, 100)
	helper := func(n *node) *subscription.DurableHelper {
		t.Helper()
		h, err := subscription.NewDurableHelper(connect(n.url()), subscription.DurableConfig{
			StreamName: "WORK", ConsumerPrefix: "w", SubjectTemplate: "work.{{.PartitionID}}",
			OnError: func(_ parti.Partition, err error) {
				if errors.Is(err, jetstream.ErrNoHeartbeat) {
					missed <- struct{}{}
				}
			},
		}, subscription.MessageHandlerFunc(func(_ context.Context, msg jetstream.Msg) error {
			handled <- string(msg.Data())
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close(context.WithoutCancel(t.Context())) })
		return h
	}
	assign := func(h *subscription.DurableHelper, ps ...parti.Partition) {
		t.Helper()
		retry(t, "assign", func() error { return h.UpdateWorkerConsumer(t.Context(), "worker-0", ps) })
	}
	first := helper(nodes[0])
	assign(first, p) // makes the durable
	assign(first)
	leader := -1
	retry(t, "find leader", brief(func(ctx context.Context) error {
		cons, err := js.Consumer(ctx, "WORK", "w-p")
		if err != nil {
			return err
		}
		leader = slices.IndexFunc(nodes, func(n *node) bool { return n.Name == cons.CachedInfo().Cluster.Leader })
		if leader < 0 {
			return errors.New("the durable has no leader")
		}
		return nil
	}))
	assign(helper(nodes[(leader+1)%3]), p)
	publish := func(text string) {
		t.Helper()
		retry(t, "publish", brief(func(ctx context.Context) error {
			_, err := js.Publish(ctx, "work.p", []byte(text), jetstream.WithMsgID(text))
			return err
		}))
	}
	receive := func(text string) time.Duration {
		t.Helper()
		began := time.Now()
		select {
		case got := <-handled:
			if got != text {
				t.Fatalf("handled %q, want %q", got, text)
			}
		case <-time.After(50 * time.Second):
			t.Fatalf("%q is not handled", text)
		}
		return time.Since(began)
	}
	publish("before")
	receive("before")
	nodes[leader].kill()
	killed := time.Now()
	if replicas == 1 {
		nodes[leader].start(t)
	}
	publish("after")
	published := time.Since(killed)
	rested := receive("after")
	t.Logf("published %v after the kill, handled %v later; heartbeats missed: %d", published, rested, len(missed))
	if rested > 25*time.Second {
		t.Errorf("the partition rested for %v", rested)
	}
}
