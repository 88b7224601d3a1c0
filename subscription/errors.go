package subscription

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of NewDurableHelper and UpdateWorkerConsumer that a change of the
// configuration or of the stream cures. Their texts say which.
var (
	// ErrInvalidConfig is returned by NewDurableHelper; it names every field that
	// is wrong, its value and what is allowed.
	ErrInvalidConfig = errors.New("subscription: invalid configuration")
	// ErrLayoutUnsupported is returned by NewDurableHelper for a layout that this
	// version or this stream cannot serve.
	ErrLayoutUnsupported = errors.New("subscription: layout not supported")
	// ErrSubject is returned when the template yields a subject that cannot be
	// consumed: not valid, outside of the stream, or overlapping another one.
	ErrSubject = errors.New("subscription: unusable subject")
	// ErrStream is returned when the stream is missing or cannot serve.
	ErrStream = errors.New("subscription: unusable stream")
	// ErrTooManyConsumers is returned when the stream allows fewer consumers than
	// there are partitions.
	ErrTooManyConsumers = errors.New("subscription: the stream allows too few consumers")
	// ErrConsumerMismatch is returned when a durable of the wanted name exists
	// and consumes something else.
	ErrConsumerMismatch = errors.New("subscription: the durable belongs to something else")
)

// ErrClosed is returned by UpdateWorkerConsumer after Close.
var ErrClosed = errors.New("subscription: closed")

// Errors given to DurableConfig.OnError, and causes of a handler's context.
var (
	// ErrHandlerStuck is reported when a handler outlasts
	// DurableConfig.HandlerTimeout; it is the cause of the end of its context.
	ErrHandlerStuck = errors.New("subscription: handler runs longer than HandlerTimeout")
	// ErrHandlerPanic is reported when a handler panics.
	ErrHandlerPanic = errors.New("subscription: handler panicked")
	// ErrRevoked ends the context of a handler that was still running when its
	// partition had to be let go. Its result is not acknowledged.
	ErrRevoked = errors.New("subscription: partition revoked")
	// ErrPoison is reported for a message that was dead-lettered or terminated.
	ErrPoison = errors.New("subscription: message failed too often")
	// ErrDeadLetter is reported when a message cannot be published to
	// DurableConfig.DeadLetterSubject. Its partition waits.
	ErrDeadLetter = errors.New("subscription: dead letter not published")
	// ErrAbandoned is reported when a partition has left the list of partitions
	// and messages of it were not handled. Its durable is kept: put the partition
	// back on the list, or delete the durable.
	ErrAbandoned = errors.New("subscription: messages of a partition that is not on the list any more")
	// ErrDeliveryGap is reported when a message that the server sent did not
	// arrive. The partition begins again at its ack floor.
	ErrDeliveryGap = errors.New("subscription: a delivery was lost")
)

// withCause adds to an error of a request that nobody answered that the connection
// has been denied a right: the server tells that apart from any answer.
func withCause(nc *nats.Conn, err error) error {
	unanswered := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) ||
		errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, errPullAgain)
	if !unanswered {
		return err
	}
	if last := nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w (the connection was told last: %w)", err, last)
	}
	return err
}
