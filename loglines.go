package parti

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arloliu/parti/internal/lines"
	"github.com/arloliu/parti/internal/redact"
)

// runLogger adds the group, and the worker's id once it has one, to every line,
// says nothing more than once per second, and hides credentials.
type runLogger struct {
	to     Logger
	group  string
	worker func() string
	now    func() time.Duration
	lines.Limiter
}

func (l *runLogger) Debug(msg string, pairs ...any) { l.line(l.to.Debug, msg, pairs) }
func (l *runLogger) Info(msg string, pairs ...any)  { l.line(l.to.Info, msg, pairs) }
func (l *runLogger) Warn(msg string, pairs ...any)  { l.line(l.to.Warn, msg, pairs) }
func (l *runLogger) Error(msg string, pairs ...any) { l.line(l.to.Error, msg, pairs) }

func (l *runLogger) line(say func(string, ...any), msg string, pairs []any) {
	if l.to == (nopLogger{}) { // nothing to remember
		return
	}
	withheld, ok := l.Allow(l.now(), cause(msg, pairs))
	if !ok {
		return
	}
	all := append(make([]any, 0, len(pairs)+6), "group", l.group)
	if id := l.worker(); id != "" {
		all = append(all, "worker", id)
	}
	all = append(all, pairs...)
	if withheld > 0 {
		all = append(all, "repeated", withheld)
	}
	redact.Pairs(all)
	say(msg, all...)
}

// identity are the keys whose values tell causes apart: a line that differs in
// another value only is a repetition. A version is news each time.
var identity = []string{"peer", "reason", "kind", "key", "hook", "watch", "alert", "from", "to", "version", "error"}

// cause names what a line is about. Numbers in the text of an error do not count:
// one that names a duration or a revision is the same error again.
func cause(msg string, pairs []any) string {
	var b strings.Builder
	b.WriteString(msg)
	for i := 0; i+1 < len(pairs); i += 2 {
		key, _ := pairs[i].(string)
		if !slices.Contains(identity, key) {
			continue
		}
		text := fmt.Sprint(pairs[i+1])
		if key == "error" {
			text = lines.Same(text)
		}
		b.WriteByte(0)
		b.WriteString(text)
	}
	return b.String()
}
