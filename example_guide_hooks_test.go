package parti_test

import (
	"context"
	"errors"
	"expvar"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
)

// say is what an application does about an event.
func say(what ...any) { fmt.Println(what...) }

func ExampleHooks_assignment() {
	// snippet:hook-assignment
	hooks := &parti.Hooks{
		OnAssignmentChanged: func(ctx context.Context, added, removed []parti.Partition) error {
			slog.InfoContext(ctx, "assignment", "added", len(added), "removed", len(removed))
			return nil
		},
	}
	// snippet:end
	fmt.Println(hooks.OnAssignmentChanged(context.Background(), nil, nil))
	// Output: <nil>
}

func ExampleHooks_state() {
	// snippet:hook-state
	hooks := &parti.Hooks{
		OnStateChanged: func(ctx context.Context, from, to parti.State) error {
			log.Printf("state %v -> %v", from, to)

			switch to {
			case parti.StateStable:
				log.Println("steady work")
			case parti.StateEmergency:
				log.Println("a worker has crashed, replacing it")
			case parti.StateShutdown:
				log.Println("leaving the fleet")
			default:
			}
			return nil
		},
	}
	// snippet:end
	defer onLog(func(line string) { fmt.Println(line) })()
	_ = hooks.OnStateChanged(context.Background(), parti.StateWaitingAssignment, parti.StateStable)
	// Output:
	// state WaitingAssignment -> Stable
	// steady work
}

func ExampleHooks_error() {
	sendAlert := func(text string) { say("alert:", text) }
	// snippet:hook-error
	hooks := &parti.Hooks{
		OnError: func(ctx context.Context, err error) error {
			log.Printf("recoverable: %v", err)
			if errors.Is(err, parti.ErrNATSConnectionLost) {
				sendAlert("NATS connection lost, the worker goes on trying")
			}
			return nil
		},
	}
	// snippet:end
	defer onLog(func(string) {})()
	_ = hooks.OnError(context.Background(), fmt.Errorf("renew heartbeat: %w", parti.ErrNATSConnectionLost))
	// Output: alert: NATS connection lost, the worker goes on trying
}

func ExampleHooks_degraded() {
	page := func(text string) { say("page:", text) }
	notify := func(text string) { say("notify:", text) }
	// snippet:hook-degraded
	hooks := &parti.Hooks{
		OnDegradedAlert: func(ctx context.Context, level string, duration time.Duration) error {
			text := fmt.Sprintf("parti without NATS for %v", duration.Round(time.Second))
			switch level {
			case "Critical":
				page(text)
			case "Error":
				notify(text)
			case "Warn":
				slog.WarnContext(ctx, text)
			case "Info":
				slog.InfoContext(ctx, text)
			}
			return nil
		},
	}
	// snippet:end
	_ = hooks.OnDegradedAlert(context.Background(), "Critical", 30*time.Minute)
	// Output: page: parti without NATS for 30m0s
}

