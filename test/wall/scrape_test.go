package wall

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/subscription"
	partitest "github.com/arloliu/parti/testing"
)

// TestScrape scrapes the workers of a fleet of 64 that shares 10,000 partitions, over
// HTTP as Prometheus does, and times it at those that consume what they own.
func TestScrape(t *testing.T) {
	const n, consuming, partitions, most, limit = 64, 4, 10_000, 200, 5 * time.Millisecond * slow
	srv := partitest.StartServer(t)
	js, err := jetstream.New(srv.Connect(t))
	if err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}, Storage: jetstream.MemoryStorage, MaxConsumers: partitions})
	if err != nil {
		t.Fatal(err)
	}
	src := source.NewStatic(fleettest.Numbered(partitions))
	mux := http.NewServeMux()
	ms := make([]*parti.Manager, n)
	helpers := make([]*subscription.DurableHelper, consuming)
	for i := range ms {
		c := prometheus.New()
		opts := []parti.Option{parti.WithMetrics(c)}
		if i < consuming {
			h, err := subscription.NewDurableHelper(srv.Connect(t), subscription.DurableConfig{
				StreamName: "WORK", ConsumerPrefix: "w", SubjectTemplate: "work.{{.PartitionID}}", Metrics: c,
			}, subscription.MessageHandlerFunc(func(ctx context.Context, _ jetstream.Msg) error {
				<-ctx.Done() // in hand at every scrape
				return ctx.Err()
			}))
			if err != nil {
				t.Fatal(err)
			}
			c.Consumers(h)
			helpers[i] = h
			// It must not make the durables of those that do not consume.
			opts = append(opts, parti.WithWorkerConsumerUpdater(struct{ parti.WorkerConsumerUpdater }{h}))
		}
		ms[i] = fleettest.NewManager(t, srv.Connect(t), parti.Config{}, src, opts...)
		mux.Handle(fmt.Sprintf("/%d", i), c.Handler())
	}
	var wg sync.WaitGroup
	for _, m := range ms {
		wg.Go(func() {
			if err := m.Start(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	fleettest.OwnedOnce(t, ms, partitions)
	t.Cleanup(func() { // without waiting for the handlers
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		cancel()
		for _, h := range helpers {
			_ = h.Close(ctx)
		}
	})
	for i, h := range helpers {
		all := ms[i].CurrentAssignment().Partitions
		if got := len(h.Stats()); got != len(all) || got < partitions/n/2 {
			t.Errorf("%d partitions are consumed of %d", got, len(all))
		}
		for _, p := range all {
			if _, err := js.Publish(t.Context(), "work."+p.ID(), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	ops := httptest.NewServer(mux)
	t.Cleanup(ops.Close)
	client := ops.Client()
	t.Cleanup(client.CloseIdleConnections)

	scrape := func(i int) (series int, took time.Duration) {
		began := time.Now()
		resp, err := client.Get(fmt.Sprintf("%s/%d", ops.URL, i))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			if !strings.HasPrefix(lines.Text(), "#") {
				series++
			}
		}
		return series, time.Since(began)
	}
	largest := 0
	for i := range ms {
		series, _ := scrape(i)
		largest = max(largest, series)
	}
	var times []time.Duration
	pace := time.NewTicker(20 * time.Millisecond) // so that what else the machine does for a moment does not count
	defer pace.Stop()
	for range 50 {
		<-pace.C
		for i := range helpers {
			_, took := scrape(i)
			times = append(times, took)
		}
	}
	slices.Sort(times)
	median, worst := times[len(times)/2], times[len(times)-1]
	t.Logf("%d workers, %d partitions: at most %d series per worker; of %d scrapes of workers that consume half took %v, all at most %v",
		n, partitions, largest, len(times), median, worst)
	if largest > most || largest < 100 {
		t.Errorf("%d series, want at most %d", largest, most)
	}
	if median > limit {
		t.Errorf("half of the scrapes take more than %v, want at most %v", median, limit)
	}
}
