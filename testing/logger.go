package testing

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arloliu/parti"
)

// Logger is a parti.Logger that writes to the log of a test. It is silent once
// the test has ended, so that a goroutine that outlives the test by a moment
// does not panic.
type Logger struct {
	start time.Time

	mu sync.Mutex // held while writing, so that the end of the test waits
	t  testing.TB // nil after the end
}

var _ parti.Logger = (*Logger)(nil)

// NewLogger returns a logger that writes to t. Each line begins with the time
// since NewLogger was called, virtual time in a bubble.
func NewLogger(t testing.TB) *Logger {
	t.Helper()
	l := &Logger{start: time.Now(), t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

// Debug writes a line of level DEBUG.
func (l *Logger) Debug(msg string, keysAndValues ...any) { l.log("DEBUG", msg, keysAndValues) }

// Info writes a line of level INFO.
func (l *Logger) Info(msg string, keysAndValues ...any) { l.log("INFO", msg, keysAndValues) }

// Warn writes a line of level WARN.
func (l *Logger) Warn(msg string, keysAndValues ...any) { l.log("WARN", msg, keysAndValues) }

// Error writes a line of level ERROR. It does not fail the test.
func (l *Logger) Error(msg string, keysAndValues ...any) { l.log("ERROR", msg, keysAndValues) }

func (l *Logger) log(level, msg string, kv []any) {
	var b strings.Builder
	fmt.Fprintf(&b, "%8.3fs %-5s %s", time.Since(l.start).Seconds(), level, msg)
	for i := 0; i < len(kv); i += 2 {
		if i+1 == len(kv) {
			fmt.Fprintf(&b, " !EXTRA=%v", kv[i])
			break
		}
		fmt.Fprintf(&b, " %v=%v", kv[i], kv[i+1])
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(b.String())
	}
}

// serverLog is what an embedded server logs to: errors go to the log of the
// test, and the first fatal one is kept, since the server has no other way to
// say why it did not start.
type serverLog struct {
	log  *Logger
	name string

	mu    sync.Mutex
	fatal string
}

func (s *serverLog) Noticef(string, ...any) {}
func (s *serverLog) Warnf(string, ...any)   {}
func (s *serverLog) Debugf(string, ...any)  {}
func (s *serverLog) Tracef(string, ...any)  {}

func (s *serverLog) Errorf(format string, v ...any) {
	// The nodes of a cluster start one by one, and a test stops some on purpose.
	if strings.HasPrefix(format, "Error trying to connect to route") {
		return
	}
	s.log.Error("nats-server "+s.name, "error", fmt.Sprintf(format, v...))
}

func (s *serverLog) Fatalf(format string, v ...any) {
	s.Errorf(format, v...)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal == "" {
		s.fatal = fmt.Sprintf(format, v...)
	}
}

func (s *serverLog) cause() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fatal
}
