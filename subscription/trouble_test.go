package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func wantErr(t *testing.T, err, kind error, text string) {
	t.Helper()
	if !errors.Is(err, kind) || err != nil && !strings.Contains(err.Error(), text) {
		t.Errorf("want %v with %q, got %v", kind, text, err)
	}
}

// A worker dies with a message in hand and others fetched.
func TestCrash(t *testing.T) {
	kinds(t, func(t *testing.T, cfg jetstream.StreamConfig) {
		inWorld(t, cfg, func(t *testing.T, w *world) {
			ps := parts(4)
			die := make(chan struct{})
			link := w.srv.NewLink(t)
			dead := w.helperOn(link.Connect(t, nats.NoReconnect()), w.config(), func(ctx context.Context, msg jetstream.Msg) error {
				if _, n := number(msg); n == 10 {
					<-die
					return errors.New("died")
				}
				w.note(msg)
				return nil
			})
			w.assign(dead, ps...)
			settle()
			w.publish(100, ps...)
			w.until(4 * 9)
			settle()
			link.Cut() // its acknowledgements are with the server
			heir := w.helper(w.config(), w.plain)
			start := time.Now()
			w.assign(heir, ps...)
			w.until(4 * 10)
			if d := time.Since(start); d > 250*time.Millisecond {
				t.Errorf("first messages after %v", d)
			}
			w.until(4 * 100)
			w.judge(0)
			_ = dead.UpdateWorkerConsumer(t.Context(), "w-0", nil)
			close(die)
		})
	})
}

// On servers that cannot reset, the heir waits until the server has everything
// back, and brings it into order.
func TestCrashWithoutReset(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		p := part("p")
		cfg := w.config()
		cfg.AckWait = 2 * time.Second
		link := w.srv.NewLink(t)
		dead := w.helperOn(link.Connect(t, nats.NoReconnect()), cfg, func(ctx context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 10 {
				<-ctx.Done()
				return errors.New("died")
			}
			w.note(msg)
			return nil
		})
		w.publish(100, p)
		w.assign(dead, p)
		w.until(9)
		// The message in hand is kept alive meanwhile and comes back last.
		time.Sleep(cfg.AckWait - 10*time.Millisecond)
		link.Cut()
		heir := w.helper(cfg, w.plain)
		heir.can.Store(&capabilities{})
		start := time.Now()
		w.assign(heir, p)
		w.until(10)
		if d := time.Since(start); d > cfg.AckWait+500*time.Millisecond {
			t.Errorf("first message after %v", d)
		}
		w.until(100)
		w.judge(0)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = dead.UpdateWorkerConsumer(ctx, "w-0", nil)
	})
}

// The stream is made anew under its owner: numbers begin again.
func TestStreamRecreated(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		h := w.helper(w.config(), w.plain)
		w.assign(h, part("p"))
		w.publish(10, part("p"))
		w.until(10)
		ok(t, w.js.DeleteStream(t.Context(), "WORK"))
		_, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "WORK", Subjects: []string{"work.>"}})
		ok(t, err)
		w.publish(5, part("p"))
		w.until(15)
		w.judge(0)
	})
}

// The message in hand is not given twice, however long it takes.
func TestMessageInHandIsKeptAlive(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.AckWait, cfg.MaxAckPending = time.Second, 1
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			time.Sleep(7 * time.Second)
			w.note(msg)
			return nil
		})
		w.publish(3, part("p"))
		w.assign(h, part("p"))
		w.until(3)
		if n := h.Stats()[0].Redelivered; n != 0 {
			t.Errorf("%d redelivered", n)
		}
		w.judge(0)
	})
}

func TestHandlerErrorsKeepOrder(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		tries := map[int]int{}
		h := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
			_, n := number(msg)
			tries[n]++
			switch {
			case n == 3 && tries[n] < 4:
				return errors.New("not yet")
			case n == 5 && tries[n] == 1:
				panic("oops")
			case n == 7 && tries[n] == 1:
				return msg.NakWithDelay(time.Minute) // longer than AckWait
			case n == 9:
				w.note(msg)
				return msg.Ack()
			}
			w.note(msg)
			return nil
		})
		p := part("p")
		w.publish(20, p)
		start := time.Now()
		w.assign(h, p)
		w.until(20)
		if d := time.Since(start); d < time.Minute || d > time.Minute+3*time.Second {
			t.Errorf("took %v", d)
		}
		w.judge(0)
		if w.count(ErrHandlerPanic) != 1 || tries[3] != 4 || tries[7] != 2 {
			t.Errorf("panics %d, tries %v", w.count(ErrHandlerPanic), tries)
		}
		w.assign(h)
		nothingPending(w)
	})
}

// A handler takes many times AckWait while others wait behind it.
func TestSlowHandlerIsKeptAlive(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.AckWait = time.Second
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			time.Sleep(7 * time.Second)
			w.note(msg)
			return nil
		})
		p := part("p")
		w.publish(40, p)
		w.assign(h, p)
		w.until(40)
		w.judge(0)
		w.assign(h)
		nothingPending(w)
		if errs := w.problems(); len(errs) > 0 {
			t.Errorf("reported %v", errs)
		}
	})
}

