package natskv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Errors of operations. Each says what became of a write.
var (
	// ErrConflict: the key exists (Create), or stands at another revision
	// (Update, Delete). Not done.
	ErrConflict = errors.New("conflicting revision")
	// ErrNotFound: the key does not exist, or is deleted.
	ErrNotFound = errors.New("key not found")
	// ErrDown: the connection is down. Not sent.
	ErrDown = errors.New("connection to NATS is down")
	// ErrAmbiguous: sent, and no answer came. Done or not done, or still to be
	// done. It wraps the reason, such as context.DeadlineExceeded.
	ErrAmbiguous = errors.New("no answer from NATS")
	// ErrRefused: NATS said no, or the request could not be made. Not done.
	ErrRefused = errors.New("refused")
	// ErrBucketGone comes with ErrRefused when it is known that the bucket does
	// not exist any more; see [Store.Rebind].
	ErrBucketGone = errors.New("bucket does not exist")
	// ErrUnserved comes with ErrRefused when nothing listens to a subject: no
	// JetStream, no such bucket, or none that has a leader.
	ErrUnserved = errors.New("nobody answers: JetStream is unavailable, or the bucket is missing or without a leader")
	// ErrClosed comes with ErrRefused after [Store.Close].
	ErrClosed = errors.New("store is closed")
)

// Errors of Open and Rebind.
var (
	// ErrNoConnection: the connection is down, or broke.
	ErrNoConnection = errors.New("no connection to NATS")
	// ErrNoJetStream: the server or the account has no JetStream, or JetStream
	// did not answer.
	ErrNoJetStream = errors.New("JetStream is not available")
	// ErrPermission: the user may not do what is needed; the text names it.
	ErrPermission = errors.New("permission denied")
	// ErrBucket: a bucket cannot serve, or cannot be created. The text names
	// the bucket, the property and the remedy.
	ErrBucket = errors.New("bucket cannot serve")
)

// The error codes of the server that mean something here. Replicated streams
// answer a lost race with either of the first two.
const (
	codeWrongLastSeq         = 10071
	codeWrongLastSeqConstant = 10164
	codeMaxConsumers         = 10026
	codeNoMessage            = 10037
	codeNoJetStreamAccount   = 10039
	codeNameInUse            = 10058
	codeStreamNotFound       = 10059
	codeNoJetStream          = 10076
	codeNotAvailable         = 10008
)

// sendError gives the failure of a request its kind.
func sendError(err error, cause error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: %w", ErrRefused, ErrUnserved)
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject),
		errors.Is(err, nats.ErrHeadersNotSupported):
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrConnectionDraining):
		return fmt.Errorf("%w: %w", ErrDown, err)
	case cause != nil && errors.Is(err, context.Canceled):
		return fmt.Errorf("%w: %w", ErrAmbiguous, cause)
	default:
		return fmt.Errorf("%w: %w", ErrAmbiguous, err)
	}
}

// apiError gives an answer that says no its kind.
func apiError(err *jetstream.APIError) error {
	switch err.ErrorCode {
	case codeWrongLastSeq, codeWrongLastSeqConstant:
		return ErrConflict
	case codeNoMessage:
		return ErrNotFound
	case codeStreamNotFound:
		return fmt.Errorf("%w: %w", ErrRefused, ErrBucketGone)
	default:
		return fmt.Errorf("%w: %s (code %d)", ErrRefused, err.Description, err.ErrorCode)
	}
}

// deniedPublish reports whether err is the server's word that this user may not
// publish to subject. The server sends it apart from any answer.
func deniedPublish(err error, subject string) bool {
	return errors.Is(err, nats.ErrPermissionViolation) &&
		strings.Contains(err.Error(), strconv.Quote(subject))
}
