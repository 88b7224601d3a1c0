package subscription

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// replicated is a stream that says it has three replicas.
type replicated struct{ jetstream.Stream }

func (s replicated) CachedInfo() *jetstream.StreamInfo {
	info := *s.Stream.CachedInfo()
	info.Config.Replicas = 3
	return &info
}

// Where the servers are known to lose messages the log says so, once.
func TestReplicatedInterestIsWarnedOf(t *testing.T) {
	for _, tc := range []struct {
		name      string
		retention jetstream.RetentionPolicy
		replicas  int
		can       capabilities
		want      int
	}{
		{"interest on three", jetstream.InterestPolicy, 3, capabilities{pin: true, reset: true}, 1},
		{"on an older server", jetstream.InterestPolicy, 3, capabilities{}, 0},
		{"interest on one", jetstream.InterestPolicy, 1, capabilities{pin: true, reset: true}, 0},
		{"work queue on three", jetstream.WorkQueuePolicy, 3, capabilities{pin: true, reset: true}, 0},
		{"limits on three", jetstream.LimitsPolicy, 3, capabilities{pin: true, reset: true}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{Retention: tc.retention}, func(t *testing.T, w *world) {
				r := &recorder{}
				cfg := w.config()
				cfg.Logger = r
				h := w.helper(cfg, func(context.Context, jetstream.Msg) error { return nil })
				stream, err := h.readStream(t.Context())
				ok(t, err)
				if tc.replicas > 1 {
					stream = replicated{stream}
				}
				h.stream, h.streamRead = stream, time.Now()
				h.can.Store(&tc.can)
				ok(t, h.UpdateWorkerConsumer(t.Context(), "w", []parti.Partition{part("p")}))
				ok(t, h.UpdateWorkerConsumer(t.Context(), "w", []parti.Partition{part("p"), part("q")}))
				r.mu.Lock()
				defer r.mu.Unlock()
				if got := strings.Count(strings.Join(r.lines, "\n"), "replicated interest stream"); got != tc.want {
					t.Errorf("warned %d times, want %d:\n%s", got, tc.want, strings.Join(r.lines, "\n"))
				}
			})
		})
	}
}
