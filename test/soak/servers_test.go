package soak

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti/test/internal/crew"
)

// What waits in a replicated stream outlives the restarts of its servers, one by
// one, while other subjects of it are consumed: plain nats.go, nothing of parti.
// It fails for interest retention on servers from 2.11 to at least 2.15.2
// (docs/design/decisions); once it does not, the helper need not warn of it.
func TestServersKeepWhatWaits(t *testing.T) {
	if !*r3 {
		t.Skip("judges nats-server, not parti: -args -r3")
	}
	binary, err := crew.ServerBinary(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, retention := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.WorkQueuePolicy, jetstream.InterestPolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			for round := range 3 {
				if lost := restartServers(t, binary, retention); lost > 0 {
					t.Fatalf("round %d: %d messages that nobody had acknowledged are gone", round, lost)
				}
			}
		})
	}
}

// restartServers publishes to a subject that waits and to others that are
// consumed, restarts each server, and returns how many messages of the first are
// gone.
func restartServers(t *testing.T, binary string, retention jetstream.RetentionPolicy) int {
	t.Helper()
	const busy, enough = 8, 10
	servers := crew.StartTestServers(t, binary, 3)
	nc, err := nats.Connect(servers.URLs(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	insist := func(f func(ctx context.Context) error) {
		for ctx.Err() == nil {
			once, cancel := context.WithTimeout(ctx, 2*time.Second)
			err = f(once)
			cancel()
			if err == nil {
				return
			}
		}
		t.Fatal(err)
	}
	insist(func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Retention: retention, Replicas: 3})
		return err
	})
	var consumers [busy + 1]jetstream.Consumer // the first one waits
	for i := range consumers {
		insist(func(ctx context.Context) (err error) {
			consumers[i], err = js.CreateOrUpdateConsumer(ctx, "S", jetstream.ConsumerConfig{
				Durable: fmt.Sprintf("d%d", i), FilterSubject: fmt.Sprintf("s.%d", i), AckPolicy: jetstream.AckExplicitPolicy,
			})
			return err
		})
	}
	for _, c := range consumers[1:] {
		running, err := c.Consume(func(msg jetstream.Msg) { _ = msg.Ack() }, jetstream.ConsumeErrHandler(func(jetstream.ConsumeContext, error) {}))
		if err != nil {
			t.Fatal(err)
		}
		defer running.Stop()
	}
	begun, end := make(chan struct{}), make(chan struct{})
	messages := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ { // until the servers are back
			select {
			case <-tick.C:
			case <-end:
				return
			}
			for i := range consumers {
				for ctx.Err() == nil {
					once, cancel := context.WithTimeout(ctx, time.Second)
					_, err := js.Publish(once, fmt.Sprintf("s.%d", i), []byte(strconv.Itoa(n)))
					cancel()
					if err == nil {
						break
					}
				}
			}
			if messages++; messages == enough {
				close(begun)
			}
		}
	})
	<-begun
	for _, node := range servers.Nodes {
		if err := errors.Join(node.Stop(syscall.SIGTERM), servers.Start(node), servers.Ready(ctx, time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	close(end)
	wg.Wait()
	got := make(map[string]bool)
	for len(got) < messages && ctx.Err() == nil {
		batch, err := consumers[0].Fetch(messages, jetstream.FetchMaxWait(5*time.Second))
		if err != nil {
			continue
		}
		n := 0
		for msg := range batch.Messages() {
			got[string(msg.Data())] = true
			_ = msg.Ack()
			n++
		}
		if n == 0 && (batch.Error() == nil || errors.Is(batch.Error(), nats.ErrTimeout)) {
			break
		}
	}
	return messages - len(got)
}
