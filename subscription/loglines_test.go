package subscription

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/arloliu/parti"
	"github.com/arloliu/parti/internal/fleettest"
	"github.com/arloliu/parti/source"
)

// logged is a line.
type logged struct {
	at    time.Time
	msg   string
	pairs []any
}

func (l logged) get(key string) string {
	for i := 0; i+1 < len(l.pairs); i += 2 {
		if l.pairs[i] == key {
			return fmt.Sprint(l.pairs[i+1])
		}
	}
	return ""
}

// journal is a logger that keeps lines.
type journal struct {
	mu    sync.Mutex
	lines []logged
}

func (j *journal) add(msg string, pairs []any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, logged{time.Now(), msg, pairs})
}

func (j *journal) Debug(msg string, pairs ...any) { j.add(msg, pairs) }
func (j *journal) Info(msg string, pairs ...any)  { j.add(msg, pairs) }
func (j *journal) Warn(msg string, pairs ...any)  { j.add(msg, pairs) }
func (j *journal) Error(msg string, pairs ...any) { j.add(msg, pairs) }

func (j *journal) where(msg string) (some []logged) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if l.msg == msg {
			some = append(some, l)
		}
	}
	return some
}

// TestOneCauseOneLinePerSecond: however many partitions a cause befalls, and however
// often, it is one line per second.
func TestOneCauseOneLinePerSecond(t *testing.T) {
	down := errors.New("the database is down")
	for name, c := range map[string]struct {
		change  func(cfg *DurableConfig)
		handle  func() error
		msg     string
		atLeast int
	}{
		"ordered":    {func(*DurableConfig) {}, func() error { return down }, "partition trouble", 10},
		"unordered":  {func(cfg *DurableConfig) { cfg.Unordered = true }, func() error { return down }, "partition trouble", 10},
		"terminated": {func(cfg *DurableConfig) { cfg.MaxDeliver = 1 }, func() error { return down }, "partition trouble", 3},
		"panics":     {func(cfg *DurableConfig) { cfg.MaxDeliver = 1 }, func() error { panic(down) }, "handler panicked", 3},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
				j := &journal{}
				cfg := w.config()
				cfg.Logger = j
				c.change(&cfg)
				h := w.helper(cfg, func(context.Context, jetstream.Msg) error { return c.handle() })
				ps := []parti.Partition{part("orders", "eu"), part("orders", "us"), part("p", "3")}
				w.assign(h, ps...)
				time.Sleep(500 * time.Millisecond)
				for range 4 {
					w.publish(20, ps...)
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				last, repeated := map[string]time.Time{}, 0
				for _, l := range j.where(c.msg) {
					text := l.get("error")
					for _, p := range ps {
						text = strings.ReplaceAll(text, p.ID(), "")
					}
					kind := strings.Map(func(r rune) rune {
						if '0' <= r && r <= '9' {
							return -1
						}
						return r
					}, text)
					if since := l.at.Sub(last[kind]); since < time.Second {
						t.Errorf("again after %v: %v", since, l)
					}
					last[kind] = l.at
					if l.get("repeated") != "" {
						repeated++
					}
					if l.get("worker") != "w-0" || l.get("partition") == "" {
						t.Errorf("who speaks of what: %v", l)
					}
				}
				if n := len(j.where(c.msg)); n < c.atLeast || repeated == 0 {
					t.Errorf("%d lines, %d of them repeated", n, repeated)
				}
			})
		})
	}
}

// Errors that are different each time do not fill the log either, and handlers that
// hang are all named, unless they are very many.
func TestLinesPerSecond(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		j := &journal{}
		cfg := w.config()
		cfg.Logger, cfg.HandlerTimeout = j, 10*time.Second
		h := w.helper(cfg, func(ctx context.Context, _ jetstream.Msg) error {
			<-ctx.Done()
			return nil
		})
		w.assign(h, parts(9)...)
		w.publish(1, parts(9)...)
		for i := range 1000 {
			h.cfg.Logger.Warn("partition trouble", "error", fmt.Errorf("no order %s", strings.Repeat("x", i)))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		lines := j.where("partition trouble")
		if n := len(lines); n > 11*linesPerSecond || n < 10*linesPerSecond {
			t.Errorf("%d lines in ten seconds", n)
		}
		lost := 0
		for _, l := range lines {
			var some int
			_, _ = fmt.Sscan(l.get("others"), &some)
			lost += some
		}
		if lost < 900-len(lines) {
			t.Errorf("%d lines, and %d are said to be withheld", len(lines), lost)
		}
		stuck := map[string]bool{}
		for _, l := range j.where("handler is stuck") {
			stuck[l.get("partition")] = true
		}
		if len(stuck) != 9 {
			t.Errorf("stuck are %v", stuck)
		}
	})
}

// Lines say of which group they are.
func TestLinesTellTheGroup(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		j := &journal{}
		cfg := w.config()
		cfg.Logger = j
		h := w.helper(cfg, func(context.Context, jetstream.Msg) error { return errors.New("no") })
		m := fleettest.NewManager(t, w.srv.Connect(t), parti.Config{Group: "orders"}, source.NewStatic(parts(2)), parti.WithWorkerConsumerUpdater(h))
		fleettest.StartAll(t, m)
		w.publish(1, parts(2)...)
		time.Sleep(time.Minute)
		lines := j.where("partition trouble")
		if len(lines) == 0 {
			t.Error("no line")
		}
		for _, l := range lines {
			if l.get("group") != "orders" || l.get("worker") != "worker-0" {
				t.Errorf("%v", l)
			}
		}
	})
}
