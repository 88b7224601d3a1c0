package subscription

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// fetched is a message that came and has not been begun.
type fetched struct {
	hand *hand
	seq  uint64 // in the stream
}

// gather is for servers that cannot reset a durable. What the last owner left
// unacknowledged comes back in the order in which it was last kept alive or
// refused, with new messages in between. It waits until all of that is here,
// which takes AckWait at most, and returns everything in the order of the stream;
// an error with what has come so far.
func (p *partition) gather(cons jetstream.Consumer, msgs jetstream.MessagesContext) (all []fetched, err error) {
	defer func() {
		slices.SortFunc(all, func(a, b fetched) int { return cmp.Compare(a.seq, b.seq) })
	}()
	left, known := p.position.left, make(map[uint64]bool)
	for left > 0 {
		msg, err := msgs.Next(jetstream.NextMaxWait(max(p.cfg.AckWait/4, contestLook)))
		if errors.Is(err, nats.ErrTimeout) {
			if done, err := p.look(cons, len(all)); err != nil {
				return all, err
			} else if done {
				break
			}
			continue
		}
		if errors.Is(err, jetstream.ErrNoHeartbeat) {
			continue
		}
		if err != nil {
			return all, err
		}
		if _, err := p.advance(msg); err != nil {
			return all, err
		}
		seq := p.position.sequence
		if known[seq] {
			continue // it came twice: kept alive too late
		}
		known[seq] = true
		all = append(all, fetched{p.hands.take(msg), seq})
		if seq <= p.position.leftUpTo {
			left--
		}
	}
	return all, nil
}

// look asks the server why nothing comes. Done is true when what is missing has
// been acknowledged after all, late.
func (p *partition) look(cons jetstream.Consumer, have int) (done bool, err error) {
	ctx, cancel := context.WithTimeout(p.work, answerTimeout)
	defer cancel()
	info, err := cons.Info(ctx)
	if err != nil {
		return false, err
	}
	if have == 0 { // a pin is not ours: requests that somebody left behind have won it
		if err := p.unpin(ctx, info); err != nil {
			return false, err
		}
	}
	return info.NumAckPending <= have, nil
}

// finish completes what was gathered; what it returns was not begun, because the
// partition was stopped.
func (p *partition) finish(all []fetched) (left []jetstream.Msg) {
	for i, f := range all {
		if left != nil || f.seq > p.position.done && !p.complete(f.hand) {
			left = append(left, all[i].hand.msg)
		} else if f.seq <= p.position.done {
			p.ack(f.hand.msg) // completed before, its acknowledgement was lost or late
		} else {
			p.position.done = f.seq
		}
		p.hands.put(f.hand)
	}
	return left
}
