package subscription

import (
	"context"
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
// If the connection was lost in between, each is asked for.
type acks struct {
	nc *nats.Conn

	mu         sync.Mutex
	replies    []string // where the acknowledgements went, oldest first
	reconnects uint64   // before the first of them
}

// sent notes an acknowledgement; it reports whether it is time to confirm.
func (a *acks) sent(reply string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.replies) == 0 {
		a.reconnects = a.nc.Stats().Reconnects
	}
	a.replies = append(a.replies, reply)
	return len(a.replies) >= maxUnconfirmed
}

// confirm returns nil when the server has answered for everything noted.
func (a *acks) confirm(ctx context.Context) error {
	a.mu.Lock()
	ask, reconnects := slices.Clone(a.replies), a.reconnects
	a.mu.Unlock()
	if len(ask) == 0 {
		return nil
	}
	n := len(ask)
	if last := ask[n-1:]; a.nc.Stats().Reconnects == reconnects {
		ask = last
	}
	for _, reply := range ask {
		if _, err := a.nc.RequestWithContext(ctx, reply, []byte("+ACK")); err != nil {
			return fmt.Errorf("confirm acknowledgement: %w", err)
		}
	}
	if len(ask) < n && a.nc.Stats().Reconnects != reconnects {
		return a.confirm(ctx) // the answer may be from after the loss: ask for each
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replies = append(a.replies[:0], a.replies[n:]...)
	a.reconnects = a.nc.Stats().Reconnects
	return nil
}

// forget drops everything noted.
func (a *acks) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replies = nil
}

// empty reports whether nothing is without an answer.
func (a *acks) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.replies) == 0
}
