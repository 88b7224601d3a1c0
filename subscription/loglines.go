package subscription

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/lines"
	"github.com/arloliu/parti/internal/redact"
)

// logLines says nothing more than once per second and cause, with the group and the
// worker, and hides credentials. A cause that befalls many partitions is said of one
// of them; OnError is told of all.
type logLines struct {
	to    parti.Logger
	began time.Time
	lines.Limiter

	mu     sync.Mutex
	whose  []any
	second time.Duration // that lines were said in
	said   int           // in it
	lost   int           // beyond linesPerSecond, since one was said
}

// linesPerSecond is how many lines are said in one second. Errors of handlers may be
// different each time, with nothing that would tell their cause.
const linesPerSecond = 20

func newLogLines(to parti.Logger) *logLines { return &logLines{to: to, began: time.Now()} }

// about tells for whom the helper works.
func (l *logLines) about(ctx context.Context, worker string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var whose []any
	if group := lines.Group(ctx); group != "" {
		whose = append(whose, "group", group)
	}
	l.whose = append(whose, "worker", worker)
}

func (l *logLines) Debug(msg string, pairs ...any) { l.line(l.to.Debug, msg, pairs) }
func (l *logLines) Info(msg string, pairs ...any)  { l.line(l.to.Info, msg, pairs) }
func (l *logLines) Warn(msg string, pairs ...any)  { l.line(l.to.Warn, msg, pairs) }
func (l *logLines) Error(msg string, pairs ...any) { l.line(l.to.Error, msg, pairs) }

func (l *logLines) line(say func(string, ...any), msg string, pairs []any) {
	if l.to == (nopLogger{}) { // nothing to remember
		return
	}
	now := time.Since(l.began)
	withheld, ok := l.Allow(now, cause(msg, pairs))
	if !ok {
		return
	}
	whose, lost, ok := l.room(now)
	if !ok {
		return
	}
	all := append(append(make([]any, 0, len(pairs)+8), whose...), pairs...)
	if withheld > 0 {
		all = append(all, "repeated", withheld)
	}
	if lost > 0 {
		all = append(all, "others", lost)
	}
	redact.Pairs(all)
	say(msg, all...)
}

// room reports whether another line may be said, what it begins with, and how many
// could not.
func (l *logLines) room(now time.Duration) (whose []any, lost int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Truncate(time.Second); second != l.second {
		l.second, l.said = second, 0
	}
	if l.said++; l.said > linesPerSecond {
		l.lost++
		return nil, 0, false
	}
	lost, l.lost = l.lost, 0
	return l.whose, lost, true
}

// cause names what a line is about: an error, without the partition and message that
// met it, or else the partition.
func cause(msg string, pairs []any) string {
	var partition, fault string
	for i := 0; i+1 < len(pairs); i += 2 {
		switch text := fmt.Sprint(pairs[i+1]); pairs[i] {
		case "partition":
			partition = text
		case "error", "reason":
			fault = text
		}
	}
	if fault == "" {
		return msg + "\x00" + partition
	}
	if partition != "" {
		fault = strings.ReplaceAll(fault, partition, "")
	}
	return msg + "\x01" + lines.Same(fault)
}
