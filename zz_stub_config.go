package parti

import (
	"time"

	"github.com/nats-io/nats.go"

	"github.com/arloliu/parti/internal/core"
)

// Stubs until the configuration is merged.

func SetDefaults(cfg *Config) {
	if cfg.WorkerIDPrefix == "" {
		cfg.WorkerIDPrefix = "worker"
	}
	if cfg.Group == "" {
		cfg.Group = cfg.WorkerIDPrefix
	}
	for d, v := range map[*time.Duration]time.Duration{
		&cfg.OperationTimeout: 10 * time.Second, &cfg.ElectionTimeout: 5 * time.Second,
		&cfg.StartupTimeout: 30 * time.Second, &cfg.ShutdownTimeout: 10 * time.Second,
		&cfg.HandoffTimeout: 10 * time.Second, &cfg.HeartbeatTTL: 6 * time.Second,
		&cfg.HeartbeatInterval: 2 * time.Second,
	} {
		if *d == 0 {
			*d = v
		}
	}
}

func (c *Config) Validate() error { return nil }

func (c *Config) core() core.Config {
	return core.Config{Group: c.Group, StartupTimeout: c.StartupTimeout}
}

func reconnectAllowance(*nats.Conn, time.Duration) time.Duration { return 0 }
func connectionWarnings(*nats.Conn) []string                     { return nil }

func (c *Config) warnings() []string { return nil }
