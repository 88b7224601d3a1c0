package parti

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/arloliu/parti/internal/redact"
)

// runLogger adds the group, and the worker's id once it has one, to every line,
// says nothing more than once per second, and hides credentials.
type runLogger struct {
	to     Logger
	group  string
	worker func() string
	now    func() time.Duration
	limiter
}

func (l *runLogger) Debug(msg string, pairs ...any) { l.line(l.to.Debug, msg, pairs) }
func (l *runLogger) Info(msg string, pairs ...any)  { l.line(l.to.Info, msg, pairs) }
func (l *runLogger) Warn(msg string, pairs ...any)  { l.line(l.to.Warn, msg, pairs) }
func (l *runLogger) Error(msg string, pairs ...any) { l.line(l.to.Error, msg, pairs) }

func (l *runLogger) line(say func(string, ...any), msg string, pairs []any) {
	if l.to == (nopLogger{}) { // nothing to remember
		return
	}
	withheld, ok := l.allow(l.now(), cause(msg, pairs))
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
			text = strings.Map(func(r rune) rune {
				if unicode.IsDigit(r) {
					return -1
				}
				return r
			}, text)
		}
		b.WriteByte(0)
		b.WriteString(text)
	}
	return b.String()
}

// limiter keeps the log from saying the same more than once per second.
type limiter struct {
	mu   sync.Mutex
	said map[string]*saying
}

type saying struct {
	at       time.Duration
	withheld int
}

const (
	logEvery  = time.Second
	logCauses = 1024 // causes remembered at most
)

// allow reports whether to say it now, and how often it was withheld before.
func (l *limiter) allow(now time.Duration, cause string) (withheld int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.said[cause]; s != nil {
		if now-s.at < logEvery {
			s.withheld++
			return 0, false
		}
		withheld = s.withheld
		*s = saying{at: now}
		return withheld, true
	}
	if l.said == nil {
		l.said = make(map[string]*saying)
	}
	if len(l.said) >= logCauses {
		l.forget(now)
	}
	l.said[cause] = &saying{at: now}
	return 0, true
}

// forget makes room: what was said long ago goes, or else everything.
func (l *limiter) forget(now time.Duration) {
	for cause, s := range l.said {
		if now-s.at >= logEvery {
			delete(l.said, cause)
		}
	}
	if len(l.said) >= logCauses {
		clear(l.said)
	}
}
