package parti

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

func TestLimiterForgets(t *testing.T) {
	var l limiter
	for i := range 10 * logCauses {
		if _, ok := l.allow(time.Duration(i)*time.Millisecond, fmt.Sprint(i)); !ok {
			t.Fatalf("cause %d was withheld", i)
		}
		if len(l.said) > logCauses {
			t.Fatalf("%d causes remembered", len(l.said))
		}
	}
}
