package wall

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/subscription"
	partitest "github.com/arloliu/parti/testing"
)

// consumed is what a helper would say of a worker that consumes all it owns.
type consumed struct{ *parti.Manager }

func (c consumed) Stats() []subscription.PartitionStats {
	a := c.CurrentAssignment()
	stats := make([]subscription.PartitionStats, len(a.Partitions))
	for i, p := range a.Partitions {
		stats[i] = subscription.PartitionStats{Partition: p, Pending: uint64(i), InFlight: 1}
	}
	return stats
}

// TestScrape scrapes every worker of a fleet of 64 that shares 10,000 partitions, over
// HTTP as Prometheus does.
func TestScrape(t *testing.T) {
	const n, partitions, most, limit = 64, 10_000, 200, 5 * time.Millisecond * slow
	srv := partitest.StartServer(t)
	src := source.NewStatic(fleettest.Numbered(partitions))
	mux := http.NewServeMux()
	ms := make([]*parti.Manager, n)
	for i := range ms {
		c := prometheus.New()
		ms[i] = fleettest.NewManager(t, srv.Connect(t), parti.Config{}, src, parti.WithMetrics(c))
		c.Consumers(consumed{ms[i]})
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
	var times []time.Duration
	for i := range ms {
		best := time.Hour // of five: other work on the machine only makes it slower
		for range 5 {
			series, took := scrape(i)
			largest, best = max(largest, series), min(best, took)
		}
		times = append(times, best)
	}
	slices.Sort(times)
	t.Logf("%d workers, %d partitions: at most %d series per worker; a scrape takes %v, at most %v", n, partitions, largest, times[n/2], times[n-1])
	if largest > most || largest < 100 {
		t.Errorf("%d series, want at most %d", largest, most)
	}
	if took := times[n/2]; took > limit {
		t.Errorf("a scrape takes %v, want at most %v", took, limit)
	}
}