func ExampleNewManager_errors() {
	var (
		nc       *nats.Conn
		cfg      *parti.Config
		src      parti.PartitionSource
		strategy parti.AssignmentStrategy
	)
	// snippet:startup-errors
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatalf("jetstream: %v", err)
	}
	mgr, err := parti.NewManager(cfg, js, src, strategy)
	if errors.Is(err, parti.ErrInvalidConfig) {
		log.Fatalf("mend the configuration: %v", err) // names every invalid field
	}
	if err != nil {
		log.Fatalf("new manager: %v", err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	switch err := mgr.Start(ctx); {
	case errors.Is(err, parti.ErrStableIDExhausted):
		log.Fatalf("more workers than ids, raise WorkerIDMax: %v", err)
	case errors.Is(err, context.DeadlineExceeded):
		log.Fatalf("not started in time, look at NATS: %v", err)
	case err != nil:
		log.Fatalf("start: %v", err)
	}
	// snippet:end
}

func ExampleDegradedBehaviorConfig() {
	cfg := parti.DefaultConfig()
	// snippet:degraded-behavior
	cfg.DegradedBehavior = parti.DegradedBehaviorConfig{
		EnterThreshold:      10 * time.Second, // without NATS, before degraded mode
		ExitThreshold:       5 * time.Second,  // with NATS, before recovery
		KVErrorThreshold:    5,                // errors in a row that enter it as well
		KVErrorWindow:       30 * time.Second, // when they come within this time
		RecoveryGracePeriod: 30 * time.Second, // nobody is judged dead after it
	}
	// snippet:end
	fmt.Println(cfg.DegradedBehavior == parti.DefaultConfig().DegradedBehavior)
	// Output: true
}

func ExampleDegradedAlertConfig() {
	cfg := parti.DefaultConfig()
	// snippet:degraded-alert
	cfg.DegradedAlert = parti.DegradedAlertConfig{
		InfoThreshold:     1 * time.Minute,
		WarnThreshold:     5 * time.Minute,
		ErrorThreshold:    15 * time.Minute,
		CriticalThreshold: 30 * time.Minute,
		AlertInterval:     30 * time.Second, // at least between two of one level
	}
	// snippet:end
	fmt.Println(cfg.DegradedAlert == parti.DefaultConfig().DegradedAlert)
	// Output: true
}

func ExampleDegradedBehaviorPreset() {
	cfg := &parti.Config{}
	// snippet:degraded-presets
	// Late and rare: production, where a short outage is no news.
	cfg.DegradedAlert = parti.DegradedAlertPreset("conservative")
	cfg.DegradedBehavior = parti.DegradedBehaviorPreset("conservative")

	// The defaults.
	cfg.DegradedAlert = parti.DegradedAlertPreset("balanced")
	cfg.DegradedBehavior = parti.DegradedBehaviorPreset("balanced")

	// Early and often: development, or a network that is never away.
	cfg.DegradedAlert = parti.DegradedAlertPreset("aggressive")
	cfg.DegradedBehavior = parti.DegradedBehaviorPreset("aggressive")
	// snippet:end
	fmt.Println(cfg.DegradedBehavior.EnterThreshold, cfg.DegradedAlert.InfoThreshold)
	// Output: 5s 30s
}

func ExampleWithLogger() {
	// snippet:slog
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	option := parti.WithLogger(logger)
	// snippet:end
	_ = option
}

// snippet:zap

// sugared is what parti needs of a *zap.SugaredLogger.
type sugared interface {
	Debugw(msg string, keysAndValues ...any)
	Infow(msg string, keysAndValues ...any)
	Warnw(msg string, keysAndValues ...any)
	Errorw(msg string, keysAndValues ...any)
}

type zapLogger struct{ sugared }

func (l zapLogger) Debug(msg string, keysAndValues ...any) { l.Debugw(msg, keysAndValues...) }
func (l zapLogger) Info(msg string, keysAndValues ...any)  { l.Infow(msg, keysAndValues...) }
func (l zapLogger) Warn(msg string, keysAndValues ...any)  { l.Warnw(msg, keysAndValues...) }
func (l zapLogger) Error(msg string, keysAndValues ...any) { l.Errorw(msg, keysAndValues...) }

// snippet:end

var _ parti.Logger = zapLogger{}

// snippet:metrics

// collector publishes some of the metrics; NopMetrics takes the rest, also what
// later versions add.
type collector struct {
	parti.NopMetrics
	degraded, cacheAge expvar.Float
	alerts             expvar.Map
}

func (c *collector) SetDegradedMode(value float64)      { c.degraded.Set(value) }
func (c *collector) SetCacheAge(duration time.Duration) { c.cacheAge.Set(duration.Seconds()) }
func (c *collector) IncrementAlertEmitted(level string) { c.alerts.Add(level, 1) }

// snippet:end

func ExampleWithMetrics() {
	c := &collector{}
	var m parti.MetricsCollector = c
	m.SetDegradedMode(1)
	m.IncrementAlertEmitted("Info")
	m.SetLeader(true)
	fmt.Println(c.degraded.Value(), c.alerts.String())
	// Output: 1 {"Info": 1}
}
