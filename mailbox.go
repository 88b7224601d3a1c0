package parti

import (
	"sync"

	"github.com/arloliu/parti/internal/core"
)

// mailbox carries events to the loop. Posting never blocks, since callbacks of
// NATS post; so it has no bound. What fills it is bounded by what the core asks
// for and by what the watched buckets hold.
type mailbox struct {
	mu     sync.Mutex
	events []core.Event
	closed bool
	ready  chan struct{} // holds a token while events may wait
}

func newMailbox() *mailbox { return &mailbox{ready: make(chan struct{}, 1)} }

// post adds an event behind all others. After close it drops it.
func (b *mailbox) post(ev core.Event) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.events = append(b.events, ev)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns what waits, in order, and keeps spare for what comes next; the
// caller must not use spare any more.
func (b *mailbox) take(spare []core.Event) []core.Event {
	clear(spare)
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = spare[:0]
	return events
}

// close drops what waits and what comes later.
func (b *mailbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.events = true, nil
}
