package subscription

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// verdict is what a handler made of a message by calling its methods.
type verdict int

const (
	undecided verdict = iota
	acked
	termed
	again // Nak, NakWithDelay
)

// message is what a handler gets: acknowledgements pass through it, so that the
// partition knows of them and so that none is sent after a revocation.
type message struct {
	jetstream.Msg
	revoked func() bool

	mu      sync.Mutex
	verdict verdict
	delay   time.Duration // of NakWithDelay
}

// decide notes the first verdict and carries it out; one that cannot be carried
// out is none.
func (m *message) decide(v verdict, do func() error) error {
	m.mu.Lock()
	if m.verdict != undecided {
		m.mu.Unlock()
		return jetstream.ErrMsgAlreadyAckd
	}
	m.verdict = v
	m.mu.Unlock()
	err := m.unlessRevoked(do)
	if err != nil {
		m.mu.Lock()
		m.verdict = undecided
		m.mu.Unlock()
	}
	return err
}

func (m *message) unlessRevoked(do func() error) error {
	if m.revoked() {
		return ErrRevoked
	}
	return do()
}

func (m *message) decision() (verdict, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.verdict, m.delay
}

// Ack sends the acknowledgement. The helper sees to it that the server answers
// before the partition is let go.
func (m *message) Ack() error { return m.decide(acked, m.Msg.Ack) }

func (m *message) DoubleAck(ctx context.Context) error {
	return m.decide(acked, func() error { return m.Msg.DoubleAck(ctx) })
}

func (m *message) Term() error { return m.decide(termed, m.Msg.Term) }

func (m *message) TermWithReason(reason string) error {
	return m.decide(termed, func() error { return m.Msg.TermWithReason(reason) })
}

// Nak has the helper try the message again after the usual wait.
func (m *message) Nak() error { return m.decide(again, func() error { return nil }) }

// NakWithDelay has the helper try the message again after this wait.
func (m *message) NakWithDelay(delay time.Duration) error {
	return m.decide(again, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.delay = delay
		return nil
	})
}

func (m *message) InProgress() error { return m.unlessRevoked(m.Msg.InProgress) }
