package subscription

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A message that failed waits as long as Backoff says; its last value repeats.
func TestBackoff(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Backoff = []time.Duration{time.Second, 7 * time.Second}
		var calls []time.Duration
		start := time.Now()
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			calls = append(calls, time.Since(start).Round(time.Millisecond))
			if len(calls) < 4 {
				return errors.New("not yet")
			}
			w.note(msg)
			return nil
		})
		w.publish(1, part("p"))
		w.assign(h, part("p"))
		w.until(1)
		if want := []time.Duration{0, time.Second, 8 * time.Second, 15 * time.Second}; !slices.Equal(calls, want) {
			t.Errorf("called after %v, want %v", calls, want)
		}
	})
}

// recorder is a logger, and metrics that note which of their methods are called.
type recorder struct {
	NopMetrics

	mu    sync.Mutex
	lines []string
	calls map[string]bool
}

func (r *recorder) log(msg string, pairs ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprint(msg, pairs))
}

func (r *recorder) Debug(msg string, pairs ...any) { r.log(msg, pairs...) }
func (r *recorder) Info(msg string, pairs ...any)  { r.log(msg, pairs...) }
func (r *recorder) Warn(msg string, pairs ...any)  { r.log(msg, pairs...) }
func (r *recorder) Error(msg string, pairs ...any) { r.log(msg, pairs...) }

func (r *recorder) call(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil {
		r.calls = map[string]bool{}
	}
	r.calls[name] = true
}

func (r *recorder) ObserveHandler(_ time.Duration, good bool) {
	r.call(map[bool]string{true: "ObserveHandler", false: "ObserveHandler failed"}[good])
}
func (r *recorder) IncrementPanic()              { r.call("IncrementPanic") }
func (r *recorder) IncrementStuck()              { r.call("IncrementStuck") }
func (r *recorder) IncrementRevoked()            { r.call("IncrementRevoked") }
func (r *recorder) IncrementDeadLettered()       { r.call("IncrementDeadLettered") }
func (r *recorder) IncrementTerminated()         { r.call("IncrementTerminated") }
func (r *recorder) IncrementTakeover()           { r.call("IncrementTakeover") }
func (r *recorder) IncrementResync()             { r.call("IncrementResync") }
func (r *recorder) AddHandedBack(int)            { r.call("AddHandedBack") }
func (r *recorder) ObserveRelease(time.Duration) { r.call("ObserveRelease") }
func (r *recorder) SetAbandoned(int, uint64)     { r.call("SetAbandoned") }
func (r *recorder) IncrementRetired()            { r.call("IncrementRetired") }

// Everything that is counted is counted when it happens, and logged.
func TestMetricsAndLogger(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		_, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead"}})
		ok(t, err)
		r := &recorder{}
		cfg := w.config()
		cfg.Metrics, cfg.Logger = r, r
		cfg.HandlerTimeout, cfg.HandoffTimeout, cfg.RetireAfter = 2*time.Second, time.Second, time.Minute
		cfg.MaxDeliver, cfg.BatchSize = 2, 4
		p, stuck := part("p"), part("stuck")
		goOn := make(chan struct{})
		handle := func(ctx context.Context, msg jetstream.Msg) error {
			switch id, n := number(msg); {
			case id == "stuck":
				<-goOn
				return ctx.Err()
			case n == 1:
				panic("oops")
			case n == 2:
				<-ctx.Done()
			case n == 3:
				time.Sleep(100 * time.Millisecond)
			}
			w.note(msg)
			return nil
		}
		terminates := w.helper(cfg, handle)
		terminates.can.Store(&capabilities{reset: true}) // no pin: what is stolen is missed
		w.publish(8, p)
		w.publish(1, stuck)
		w.assign(terminates, p, stuck)
		w.until(1)
		settle()
		w.assign(terminates, stuck) // in the third message
		wantErr(t, terminates.UpdateWorkerConsumer(t.Context(), w.worker(terminates), nil), ErrRevoked, "stuck")

		cfg.DeadLetterSubject = "dead"
		dead := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			if id, n := number(msg); id == "p" && n == 5 {
				return errors.New("bad at db://me:secret@host")
			}
			w.note(msg)
			return nil
		})
		w.assign(dead, p, stuck)
		time.Sleep(10 * time.Second)
		came := pullAway(w, "w-p", 1)
		w.publish(10, p)
		time.Sleep(10 * time.Second)
		came()
		unpinned, err := NewDurableHelper(w.srv.Connect(t), cfg, MessageHandlerFunc(handle))
		ok(t, err)
		l := w.lead(unpinned, p, stuck, part("gone"))
		time.Sleep(time.Second)
		l.lists <- nil
		time.Sleep(10 * time.Minute)
		l.end()
		close(goOn)

		// A delivery that is lost.
		lost := w.helper(cfg, w.plain)
		lost.can.Store(&capabilities{reset: true})
		q := part("q")
		w.assign(lost, q)
		settle()
		came = pullAway(w, "w-q", 1)
		w.publish(20, q)
		time.Sleep(time.Second)
		came()

		r.mu.Lock()
		defer r.mu.Unlock()
		for m := range reflect.TypeFor[Metrics]().Methods() {
			if !r.calls[m.Name] {
				t.Errorf("%s was not called", m.Name)
			}
		}
		if !r.calls["ObserveHandler failed"] {
			t.Error("no call of a handler counts as failed")
		}
		for _, want := range []string{"handler panicked", "partition trouble", "durable of a partition that left the list removed"} {
			if !slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, want) }) {
				t.Errorf("not logged: %s", want)
			}
		}
		if text := strings.Join(r.lines, "\n"); strings.Contains(text, "secret") || !strings.Contains(text, "xxxxx@host") {
			t.Errorf("credentials are logged:\n%s", text)
		}
	})
}
