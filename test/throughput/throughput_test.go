// Package throughput compares the durable helper with plain consumers of nats.go
// that are laid out the same way: see the Makefile.
package throughput

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/subscription"
	partitest "github.com/arloliu/parti/testing"
)

var (
	pairs = flag.Int("pairs", 0, "measure this many pairs of runs; 0 only shows that they work")
	each  = flag.Int("each", 2000, "messages in each of 100 partitions; 1,000 partitions have as many together")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	workers = 10
	batch   = subscription.DefaultBatchSize
	// enough is the ratio that the helper has to reach.
	enough = 0.95
)

// TestThroughput drains the same backlog with the helper and with plain
// consumers, one after the other and taking turns in who is first, and judges the
// median of the ratios.
func TestThroughput(t *testing.T) {
	for _, c := range []struct{ partitions, each int }{{100, *each}, {1000, *each / 10}} {
		t.Run(fmt.Sprintf("%d partitions", c.partitions), func(t *testing.T) {
			partitions, each, runs := c.partitions, c.each, *pairs
			if runs == 0 {
				each, runs = 2, 1
			}
			f := newFixture(t, partitions, each)
			ratios := make([]float64, 0, runs)
			for i := range runs {
				var rate [2]float64 // plain, helper
				var cpu [2]time.Duration
				for j := range rate {
					which := (i + j) % 2
					rate[which], cpu[which] = f.drain(t, which == 1)
				}
				ratios = append(ratios, rate[1]/rate[0])
				t.Logf("pair %2d: nats.go %7.0f messages/s, helper %7.0f, ratio %.3f; CPU %v and %v per message", i+1, rate[0], rate[1],
					rate[1]/rate[0], cpu[0], cpu[1])
			}
			slices.Sort(ratios)
			median := ratios[len(ratios)/2]
			t.Logf("%d partitions on %d workers: median ratio %.3f of %d pairs", partitions, workers, median, runs)
			if *pairs > 0 && median < enough {
				t.Errorf("the median ratio is %.3f, want at least %.2f", median, enough)
			}
		})
	}
}

// fixture is a stream with a backlog.
type fixture struct {
	srv   *partitest.Server
	js    jetstream.JetStream
	parts []parti.Partition
	each  int
	runs  int
}

func newFixture(t *testing.T, partitions, each int) *fixture {
	t.Helper()
	srv := partitest.StartServer(t)
	js, err := jetstream.New(srv.Connect(t), jetstream.WithPublishAsyncMaxPending(1000))
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "WORK", Subjects: []string{"work.>"}, Storage: jetstream.MemoryStorage, MaxConsumers: 4 * partitions,
	})
	must(t, err)
	f := &fixture{srv: srv, js: js, each: each}
	for i := range partitions {
		f.parts = append(f.parts, parti.Partition{Keys: []string{fmt.Sprint(i)}})
	}
	payload := make([]byte, 128)
	for range each {
		for _, p := range f.parts {
			_, err := js.PublishAsync("work."+p.ID(), payload, jetstream.WithStallWait(time.Minute))
			must(t, err)
		}
	}
	<-js.PublishAsyncComplete()
	return f
}

// gate counts what is handled. Handlers wait until every partition has begun, so
// that what is measured is the flow and not its beginning.
type gate struct {
	waiting, left atomic.Int64
	ready, open   chan struct{}
	all           chan struct{}
}

func (g *gate) handle() {
	select {
	case <-g.open:
	default:
		if g.waiting.Add(-1) == 0 {
			close(g.ready)
		}
		<-g.open
	}
	if g.left.Add(-1) == 0 {
		close(g.all)
	}
}

// drain consumes the whole backlog with new durables and returns messages per
// second, and the processor time of a message, the server's included.
func (f *fixture) drain(t *testing.T, helper bool) (rate float64, cpu time.Duration) {
	t.Helper()
	f.runs++
	prefix := fmt.Sprint("run", f.runs)
	g := &gate{ready: make(chan struct{}), open: make(chan struct{}), all: make(chan struct{})}
	g.waiting.Store(int64(len(f.parts)))
	g.left.Store(int64(len(f.parts) * f.each))
	var wg sync.WaitGroup
	ends := make([]func(), workers)
	for w := range workers {
		var mine []parti.Partition
		for i := w; i < len(f.parts); i += workers {
			mine = append(mine, f.parts[i])
		}
		nc := f.srv.Connect(t)
		wg.Go(func() {
			if helper {
				ends[w] = consumeWithHelper(t, nc, prefix, mine, g)
			} else {
				ends[w] = consumePlainly(t, nc, prefix, mine, g)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	<-g.ready
	began, used := time.Now(), cpuTime(t)
	close(g.open)
	<-g.all
	took, cpu := time.Since(began), cpuTime(t)-used
	for _, end := range ends {
		end()
	}
	stream, err := f.js.Stream(t.Context(), "WORK")
	must(t, err)
	for name := range stream.ConsumerNames(t.Context()).Name() {
		must(t, stream.DeleteConsumer(t.Context(), name))
	}
	n := len(f.parts) * f.each
	return float64(n) / took.Seconds(), (cpu / time.Duration(n)).Round(100 * time.Nanosecond)
}

// cpuTime is what this process has used.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func consumeWithHelper(t *testing.T, nc *nats.Conn, prefix string, parts []parti.Partition, g *gate) (end func()) {
	t.Helper()
	h, err := subscription.NewDurableHelper(nc, subscription.DurableConfig{
		StreamName: "WORK", ConsumerPrefix: prefix, SubjectTemplate: "work.{{.PartitionID}}", BatchSize: batch,
		OnError: func(p parti.Partition, err error) { t.Errorf("partition %s: %v", p, err) },
	}, subscription.MessageHandlerFunc(func(context.Context, jetstream.Msg) error {
		g.handle()
		return nil
	}))
	check(t, err)
	check(t, h.UpdateWorkerConsumer(t.Context(), "w", parts))
	return func() {
		check(t, h.Close(context.WithoutCancel(t.Context())))
		nc.Close()
	}
}

func consumePlainly(t *testing.T, nc *nats.Conn, prefix string, parts []parti.Partition, g *gate) (end func()) {
	t.Helper()
	js, err := jetstream.New(nc)
	check(t, err)
	running := make([]jetstream.ConsumeContext, 0, len(parts))
	for _, p := range parts {
		cons, err := js.CreateConsumer(t.Context(), "WORK", jetstream.ConsumerConfig{
			Durable: prefix + "-" + p.ID(), FilterSubject: "work." + p.ID(), AckPolicy: jetstream.AckExplicitPolicy,
			AckWait: subscription.DefaultAckWait, MaxAckPending: subscription.DefaultMaxAckPending, MaxDeliver: -1,
		})
		if err != nil {
			t.Error(err)
			return
		}
		c, err := cons.Consume(func(msg jetstream.Msg) {
			g.handle()
			check(t, msg.Ack())
		}, jetstream.PullMaxMessages(batch))
		check(t, err)
		running = append(running, c)
	}
	return func() {
		for _, c := range running {
			c.Stop()
			<-c.Closed()
		}
		nc.Close()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check is must for goroutines that are not the test's own.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
