package subscription

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
		inWorld(t, cfg, func(_ *testing.T, w *world) {
			p := part("p")
			begun, goOn := make(chan struct{}), make(chan struct{})
			a := w.helper(w.config(), func(_ context.Context, msg jetstream.Msg) error {
				switch _, n := number(msg); n {
				case 2, 3:
					lose(msg)
				case 5:
					close(begun)
					<-goOn
				}
				w.note(msg)
				return msg.Ack()
			})
			w.assign(a, p) // makes the durable, so that interest retains
			w.publish(9, p)
			<-begun
			time.AfterFunc(time.Millisecond, func() { close(goOn) })
			w.assign(a)
			b := w.helper(w.config(), w.plain)
			w.assign(b, p)
			w.until(9)
			settle()
			w.judge(0)
			nothingPending(w)
		})
	})
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
