package parti_test

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/arloliu/parti"
)

// *slog.Logger fits as it is.
var _ parti.Logger = (*slog.Logger)(nil)

func ExampleLogger() {
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	var logger parti.Logger = slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	opt := parti.WithLogger(logger) // for NewManager
	_ = opt

	logger.Info("assignment applied", "version", 7, "partitions", 12)
	// Output: level=INFO msg="assignment applied" version=7 partitions=12
}

// sugaredAdapter adapts zap's sugared logger: zap calls the methods with keys and
// values Debugw, Infow and so on. In your code the field is *zap.SugaredLogger;
// sugaredLogger stands for it here, so that parti need not depend on zap.
type sugaredAdapter struct{ s sugaredLogger }

func (l sugaredAdapter) Debug(msg string, kv ...any) { l.s.Debugw(msg, kv...) }
func (l sugaredAdapter) Info(msg string, kv ...any)  { l.s.Infow(msg, kv...) }
func (l sugaredAdapter) Warn(msg string, kv ...any)  { l.s.Warnw(msg, kv...) }
func (l sugaredAdapter) Error(msg string, kv ...any) { l.s.Errorw(msg, kv...) }

func ExampleLogger_zap() {
	var logger parti.Logger = sugaredAdapter{sugaredLogger{}} // sugaredAdapter{zap.S()}
	opt := parti.WithLogger(logger)                           // for NewManager
	_ = opt

	logger.Debug("heartbeat sent", "revision", 41)
	logger.Info("assignment applied", "version", 7)
	logger.Warn("handoff is slow", "partition", "orders.0")
	logger.Error("source failed", "error", "boom")
	// Output:
	// DEBUG heartbeat sent [revision 41]
	// INFO assignment applied [version 7]
	// WARN handoff is slow [partition orders.0]
	// ERROR source failed [error boom]
}

// sugaredLogger has the methods of *zap.SugaredLogger that the adapter uses, with
// the same signatures.
type sugaredLogger struct{}

func (sugaredLogger) Debugw(msg string, keysAndValues ...any) {
	fmt.Println("DEBUG", msg, keysAndValues)
}

func (sugaredLogger) Infow(msg string, keysAndValues ...any) { fmt.Println("INFO", msg, keysAndValues) }

func (sugaredLogger) Warnw(msg string, keysAndValues ...any) { fmt.Println("WARN", msg, keysAndValues) }

func (sugaredLogger) Errorw(msg string, keysAndValues ...any) {
	fmt.Println("ERROR", msg, keysAndValues)
}