func TestStuckHandlerIsReported(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.HandlerTimeout = 2 * time.Second
		stuck := part("stuck")
		h := w.helper(cfg, func(ctx context.Context, msg jetstream.Msg) error {
			if id, n := number(msg); id == "stuck" && n == 1 && w.count(ErrHandlerStuck) == 0 {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			w.note(msg)
			return nil
		})
		ps := append(parts(3), stuck)
		w.publish(20, ps...)
		start := time.Now()
		w.assign(h, ps...)
		w.until(60)
		if d := time.Since(start); d > time.Second {
			t.Errorf("others took %v", d)
		}
		w.until(80)
		w.judge(0)
		// Once by the keeper, once as the handler's error.
		if n := w.count(ErrHandlerStuck); n != 2 {
			t.Errorf("reported %d times: %v", n, w.problems())
		}
	})
}

func TestPoisonGoesToDeadLetters(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		dead, err := w.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "DEAD", Subjects: []string{"dead"}})
		ok(t, err)
		cfg := w.config()
		cfg.DeadLetterSubject, cfg.MaxDeliver = "dead", 3
		tries := 0
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 2 {
				tries++
				return errors.New("bad\nmessage")
			}
			w.note(msg)
			return nil
		})
		p := part("p")
		w.publish(1, p)
		w.published["p"]++ // the second, with what must not go to another stream
		poison := nats.NewMsg("work.p")
		poison.Data = []byte("2")
		poison.Header.Set(jetstream.ExpectedStreamHeader, "WORK")
		_, err = w.js.PublishMsg(t.Context(), poison)
		ok(t, err)
		w.publish(2, p)
		w.assign(h, p)
		w.until(3)
		if tries != 3 || w.count(ErrPoison) != 1 || !slices.Equal(w.completed["p"], []int{1, 3, 4}) {
			t.Errorf("tries %d, poison %d, completed %v", tries, w.count(ErrPoison), w.completed["p"])
		}
		letter, err := dead.GetMsg(t.Context(), 1)
		ok(t, err)
		for k, want := range map[string]string{
			HeaderPartition: "p", HeaderStream: "WORK", HeaderSubject: "work.p", HeaderSequence: "2", HeaderFailures: "3",
		} {
			if got := letter.Header.Get(k); got != want {
				t.Errorf("%s: %q, want %q", k, got, want)
			}
		}
		if !strings.Contains(letter.Header.Get(HeaderError), "bad message") || string(letter.Data) != "2" {
			t.Errorf("letter %v %q", letter.Header, letter.Data)
		}
		w.assign(h)
		nothingPending(w)
	})
}

func TestPoisonIsTerminated(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.MaxDeliver = 2
		h := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
			if _, n := number(msg); n == 1 {
				return errors.New("bad")
			}
			w.note(msg)
			return nil
		})
		p := part("p")
		w.publish(3, p)
		w.assign(h, p)
		w.until(2)
		if w.count(ErrPoison) != 1 {
			t.Errorf("reported %v", w.problems())
		}
		w.assign(h)
		nothingPending(w)
	})
}

// Owners die at the same message, with others fetched behind it: only that one
// is poison.
func TestPoisonThatKills(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.MaxDeliver = 3
		p := part("p")
		w.publish(30, p)
		var deaths atomic.Int64
		for i := range 4 {
			killed, die := make(chan struct{}, 1), make(chan struct{})
			link := w.srv.NewLink(t)
			h := w.helperOn(link.Connect(t, nats.NoReconnect()), cfg, func(_ context.Context, msg jetstream.Msg) error {
				if _, n := number(msg); n == 5 {
					deaths.Add(1)
					killed <- struct{}{}
					<-die
					return errors.New("dead")
				}
				w.note(msg)
				return nil
			})
			w.assign(h, p)
			if i == 3 {
				w.until(29)
				break
			}
			<-killed
			settle()
			link.Cut()
			settle()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			wantErr(t, h.UpdateWorkerConsumer(ctx, "w", nil), ErrRevoked, "partition p")
			close(die)
		}
		if deaths.Load() != 3 || w.count(ErrPoison) != 1 {
			t.Errorf("%d owners died; %v", deaths.Load(), w.problems())
		}
		if got := w.completed["p"]; len(got) != 29 || slices.Contains(got, 5) || !slices.IsSorted(got) {
			t.Errorf("completed %v", got)
		}
	})
}

