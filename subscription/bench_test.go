package subscription

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	partitest "github.com/arloliu/parti/testing"
)

// Draining a backlog of 100 partitions, in order, against plain consumers of
// nats.go laid out the same way. One operation is one message.
func BenchmarkDrain(b *testing.B) {
	const partitions = 100
	for _, plain := range []bool{true, false} {
		b.Run(map[bool]string{true: "nats.go", false: "helper"}[plain], func(b *testing.B) {
			nc := partitest.StartEmbeddedNATS(b)
			js, err := jetstream.New(nc)
			must(b, err)
			stream, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
				Name: "WORK", Subjects: []string{"work.>"}, Storage: jetstream.MemoryStorage,
			})
			must(b, err)
			ps := make([]parti.Partition, partitions)
			for i := range ps {
				ps[i] = part(fmt.Sprint(i))
			}
			var handled atomic.Int64
			all := make(chan struct{})
			handle := func(_ context.Context, msg jetstream.Msg) error {
				err := msg.Ack()
				if handled.Add(1) == int64(b.N) {
					close(all)
				}
				return err
			}
			h, err := NewDurableHelper(nc, DurableConfig{
				StreamName: "WORK", ConsumerPrefix: "w", SubjectTemplate: "work.{{.PartitionID}}",
			}, MessageHandlerFunc(handle))
			must(b, err)
			must(b, h.UpdateWorkerConsumer(b.Context(), "w-0", ps)) // makes the durables
			must(b, h.UpdateWorkerConsumer(b.Context(), "w-0", nil))
			for i := range b.N {
				_, err := js.PublishAsync("work."+ps[i%partitions].ID(), []byte("x"))
				must(b, err)
			}
			<-js.PublishAsyncComplete()
			b.ResetTimer()
			if plain {
				for _, p := range ps {
					cons, err := stream.Consumer(b.Context(), "w-"+p.ID())
					must(b, err)
					run, err := cons.Consume(func(msg jetstream.Msg) { _ = handle(b.Context(), msg) }, jetstream.PullMaxMessages(DefaultBatchSize))
					must(b, err)
					defer run.Stop()
				}
			} else {
				must(b, h.UpdateWorkerConsumer(b.Context(), "w-0", ps))
			}
			<-all
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			must(b, h.Close(context.Background()))
		})
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
