package parti

// Logger receives structured log lines: a constant message and alternating keys
// and values. *slog.Logger fits as it is. zap's sugared logger needs an adapter of
// one line for each method, see the example. Methods are called from several
// goroutines, the manager's own loop among them: they must not block, since the
// worker's heartbeats wait meanwhile, and must not panic.
type Logger interface {
	Debug(msg string, keysAndValues ...any)
	Info(msg string, keysAndValues ...any)
	Warn(msg string, keysAndValues ...any)
	Error(msg string, keysAndValues ...any)
}

type nopLogger struct{}

func (nopLogger) Debug(string, ...any) {}
func (nopLogger) Info(string, ...any)  {}
func (nopLogger) Warn(string, ...any)  {}
func (nopLogger) Error(string, ...any) {}
