package parti_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/health"
	"github.com/arloliu/parti/metrics/prometheus"
	"github.com/arloliu/parti/source"
	"github.com/arloliu/parti/strategy"
)

func Example_observability() {
	cfg, src := &parti.Config{}, source.NewStatic(nil)
	js, err := jetstream.New(&nats.Conn{})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()

	// snippet:observe

	metrics := prometheus.New()
	mgr, err := parti.NewManager(cfg, js, src, strategy.NewConsistentHash(), parti.WithMetrics(metrics))

	mux.Handle("/metrics", metrics.Handler())
	mux.Handle("/", health.Handler(mgr, health.WithDrain(mgr.Stop))) // /livez, /readyz, /status, /drain

	// snippet:end

	get := func(path string) string {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Body.String()
	}
	fmt.Println(err)
	fmt.Println(strings.Contains(get("/metrics"), "parti_degraded_mode 0"))
	fmt.Print(get("/livez"), get("/readyz"))

	// snippet:status-ready

	if s := mgr.Status(); !s.Ready {
		fmt.Println("not ready:", s.NotReady)
	}

	// snippet:end

	// Output:
	// <nil>
	// true
	// ok
	// not started
	// not ready: not started
}
