package parti

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/arloliu/parti/internal/core"
)

func TestEveryFaultCanBeMatched(t *testing.T) {
	want := map[core.FaultKind]error{
		core.FaultConnection: ErrNATSConnectionLost, core.FaultKV: ErrKV, core.FaultIDsExhausted: ErrStableIDExhausted,
		core.FaultIDLost: ErrIDLost, core.FaultElection: ErrElectionFailed, core.FaultSource: ErrSource,
		core.FaultStrategy: ErrStrategy, core.FaultVersion: ErrAssignmentVersionMismatch, core.FaultForced: ErrHandoffForced,
		core.FaultForeignApp: ErrForeignApp, core.FaultForeignValue: ErrForeignValue,
		core.FaultTimeout: context.DeadlineExceeded, core.FaultStopped: ErrStopped,
	}
	var c causes
	for k := core.FaultConnection; k <= core.FaultStopped; k++ {
		err := c.err(core.Fault{Kind: k, Text: "the thing"})
		if want[k] == nil || !errors.Is(err, want[k]) || !strings.HasSuffix(err.Error(), ": the thing") {
			t.Errorf("kind %d: %v", k, err)
		}
	}
}

// TestEveryRecoverableErrorHasAKind: what OnError is told is counted and logged under a
// name of its own.
func TestEveryRecoverableErrorHasAKind(t *testing.T) {
	names := map[string]error{}
	for _, err := range []error{
		ErrNATSConnectionLost, ErrAssignmentVersionMismatch, ErrElectionFailed, ErrIDLost, ErrKV, ErrSource, ErrStrategy,
		ErrConsumerUpdate, ErrRun, ErrHandoffForced, ErrForeignValue, ErrBucketUnusable, ErrJetStreamUnavailable,
	} {
		kind := errorKind(&faultError{kind: err, text: "the thing"})
		if names[kind] != nil || kind == otherKind {
			t.Errorf("%v and %v are of the kind %q", err, names[kind], kind)
		}
		names[kind] = err
	}
	if late := errorKind(&RunError{Err: ErrRunLate}); late != "run" {
		t.Errorf("a late call is of the kind %q", late)
	}
	text, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(text), "// Recoverable errors")
	// ErrRunLate comes with ErrRun, and two others belong to Start too.
	if n := len(regexp.MustCompile(`(?m)^\tErr\w+ +=`).FindAllString(block, -1)); n-1+2 != len(names) {
		t.Errorf("errors.go has %d recoverable errors, %d kinds are known here", n, len(names))
	}
	if n := len(ErrorKinds()) - 1; n != len(names) {
		t.Errorf("%d kinds, of which %d are known here", n, len(names))
	}
}

func TestCausesAreAttachedWhenQuoted(t *testing.T) {
	var c causes
	cause := errors.New("table missing")
	text := c.note(core.FaultSource, cause)
	if err := c.err(core.Fault{Kind: core.FaultSource, Text: "list kept: " + text}); !errors.Is(err, cause) || !errors.Is(err, ErrSource) {
		t.Errorf("quoted: %v", err)
	}
	if err := c.err(core.Fault{Kind: core.FaultSource, Text: "the list is suddenly empty"}); errors.Is(err, cause) {
		t.Errorf("not quoted: %v", err)
	}
	if err := c.err(core.Fault{Kind: core.FaultStrategy, Text: text}); errors.Is(err, cause) {
		t.Errorf("another kind: %v", err)
	}
	wrapped := fmt.Errorf("%w: partition twice", ErrSource)
	if got := c.err(core.Fault{Kind: core.FaultSource, Text: c.note(core.FaultSource, wrapped)}).Error(); got != wrapped.Error() {
		t.Errorf("the kind is said twice: %s", got)
	}
}

func TestContextErrorsKeepTheirCause(t *testing.T) {
	cause := errors.New("shift is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := ctxErr(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	plain, stop := context.WithCancel(t.Context())
	stop()
	if err := ctxErr(plain); err.Error() != context.Canceled.Error() {
		t.Errorf("got %v", err)
	}
}

func TestCause(t *testing.T) {
	same := func(a, b []any) bool { return cause("went wrong", a) == cause("went wrong", b) }
	for _, c := range []struct {
		a, b []any
		same bool
	}{
		{[]any{"took", "1s"}, []any{"took", "2s"}, true},
		{[]any{"error", errors.New("no answer within 3s at revision 17")}, []any{"error", errors.New("no answer within 10s at revision 9")}, true},
		{[]any{"error", errors.New("no answer")}, []any{"error", errors.New("refused")}, false},
		{[]any{"peer", "worker-1"}, []any{"peer", "worker-2"}, false},
		{[]any{"version", 1}, []any{"version", 2}, false},
		{[]any{"from", "Stable", "to", "Degraded"}, []any{"from", "Stable", "to", "Scaling"}, false},
		{[]any{"kind", "kv"}, []any{"kind", "source"}, false},
		{[]any{"reason", "scale"}, []any{"reason", "refresh"}, false},
		{[]any{"key", "a", "watch", "b"}, []any{"key", "ab", "watch", ""}, false},
	} {
		if got := same(c.a, c.b); got != c.same {
			t.Errorf("%v and %v are the same cause: %v", c.a, c.b, got)
		}
	}
}
