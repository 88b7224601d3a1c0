package subscription

import (
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

	mu  sync.Mutex
	all []sentAck // oldest first
}

// sentAck is an acknowledgement that was sent.
type sentAck struct {
	reply string // where it went
	seq   uint64 // of the message in the stream
}

// reach is how far a durable has come, by sequence of the stream: everything up to
// floor is acknowledged, and everything up to delivered has been delivered.
type reach struct{ floor, delivered uint64 }

// sent notes an acknowledgement; it reports whether it is time to confirm.
func (a *acks) sent(reply string, seq uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, sentAck{reply, seq})
	return len(a.all) >= maxUnconfirmed
}

// confirm returns nil when the server knows of everything noted. Look says how
// far the durable has come. A durable that has a new leader may have forgotten
// deliveries; it ignores acknowledgements for them, and they come again. Confirm
// counts them.
func (a *acks) confirm(ctx context.Context, look func(context.Context) (reach, error)) (forgotten int, err error) {
	a.mu.Lock()
	ask := slices.Clone(a.all)
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
	at, lookErr := look(ctx)
	if lookErr != nil {
		return 0, errors.Join(err, lookErr)
	}
	settled := make(map[string]bool, n) // by reply
	var open []sentAck
	for _, s := range ask {
		switch {
		case s.seq <= at.floor || err == nil && s == ask[n-1]:
			settled[s.reply] = true
		case s.seq > at.delivered:
			settled[s.reply] = true
			forgotten++
		default:
			open = append(open, s)
		}
	}
	if err == nil || len(open) < n { // else nobody answers at present
		err = a.askAll(ctx, open, settled)
	}
	if err != nil {
		err = fmt.Errorf("%w (of messages up to %d; the durable has acknowledged up to %d, delivered up to %d)",
			err, ask[n-1].seq, at.floor, at.delivered)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = slices.DeleteFunc(a.all, func(s sentAck) bool { return settled[s.reply] })
	return forgotten, err
}

// askParallel is how many answers are awaited at a time.
const askParallel = 16

// askAll asks for each and adds those answered to settled, also when others fail.
func (a *acks) askAll(ctx context.Context, list []sentAck, settled map[string]bool) error {
	var mu sync.Mutex
	var first error
	var wg sync.WaitGroup
	turn := make(chan struct{}, askParallel)
	for _, s := range list {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			err := a.ask(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				settled[s.reply] = true
			} else if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return first
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
