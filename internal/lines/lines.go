// Package lines has what keeps the lines of a log few and alike: nothing is said more
// than once per second and cause, and every line tells the group that it is about.
package lines

import (
	"context"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Limiter keeps a log from saying the same more than once per second. It is safe for
// concurrent use.
type Limiter struct {
	mu   sync.Mutex
	said map[string]*saying
}

type saying struct {
	at       time.Duration
	withheld int
}

const (
	every  = time.Second
	causes = 1024 // remembered at most
)

// Allow reports whether to say it now, and how often it was withheld before.
func (l *Limiter) Allow(now time.Duration, cause string) (withheld int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.said[cause]; s != nil {
		if now-s.at < every {
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
	if len(l.said) >= causes {
		l.forget(now)
	}
	l.said[cause] = &saying{at: now}
	return 0, true
}

// forget makes room: what was said long ago goes, or else everything.
func (l *Limiter) forget(now time.Duration) {
	for cause, s := range l.said {
		if now-s.at >= every {
			delete(l.said, cause)
		}
	}
	if len(l.said) >= causes {
		clear(l.said)
	}
}

// Same returns the text of an error without its numbers: one that names a duration or
// a revision is the same error again.
func Same(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
}

type groupKey struct{}

// WithGroup returns a context that knows the group of a manager.
func WithGroup(ctx context.Context, group string) context.Context {
	return context.WithValue(ctx, groupKey{}, group)
}

// Group returns the group that a context knows, or "".
func Group(ctx context.Context) string {
	group, _ := ctx.Value(groupKey{}).(string)
	return group
}