// pullAway has somebody else ask for messages of a partition's durable, as an
// owner that hangs did before, and returns how many came when the test is over.
func pullAway(w *world, durable string, n int) (came func() int) {
	w.t.Helper()
	nc := w.srv.Connect(w.t)
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	ok(w.t, err)
	request := fmt.Appendf(nil, `{"batch":%d,"expires":%d,"group":%q}`, n, 30*time.Second, pinGroup)
	ok(w.t, nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.WORK."+durable, inbox, request))
	ok(w.t, nc.Flush())
	return func() int {
		count := 0
		for {
			msg, err := sub.NextMsg(time.Millisecond)
			if err != nil {
				return count
			}
			if strings.HasPrefix(msg.Reply, "$JS.ACK") {
				count++
			}
		}
	}
}

// Requests of an owner that hangs are still with the server when the next one
// begins. Nothing waits for them, whether more comes afterwards or not.
func TestContestedPartition(t *testing.T) {
	for name, can := range map[string]capabilities{
		"pinned": {pin: true, reset: true}, "not pinned": {reset: true}, "no reset": {pin: true}, "old": {},
	} {
		for _, messages := range []int{1, 60} {
			t.Run(fmt.Sprintf("%s, %d messages", name, messages), func(t *testing.T) {
				inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
					p := part("p")
					cfg := w.config()
					cfg.AckWait = time.Second
					first, h := w.helper(cfg, w.plain), w.helper(cfg, w.plain)
					first.can.Store(&can)
					h.can.Store(&can)
					w.assign(first, p) // makes the durable
					w.assign(first)
					came := pullAway(w, "w-p", 4)
					settle() // the server has the requests
					w.assign(h, p)
					settle()
					start := time.Now()
					w.publish(messages, p)
					w.until(messages)
					limit := 4 * 5 * contestLook
					if !can.reset {
						limit += 4 * 2 * cfg.AckWait
					}
					if d := time.Since(start); d > limit {
						t.Errorf("took %v", d)
					}
					w.judge(0)
					if n := came(); n < 1 || n > 4 {
						t.Errorf("%d messages went to somebody else, who asked for 4", n)
					}
					w.assign(h)
					nothingPending(w)
				})
			})
		}
	}
}

// A durable that is pinned gives nothing to somebody who asks later; without a
// pin what is given away is noticed and fetched again.
func TestLostDelivery(t *testing.T) {
	for name, can := range map[string]capabilities{"pinned": {pin: true, reset: true}, "not pinned": {reset: true}} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
				p := part("p")
				h := w.helper(w.config(), w.plain)
				h.can.Store(&can)
				w.assign(h, p)
				settle()
				came := pullAway(w, "w-p", 3)
				w.publish(60, p)
				w.until(60)
				w.judge(0)
				if stolen := came() > 0; stolen == can.pin || stolen != (w.count(ErrDeliveryGap) > 0) {
					t.Errorf("stolen: %v; reported %v", stolen, w.problems())
				}
				w.assign(h)
				nothingPending(w)
			})
		})
	}
}

func TestServerRestart(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{Storage: jetstream.FileStorage}, func(t *testing.T, w *world) {
		ps := parts(3)
		h := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
			time.Sleep(5 * time.Millisecond)
			w.note(msg)
			return nil
		})
		w.publish(100, ps...)
		w.assign(h, ps...)
		w.until(60)
		w.srv.Shutdown()
		time.Sleep(20 * time.Second)
		w.srv.Restart()
		w.until(300)
		w.assign(h)
		w.judge(0)
		nothingPending(w)
	})
}

// The durable is deleted under its owner.
func TestDurableDeleted(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(t *testing.T, w *world) {
		p := part("p")
		h := w.helper(w.config(), w.plain)
		w.assign(h, p)
		w.publish(10, p)
		w.until(10)
		settle()
		ok(t, w.js.DeleteConsumer(t.Context(), "WORK", "w-p"))
		settle()
		w.publish(10, p)
		w.until(20)
		w.judge(0)
		if w.count(jetstream.ErrConsumerDeleted) != 1 {
			t.Errorf("reported %v", w.problems())
		}
	})
}

func TestUnordered(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		cfg := w.config()
		cfg.Unordered, cfg.Concurrency, cfg.AckWait = true, 5, time.Second
		var running, most atomic.Int64
		tried := make([]atomic.Int64, 201)
		handle := func(_ context.Context, msg jetstream.Msg) error {
			now := running.Add(1)
			defer running.Add(-1)
			if m := most.Load(); now > m {
				most.CompareAndSwap(m, now)
			}
			_, n := number(msg)
			time.Sleep(time.Duration(n%7) * 300 * time.Millisecond)
			if tried[n].Add(1) == 1 && n%10 == 0 {
				return fmt.Errorf("try %d again", n)
			}
			w.note(msg)
			return nil
		}
		a, b := w.helper(cfg, handle), w.helper(cfg, handle)
		p := part("p")
		w.publish(200, p)
		w.assign(a, p)
		w.until(70)
		w.assign(a)
		w.assign(b, p)
		w.until(200)
		w.assign(b)
		got := slices.Clone(w.completed["p"])
		slices.Sort(got)
		for i, n := range got {
			if n != i+1 {
				t.Fatalf("lost or doubled: %v", got)
			}
		}
		if most.Load() != 5 {
			t.Errorf("at most %d ran at a time, want 5", most.Load())
		}
		nothingPending(w)
	})
}
