package subscription

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
)

// maxUnconfirmed is how many acknowledgements may be without an answer.
const maxUnconfirmed = 256

// acks remembers acknowledgements that were sent without waiting for an answer,
// and asks for the answers later: one for all of them, since a connection
// delivers in order and a server handles a consumer's acknowledgements in order.
// Then it looks whether all have arrived, since those sent while the connection
// was lost, or while the durable had no leader, have not; each is asked for then.
type acks struct {
	nc *nats.Conn

	mu         sync.Mutex
	all        []sentAck // oldest first
	reconnects uint64    // before the first of them
}

// sentAck is an acknowledgement that was sent.
type sentAck struct {
	reply string // where it went
	seq   uint64 // of the message in the stream
}

// reach is how far a durable has come, by sequence of the stream: everything up to
// floor is acknowledged, and everything up to delivered has been delivered.
type reach struct{ floor, delivered uint64 }

func (r reach) String() string {
	return fmt.Sprintf("the durable has acknowledged up to %d, delivered up to %d", r.floor, r.delivered)
}

// sent notes an acknowledgement; it reports whether it is time to confirm.
func (a *acks) sent(reply string, seq uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.all) == 0 {
		a.reconnects = a.nc.Stats().Reconnects
	}
	a.all = append(a.all, sentAck{reply, seq})
	return len(a.all) >= maxUnconfirmed
}

// confirm returns nil when the server knows of everything noted. Look says how
// far the durable has come. A durable that has a new leader may have forgotten
// deliveries; it ignores acknowledgements for them, and they come again. Confirm
// counts them.
func (a *acks) confirm(ctx context.Context, look func(ctx context.Context, reconnected bool) (reach, error)) (forgotten int, err error) {
	a.mu.Lock()
	ask, reconnects := slices.Clone(a.all), a.reconnects
	a.mu.Unlock()
	n := len(ask)
	if n == 0 {
		return 0, nil
	}
	first, cancel := context.WithTimeout(ctx, answerTimeout/2)
	err = a.ask(first, ask[n-1])
	cancel()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return 0, err
	}
	at, lookErr := look(ctx, a.nc.Stats().Reconnects != reconnects)
	if lookErr != nil {
		return 0, errors.Join(err, lookErr)
	}
	highest := slices.MaxFunc(ask, func(x, y sentAck) int { return cmp.Compare(x.seq, y.seq) }).seq
	switch {
	case err == nil && at.floor >= highest:
	case err != nil && at.delivered >= highest:
		return 0, fmt.Errorf("%w (up to %d; %v)", err, highest, at)
	default:
		for _, s := range ask {
			if s.seq > at.delivered {
				forgotten++
				continue
			}
			if err := a.ask(ctx, s); err != nil {
				return 0, fmt.Errorf("%w (%d of up to %d; %v)", err, s.seq, highest, at)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all[:0], a.all[n:]...)
	a.reconnects = a.nc.Stats().Reconnects
	return forgotten, nil
}

func (a *acks) ask(ctx context.Context, s sentAck) error {
	if _, err := a.nc.RequestWithContext(ctx, s.reply, []byte("+ACK")); err != nil {
		return fmt.Errorf("confirm acknowledgement: %w", err)
	}
	return nil
}

// forget drops everything noted.
func (a *acks) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = nil
}

// empty reports whether nothing is without an answer.
func (a *acks) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.all) == 0
}
