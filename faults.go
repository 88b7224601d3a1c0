package parti

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/arloliu/parti/internal/core"
)

// faultError is an error of the core as users see it: it matches the error
// variable of its kind, and the error of users' code that caused it.
type faultError struct {
	kind  error
	text  string
	cause error // may be nil
}

func (e *faultError) Error() string {
	kind := e.kind.Error()
	switch {
	case e.text == "":
		return kind
	case strings.Contains(e.text, kind): // quoted from an error that was wrapped already
		return e.text
	}
	return kind + ": " + e.text
}

func (e *faultError) Unwrap() []error {
	if e.cause == nil {
		return []error{e.kind}
	}
	return []error{e.kind, e.cause}
}

// kindError returns the error variable of a kind of fault.
func kindError(k core.FaultKind) error {
	switch k {
	case core.FaultConnection:
		return ErrNATSConnectionLost
	case core.FaultKV:
		return ErrKV
	case core.FaultIDsExhausted:
		return ErrStableIDExhausted
	case core.FaultIDLost:
		return ErrIDLost
	case core.FaultElection:
		return ErrElectionFailed
	case core.FaultSource:
		return ErrSource
	case core.FaultStrategy:
		return ErrStrategy
	case core.FaultVersion:
		return ErrAssignmentVersionMismatch
	case core.FaultForced:
		return ErrHandoffForced
	case core.FaultForeignApp:
		return ErrForeignApp
	case core.FaultForeignValue:
		return ErrForeignValue
	case core.FaultTimeout:
		return context.DeadlineExceeded
	case core.FaultStopped:
		return ErrStopped
	}
	return errors.ErrUnsupported // a kind that this table lacks; a test forbids it
}

// ctxErr is the error of a context that has ended, with its cause if that says
// more.
func ctxErr(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// causes remembers the last error of each kind that crossed into the core as a
// text, so that the fault the core makes of it can be matched with it.
type causes struct {
	mu   sync.Mutex
	last map[core.FaultKind]error
}

// note keeps err and returns its text for the core.
func (c *causes) note(k core.FaultKind, err error) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		c.last = make(map[core.FaultKind]error)
	}
	c.last[k] = err
	return err.Error()
}

// err turns a fault into an error. The cause is attached when the fault quotes
// it: a fault of the same kind may have another reason.
func (c *causes) err(f core.Fault) error {
	e := &faultError{kind: kindError(f.Kind), text: f.Text}
	c.mu.Lock()
	defer c.mu.Unlock()
	if last := c.last[f.Kind]; last != nil && strings.Contains(f.Text, last.Error()) {
		e.cause = last
	}
	return e
}

// errorKinds names what Hooks.OnError is told, for metrics and the log. The first
// that matches counts.
var errorKinds = []struct {
	err  error
	name string
}{
	{ErrConsumerUpdate, "consumer_update"},
	{ErrRun, "run"},
	{ErrNATSConnectionLost, "connection"},
	{ErrKV, "kv"},
	{ErrIDLost, "id_lost"},
	{ErrElectionFailed, "election"},
	{ErrSource, "source"},
	{ErrStrategy, "strategy"},
	{ErrAssignmentVersionMismatch, "version"},
	{ErrHandoffForced, "handoff"},
	{ErrForeignValue, "foreign_value"},
	{ErrBucketUnusable, "bucket"},
	{ErrJetStreamUnavailable, "jetstream"},
}

const otherKind = "other"

// errorKind names the kind of a recoverable error.
func errorKind(err error) string {
	for _, k := range errorKinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return otherKind
}

// ErrorKinds are the names by which [AssignmentMetrics] counts recoverable errors,
// and the values of "kind" in the log.
func ErrorKinds() []string {
	names := make([]string, 0, len(errorKinds)+1)
	for _, k := range errorKinds {
		names = append(names, k.name)
	}
	return append(names, otherKind)
}
