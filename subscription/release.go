package subscription

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// answerTimeout bounds one request; it is made again.
const answerTimeout = 5 * time.Second

// ack acknowledges a message without waiting for the answer. It tries until it
// has been sent; false when the partition was revoked before.
func (p *partition) ack(msg jetstream.Msg) bool {
	for n := 1; ; n++ {
		if p.isRevoked() {
			return false
		}
		err := msg.Ack()
		if err == nil {
			p.acknowledged(msg)
			return true
		}
		p.failed(fmt.Errorf("acknowledge %s: %w", describe(msg), err))
		if !p.waitAnyway(p.cfg.backoff(n)) {
			return false
		}
	}
}

// acknowledged notes that a message is dealt with and its acknowledgement sent.
func (p *partition) acknowledged(msg jetstream.Msg) {
	p.stats.done()
	var seq uint64
	if meta, err := msg.Metadata(); err == nil {
		seq = meta.Sequence.Stream
	}
	if !p.acks.sent(msg.Reply(), seq) {
		return
	}
	ctx, cancel := context.WithTimeout(p.work, answerTimeout)
	defer cancel()
	if err := p.confirm(ctx); err != nil {
		p.cfg.Logger.Debug("acknowledgements not confirmed yet", "partition", p.id, "error", err)
	}
}

// waitAnyway waits also while the partition is being stopped; false when it is
// revoked.
func (p *partition) waitAnyway(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.work.Done():
		return false
	}
}

// insist makes a request until it is answered; false when the partition is
// revoked.
func (p *partition) insist(what string, request func(ctx context.Context) error) bool {
	for n := 1; !p.isRevoked(); n++ {
		ctx, cancel := context.WithTimeout(p.work, answerTimeout)
		err := request(ctx)
		cancel()
		if err == nil {
			return true
		}
		if p.isRevoked() {
			return false
		}
		p.failed(fmt.Errorf("%s of partition %s: %w", what, p.id, err))
		if !p.waitAnyway(p.cfg.backoff(n)) {
			return false
		}
	}
	return false
}

// letGo makes the durable fit for the next owner: everything acknowledged is
// known to be so, and what was fetched and not completed, in order, is given
// back. Nothing is pulled any more.
func (p *partition) letGo(left []jetstream.Msg) {
	if !p.insist("confirm acknowledgements", p.confirm) {
		return
	}
	if len(left) == 0 {
		return
	}
	p.cfg.Metrics.AddHandedBack(len(left))
	// In order, everything below the ack floor is acknowledged and nothing above
	// it, so that going back there gives back exactly what is left. It does not
	// count as a delivery, and the server answers.
	if p.can.reset && !p.cfg.Unordered {
		if p.isReplaced() {
			return
		}
		if p.insist("reset", func(ctx context.Context) error {
			_, err := p.js.ResetConsumer(ctx, p.cfg.StreamName, p.durable)
			return unlessGone(err)
		}) {
			return
		}
	}
	// The server gives back first what was refused first.
	for _, msg := range left {
		if p.isRevoked() {
			return
		}
		if err := msg.Nak(); err != nil {
			p.failed(fmt.Errorf("hand back %s: %w", describe(msg), err))
			return
		}
	}
	p.insist("hand back", func(ctx context.Context) error { return p.js.Conn().FlushWithContext(ctx) })
}

// isReplaced tells whether the durable is somebody else's by now, as it is when this
// process was suspended for so long that it was taken for dead: it is pinned to
// another. What is left is not ours to give back then, and a reset would make void
// what the next owner has acknowledged.
func (p *partition) isReplaced() (replaced bool) {
	if p.position.pin == "" {
		return false
	}
	p.insist("hand back", func(ctx context.Context) error {
		cons, err := p.js.Consumer(ctx, p.cfg.StreamName, p.durable)
		if err != nil {
			return unlessGone(err)
		}
		for _, g := range cons.CachedInfo().PriorityGroups {
			replaced = g.PinnedClientID != "" && g.PinnedClientID != p.position.pin
		}
		return nil
	})
	if replaced {
		p.cfg.Logger.Info("nothing handed back: the durable has another owner", "partition", p.id)
	}
	return replaced
}

// confirm waits for the answers to what was acknowledged. A durable that has been
// deleted has none to give.
func (p *partition) confirm(ctx context.Context) error {
	forgotten, err := p.acks.confirm(ctx, p.reached)
	if forgotten > 0 {
		p.cfg.Logger.Warn("the server has forgotten deliveries: their messages come again", "partition", p.id, "messages", forgotten)
	}
	if !errors.Is(err, nats.ErrNoResponders) {
		return err
	}
	if _, gone := p.js.Consumer(ctx, p.cfg.StreamName, p.durable); gone != nil && unlessGone(gone) == nil {
		p.acks.forget()
		return nil
	}
	return err
}

// reached asks the server how far the durable has come. A durable of several
// partitions does not tell it of one of them, but the work queue does: what was
// acknowledged is not in it any more.
func (p *partition) reached(ctx context.Context) (reach, error) {
	if p.cfg.Layout == PerWorker {
		first, err := p.stream.GetMsg(ctx, 1, jetstream.WithGetMsgSubject(p.subject))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			return reach{math.MaxUint64, math.MaxUint64}, nil
		case err != nil:
			return reach{}, fmt.Errorf("read first message of %s: %w", p.subject, err)
		}
		return reach{first.Sequence - 1, math.MaxUint64}, nil
	}
	cons, err := p.js.Consumer(ctx, p.cfg.StreamName, p.durable)
	if err != nil {
		return reach{}, fmt.Errorf("read durable %s: %w", p.durable, err)
	}
	info := cons.CachedInfo()
	return reach{info.AckFloor.Stream, info.Delivered.Stream}, nil
}

// unlessGone is nil for the errors of a durable that does not exist.
func unlessGone(err error) error {
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// ended reports whether nothing can come from an iterator any more.
func ended(err error) bool { return errors.Is(err, jetstream.ErrMsgIteratorClosed) }

// drain ends the pull and returns what had been fetched, in order. When it
// returns, the server sends nothing more.
func drain(msgs jetstream.MessagesContext) []jetstream.Msg {
	msgs.Drain()
	var left []jetstream.Msg
	for {
		msg, err := msgs.Next()
		switch {
		case err == nil:
			left = append(left, msg)
		case ended(err):
			return left
		}
	}
}

func panicked(r any) error {
	if err, ok := r.(error); ok {
		return fmt.Errorf("%w: %w", ErrHandlerPanic, err)
	}
	return fmt.Errorf("%w: %v", ErrHandlerPanic, r)
}

func stack() string { return string(debug.Stack()) }
