package subscription

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	partitest "github.com/arloliu/parti/testing"
)

// mute is a message whose acknowledgement is lost on the way.
type mute struct{ jetstream.Msg }

func (mute) Ack() error { return nil }

func lose(msg jetstream.Msg) { msg.(*message).Msg = mute{msg.(*message).Msg} }

// A durable without a leader loses acknowledgements, and the connection of who
// sends them sees nothing of it. The last one was answered; what matters is that
// all have arrived.
func TestLostAcknowledgements(t *testing.T) {
	kinds(t, func(t *testing.T, cfg jetstream.StreamConfig) {
		inWorld(t, cfg, func(_ *testing.T, w *world) { lostAcknowledgements(w, w.config()) })
	})
	t.Run("Unordered", func(t *testing.T) {
		inWorld(t, jetstream.StreamConfig{}, func(_ *testing.T, w *world) {
			cfg := w.config()
			cfg.Unordered, cfg.Concurrency = true, 1 // so that order can be judged
			lostAcknowledgements(w, cfg)
		})
	})
	t.Run("PerWorker", func(t *testing.T) {
		inWorld(t, jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, func(_ *testing.T, w *world) {
			cfg := w.config()
			cfg.Layout = PerWorker
			lostAcknowledgements(w, cfg)
		})
	})
}

func lostAcknowledgements(w *world, cfg DurableConfig) {
	p, other := part("p"), part("other")
	begun, goOn := make(chan struct{}), make(chan struct{})
	a := w.helper(cfg, func(_ context.Context, msg jetstream.Msg) error {
		switch id, n := number(msg); {
		case id == "p" && (n == 2 || n == 3):
			lose(msg)
		case id == "p" && n == 5:
			close(begun)
			<-goOn
		}
		w.note(msg)
		return msg.Ack()
	})
	w.assign(a, p, other) // makes the durables, so that interest retains
	w.publish(9, p, other)
	<-begun
	time.AfterFunc(time.Millisecond, func() { close(goOn) })
	w.assign(a)
	b := w.helper(cfg, w.plain)
	w.assign(b, p, other)
	w.until(18)
	settle()
	w.judge(0)
	nothingPending(w)
}

// A durable that has a new leader may have forgotten deliveries. It never answers
// acknowledgements for them, which must not keep the partition.
func TestForgottenDeliveries(t *testing.T) {
	inWorld(t, jetstream.StreamConfig{}, func(t *testing.T, w *world) {
		p := part("p")
		begun, goOn := make(chan struct{}), make(chan struct{})
		a := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
			lose(msg)
			if _, n := number(msg); n == 3 {
				close(begun)
				<-goOn
			}
			w.note(msg)
			return msg.Ack()
		})
		w.assign(a, p)
		w.publish(5, p)
		<-begun
		time.AfterFunc(time.Millisecond, func() { // the partition is told to stop by then, and pulls no more
			_, err := w.js.ResetConsumer(t.Context(), "WORK", durableName("w", "p"))
			if err != nil {
				t.Error(err)
			}
			close(goOn)
		})
		start := time.Now()
		w.assign(a)
		if took := time.Since(start); took > answerTimeout {
			t.Errorf("let go after %v", took)
		}
		b := w.helper(w.config(), w.plain)
		w.assign(b, p)
		w.until(5 + 3)
		settle()
		w.judge(3)
		nothingPending(w)
	})
}

// What was answered is not asked for again, nor is what the durable knows.
func TestConfirmKeepsWhatIsAnswered(t *testing.T) {
	partitest.Bubble(t, func(t *testing.T, srv *partitest.Server) {
		asked := map[string]int{}
		responder := srv.Connect(t)
		_, err := responder.Subscribe("ack.*", func(m *nats.Msg) {
			if asked[m.Subject]++; m.Subject != "ack.5" && (m.Subject != "ack.3" || asked[m.Subject] > 1) {
				ok(t, m.Respond(nil))
			}
		})
		ok(t, err)
		ok(t, responder.Flush())
		a := acks{nc: srv.Connect(t)}
		for n := uint64(1); n <= 5; n++ {
			a.sent(fmt.Sprintf("ack.%d", n), n)
		}
		look := func(context.Context) (reach, error) { return reach{floor: 1, delivered: 4}, nil }
		confirm := func() (int, error) {
			ctx, cancel := context.WithTimeout(t.Context(), answerTimeout)
			defer cancel()
			return a.confirm(ctx, look)
		}
		if forgotten, err := confirm(); forgotten != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("first: %d forgotten, %v", forgotten, err)
		}
		if forgotten, err := confirm(); forgotten != 0 || err != nil || !a.empty() {
			t.Errorf("then: %d forgotten, %v, empty %v", forgotten, err, a.empty())
		}
		settle()
		if want := map[string]int{"ack.2": 1, "ack.3": 2, "ack.4": 1, "ack.5": 1}; !maps.Equal(asked, want) {
			t.Errorf("asked %v, want %v", asked, want)
		}
	})
}
