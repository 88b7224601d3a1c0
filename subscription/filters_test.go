package subscription

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// TestFilterEditingLosesWhatWaits is why this package has a durable for each
// partition: a durable whose filters follow the assignment delivers none of the
// 100 messages that wait in a partition that it gains. The helper delivers all.
func TestFilterEditingLosesWhatWaits(t *testing.T) {
	const waiting = 100
	for _, retention := range []jetstream.RetentionPolicy{jetstream.LimitsPolicy, jetstream.InterestPolicy, jetstream.WorkQueuePolicy} {
		t.Run(retention.String(), func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: retention}, func(t *testing.T, w *world) {
				// Interest streams keep only what somebody is interested in: an
				// owner of b that does not work.
				cfg := func(name string, filters ...string) jetstream.ConsumerConfig {
					return jetstream.ConsumerConfig{Durable: name, AckPolicy: jetstream.AckExplicitPolicy, FilterSubjects: filters}
				}
				old, err := w.js.CreateConsumer(t.Context(), "WORK", cfg("worker-0", "work.b"))
				ok(t, err)
				_ = old
				cons, err := w.js.CreateConsumer(t.Context(), "WORK", cfg("worker-1", "work.a"))
				ok(t, err)
				got := map[string]int{}
				run, err := cons.Consume(func(msg jetstream.Msg) {
					got[msg.Subject()]++
					_ = msg.Ack()
				})
				ok(t, err)
				publish := func(subject string, n int) {
					for range n {
						_, err := w.js.Publish(t.Context(), subject, nil)
						ok(t, err)
					}
				}
				publish("work.b", waiting)
				publish("work.a", 1)
				time.Sleep(time.Second)

				// b moves from worker-0, which has handled none of it, to worker-1.
				if retention == jetstream.WorkQueuePolicy { // the only legal order there
					_, err = w.js.UpdateConsumer(t.Context(), "WORK", cfg("worker-0", "work.none"))
					ok(t, err)
				}
				_, err = w.js.UpdateConsumer(t.Context(), "WORK", cfg("worker-1", "work.a", "work.b"))
				ok(t, err)
				if retention != jetstream.WorkQueuePolicy {
					_, err = w.js.UpdateConsumer(t.Context(), "WORK", cfg("worker-0", "work.none"))
					ok(t, err)
				}
				time.Sleep(time.Minute)
				run.Stop()
				<-run.Closed()
				info, err := cons.Info(t.Context())
				ok(t, err)
				stream, err := w.js.Stream(t.Context(), "WORK")
				ok(t, err)
				si, err := stream.Info(t.Context())
				ok(t, err)
				t.Logf("filters edited: %d of %d waiting messages arrive, the server counts %d pending, the stream keeps %d",
					got["work.b"], waiting, info.NumPending, si.State.Msgs)
				if got["work.b"] != 0 || got["work.a"] != 1 {
					t.Errorf("got %v: the server has learned to do this: reconsider", got)
				}
			})
			inWorld(t, jetstream.StreamConfig{Retention: retention}, func(t *testing.T, w *world) {
				got := 0
				cfg := DurableConfig{StreamName: "WORK", ConsumerPrefix: "w", SubjectTemplate: "work.{{.PartitionID}}"}
				a, b := parti.Partition{Keys: []string{"a"}}, parti.Partition{Keys: []string{"b"}}
				stuck := make(chan struct{})
				giver, err := NewDurableHelperJS(w.js, cfg, MessageHandlerFunc(func(ctx context.Context, _ jetstream.Msg) error {
					close(stuck)
					<-ctx.Done() // it handles none of it
					return ctx.Err()
				}))
				ok(t, err)
				taker, err := NewDurableHelperJS(w.js, cfg, MessageHandlerFunc(func(_ context.Context, msg jetstream.Msg) error {
					if msg.Subject() == "work.b" {
						got++
					}
					return nil
				}))
				ok(t, err)
				ok(t, giver.UpdateWorkerConsumer(t.Context(), "worker-0", []parti.Partition{b}))
				ok(t, taker.UpdateWorkerConsumer(t.Context(), "worker-1", []parti.Partition{a}))
				for range waiting {
					_, err := w.js.Publish(t.Context(), "work.b", nil)
					ok(t, err)
				}
				<-stuck
				if err := giver.UpdateWorkerConsumer(t.Context(), "worker-0", nil); err == nil {
					t.Error("its handler has returned")
				}
				ok(t, giver.UpdateWorkerConsumer(t.Context(), "worker-0", nil))
				ok(t, taker.UpdateWorkerConsumer(t.Context(), "worker-1", []parti.Partition{a, b}))
				time.Sleep(time.Minute)
				ok(t, taker.Close(t.Context()))
				t.Logf("a durable per partition: %d of %d waiting messages arrive", got, waiting)
				if got != waiting {
					t.Errorf("%d of %d waiting messages arrive", got, waiting)
				}
			})
		})
	}
}
